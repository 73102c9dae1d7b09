// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// transferBatch is the most accounts that one statement moves.
const transferBatch = 500

// records are the ownership records in the database.
type records interface {
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
	Transfer(ctx context.Context, transfers []store.Transfer) (moved []string, err error)
	IsAlive(ctx context.Context, scope store.Scope) (bool, error)
}

type transferrer struct {
	*env
	database      database
	waiting       waiting
	all           bool
	allNamespaces bool
	dryRun        bool
	from          formerOwner
}

// formerOwner is which owners accounts are taken from. An empty namespace or name is any.
type formerOwner struct {
	cluster, namespace, name string
	system                   systemFlag
}

func newTransfer(e *env) *cobra.Command {
	t := &transferrer{env: e}
	cmd := &cobra.Command{
		Use:   "transfer NAME...",
		Short: "Give accounts of another resource or cluster to ShardingUsers of this cluster",
		Long: `Give accounts to ShardingUsers of this cluster that another resource owns: one of another cluster, namespace, name or system.
Each ShardingUser gets the account of its username. Use it to move to another cluster, or to rename a resource.

Only the owner in the ownership record changes. The row, its password, its lock and its counters stay, so logins continue. The
operator then applies the new resource as an edit. A password that is the same is compared, and not hashed.

An account is not transferred while its owner is alive: the resource exists in this cluster, or the operator of the other cluster
recorded within a minute that it runs. Stop that operator first. An operator of version 0.1 makes no such record.

The UID of a cluster is that of its namespace kube-system:
  kubectl get namespace kube-system -o jsonpath={.metadata.uid}

The database role needs the rights of the operator on the table shardinguser_ownership. ` + aboutDSN,
		Example: `  # Preview the move of all users of all namespaces from another cluster
  kubectl shardinguser transfer --all -A --from-cluster=0f6b3c4e-1b1d-4c51-a4c1-5d6a2f0e9a11 --dsn-file ./dsn.txt --dry-run

  # A resource was renamed from alicia to alice
  kubectl shardinguser transfer alice --from-name=alicia --dsn-file ./dsn.txt`,
		ValidArgsFunction: e.completeUsers(1000),
		RunE:              func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args) },
	}
	t.database.bind(cmd)
	t.waiting.bind(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&t.all, "all", false, "Transfer to all users of the namespace, instead of names")
	flags.BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "With --all: to the users of all namespaces")
	flags.BoolVar(&t.dryRun, "dry-run", false, "Change nothing; show what would be transferred")
	flags.StringVar(&t.from.cluster, "from-cluster", "", "UID of the former owner's cluster (default: this cluster)")
	flags.StringVar(&t.from.namespace, "from-namespace", "", "Namespace of the former owner (default: any)")
	flags.StringVar(&t.from.name, "from-name", "", "Name of the former owner (default: any)")
	t.from.system.bindAs(cmd, "from-system", "System of the former owner; empty for the default system (default: any)")
	for _, name := range []string{"from-cluster", "from-namespace", "from-name", "from-system"} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
	return cmd
}

func (t *transferrer) run(ctx context.Context, names []string) error {
	switch {
	case t.all == (len(names) > 0):
		return errors.New("set the names of users, or --all")
	case t.allNamespaces && !t.all:
		return errors.New("--all-namespaces requires --all")
	}
	db, err := t.database.openStore() //nolint:contextcheck // opening waits for nothing
	if err != nil {
		return err
	}
	defer db.Close()
	kube, namespace, err := t.cluster()
	if err != nil {
		return err
	}
	var system corev1.Namespace
	if err := kube.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return fmt.Errorf("cannot read the UID of the namespace %s, which identifies this cluster: %w", metav1.NamespaceSystem, err)
	}
	if t.allNamespaces {
		namespace = ""
	}
	users, err := t.chosen(ctx, kube, namespace, names)
	if err != nil {
		return err
	}
	if len(users) == 0 {
		t.ErrOut.say("%s", nobody(namespace, false))
		return nil
	}
	m := &move{transferrer: t, kube: kube, records: db, cluster: string(system.UID), alive: map[store.Scope]bool{}}
	return m.run(ctx, users)
}

// chosen are the users that get the accounts.
func (t *transferrer) chosen(ctx context.Context, kube client.Client, namespace string, names []string) ([]v1alpha1.ShardingUser, error) {
	if t.all {
		return listUsers(ctx, kube, namespace, false, "")
	}
	users := make([]v1alpha1.ShardingUser, 0, len(names))
	for _, name := range names {
		u, err := getUser(ctx, kube, namespace, name)
		if err != nil {
			return nil, err
		}
		users = append(users, *u)
	}
	return users, nil
}

// matches reports whether accounts of this owner are taken. Here is this cluster, the default.
func (f *formerOwner) matches(owner user.Owner, here string) bool {
	cluster := f.cluster
	if cluster == "" {
		cluster = here
	}
	return owner.Cluster == cluster && (f.namespace == "" || owner.Namespace == f.namespace) &&
		(f.name == "" || owner.Name == f.name) && (!f.system.flag.Changed || owner.System == f.system.name)
}

// move is one run of the command.
type move struct {
	*transferrer
	kube    client.Client
	records records
	cluster string // this one
	alive   map[store.Scope]bool
	refused int
	moved   int
	owning  int // users that have their accounts already
}

func (m *move) run(ctx context.Context, users []v1alpha1.ShardingUser) error {
	var pending []*v1alpha1.ShardingUser
	var errs []error
	for chunk := range slices.Chunk(users, transferBatch) {
		moved, err := m.transfer(ctx, chunk)
		pending = append(pending, moved...)
		if err != nil {
			errs = append(errs, err)
			break
		}
	}
	for _, u := range pending {
		if err := m.waiting.until(ctx, m.kube, u, "applied", appliedToOwner); err != nil {
			errs = append(errs, err)
		}
	}
	m.ErrOut.say("%d users: %d %s, %d refused, %d already own their accounts.",
		len(users), m.moved, m.tense("transferred", "would be transferred"), m.refused, m.owning)
	if m.refused > 0 {
		errs = append(errs, finding(""))
	}
	return errors.Join(errs...)
}

// appliedToOwner is applied of a user that did not own its account before.
func appliedToOwner(u *v1alpha1.ShardingUser) (bool, error) {
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || user.OfReady(ready.Reason).NameTaken {
		return false, nil
	}
	return applied(u)
}

func (m *move) tense(done, wouldBe string) string {
	if m.dryRun {
		return wouldBe
	}
	return done
}

// transfer gives their accounts to the users of one batch, and returns those that got one.
func (m *move) transfer(ctx context.Context, users []v1alpha1.ShardingUser) (moved []*v1alpha1.ShardingUser, err error) {
	usernames := make([]string, 0, len(users))
	for i := range users {
		usernames = append(usernames, user.Username(&users[i]))
	}
	accounts, err := m.records.Snapshot(ctx, usernames)
	if err != nil {
		return nil, err
	}
	candidates := map[string]*v1alpha1.ShardingUser{}
	var transfers []store.Transfer
	for i := range users {
		u := &users[i]
		owner := user.FromResource(m.cluster, u).Owner
		own := accounts[usernames[i]].Ownership
		refusal, isOurs, err := m.judge(ctx, u, owner, own)
		switch {
		case err != nil:
			return nil, err
		case isOurs:
			m.owning++
			continue
		case refusal == "" && candidates[usernames[i]] != nil:
			refusal = fmt.Sprintf("%s has the same username", called(candidates[usernames[i]]))
		}
		if refusal != "" {
			m.refuse(u, refusal)
			continue
		}
		candidates[usernames[i]] = u
		transfers = append(transfers, store.Transfer{Username: usernames[i], Revision: own.Revision, To: owner})
	}
	return m.make(ctx, transfers, candidates, accounts)
}

func (m *move) refuse(u *v1alpha1.ShardingUser, why string) {
	m.refused++
	m.Out.say("%s: refused: %s", called(u), why)
}

// make moves the records, and reports each.
func (m *move) make(
	ctx context.Context, transfers []store.Transfer, to map[string]*v1alpha1.ShardingUser, accounts map[string]user.Observed,
) (moved []*v1alpha1.ShardingUser, err error) {
	var usernames []string
	for _, t := range transfers {
		usernames = append(usernames, t.Username)
	}
	if !m.dryRun && len(transfers) > 0 {
		if usernames, err = m.records.Transfer(ctx, transfers); err != nil {
			return nil, err
		}
	}
	for _, t := range transfers {
		u, former := to[t.Username], accounts[t.Username].Ownership.Owner
		if !slices.Contains(usernames, t.Username) {
			m.refuse(u, "the account changed meanwhile, or the operator of its owner is alive; run the command again")
			continue
		}
		m.moved++
		m.Out.say("%s: %s from %s", called(u), m.tense("transferred", "would be transferred"), m.name(former))
		if !m.dryRun {
			m.report(ctx, u, former)
			moved = append(moved, u)
		}
	}
	return moved, nil
}

// judge returns why a user does not get the account, and whether it has it.
func (m *move) judge(ctx context.Context, u *v1alpha1.ShardingUser, owner user.Owner, own *user.Ownership) (refusal string, isOurs bool, err error) {
	switch {
	case own == nil || own.State == user.Deleted:
		return "no resource owns an account of this username; the operator creates or adopts it", false, nil
	case own.Owner == owner && own.State == user.Owned:
		return "", true, nil
	case !m.from.matches(own.Owner, m.cluster):
		return fmt.Sprintf("the owner is %s; name it by --from-cluster, --from-namespace, --from-name or --from-system", m.name(own.Owner)), false, nil
	case !u.DeletionTimestamp.IsZero():
		return "it is being deleted", false, nil
	case own.Owner.Cluster == m.cluster:
		refusal, err = m.existing(ctx, own.Owner)
		return refusal, false, err
	}
	alive, err := m.isAlive(ctx, store.Scope{Cluster: own.Owner.Cluster, System: own.Owner.System})
	if alive {
		refusal = fmt.Sprintf("the operator of the cluster %s is alive; stop it first (kubectl scale deployment --replicas=0)", own.Owner.Cluster)
	}
	return refusal, false, err
}

// existing returns a refusal if the owner exists in this cluster.
func (m *move) existing(ctx context.Context, owner user.Owner) (refusal string, err error) {
	var u v1alpha1.ShardingUser
	err = m.kube.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name}, &u)
	switch {
	case apierrors.IsNotFound(err) && !isUnknownKind(err):
		return "", nil
	case err != nil:
		return "", err
	case string(u.UID) != owner.UID:
		return "", nil // the owner was deleted
	}
	return fmt.Sprintf("its owner %s/%s exists; delete it first, with spec.deletionPolicy Retain", owner.Namespace, owner.Name), nil
}

func (m *move) isAlive(ctx context.Context, scope store.Scope) (bool, error) {
	if alive, ok := m.alive[scope]; ok {
		return alive, nil
	}
	alive, err := m.records.IsAlive(ctx, scope)
	if err == nil {
		m.alive[scope] = alive
	}
	return alive, err
}

// name is an owner as people read it. The database may hold anything.
func (m *move) name(owner user.Owner) string {
	text := "shardinguser.sharding.io/" + owner.Name + " of the namespace " + owner.Namespace
	if owner.System != "" {
		text += ", the system " + owner.System
	}
	if owner.Cluster != m.cluster {
		text += ", the cluster " + owner.Cluster
	}
	return text
}

// report records the transfer as an Event of the user. Without the right to create Events, the ownership record alone has it.
func (m *move) report(ctx context.Context, u *v1alpha1.ShardingUser, former user.Owner) {
	host, _ := os.Hostname()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: u.Namespace, GenerateName: u.Name + "."},
		EventTime:  metav1.NewMicroTime(time.Now()),
		Regarding: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "ShardingUser", Namespace: u.Namespace, Name: u.Name, UID: u.UID,
		},
		ReportingController: "kubectl-shardinguser", ReportingInstance: host,
		Action: "Transfer", Reason: v1alpha1.EventTransferred, Type: corev1.EventTypeNormal,
		Note: fmt.Sprintf("The account %q was transferred from %s.", user.Username(u), m.name(former)),
	}
	if err := m.kube.Create(ctx, event); err != nil {
		m.ErrOut.say("%s: cannot record the transfer as an Event: %v", called(u), err)
	}
}
