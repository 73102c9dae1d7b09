// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

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

// move is one run of the command.
type move struct {
	*transferrer
	kube    client.Client
	records records
	cluster string // this one
	alive   map[store.Scope]bool
	report  transferReport
}

// transferReport is the report for programs.
type transferReport struct {
	DryRun      bool              `json:"dryRun"`
	Transferred int               `json:"transferred"` // or would be
	Refused     int               `json:"refused"`
	Owned       int               `json:"owned"` // users that have their accounts already
	Accounts    []transferredUser `json:"accounts"`
}

// transferredUser is what became of one user that has not owned its account.
type transferredUser struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Username  string `json:"username"`
	From      string `json:"from,omitempty"`    // cluster/system/namespace/name of the former owner
	Refusal   string `json:"refusal,omitempty"` // why the user did not get the account
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
	if m.output.structured() {
		errs = append(errs, m.output.value(m.Out, m.report))
	}
	m.ErrOut.say("%d users: %d %s, %d refused, %d already own their accounts.",
		len(users), m.report.Transferred, m.tense("transferred", "would be transferred"), m.report.Refused, m.report.Owned)
	if m.report.Refused > 0 {
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
		refusal, isOurs, err := m.classify(ctx, u, owner, own)
		switch {
		case err != nil:
			return nil, err
		case isOurs:
			m.report.Owned++
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
	m.report.Refused++
	m.record(u, transferredUser{Refusal: why})
	if !m.output.structured() {
		m.Out.say("%s: refused: %s", called(u), why)
	}
}

// record adds what became of a user to the report.
func (m *move) record(u *v1alpha1.ShardingUser, what transferredUser) {
	what.Namespace, what.Name, what.Username = u.Namespace, u.Name, user.Username(u)
	m.report.Accounts = append(m.report.Accounts, what)
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
		m.report.Transferred++
		m.record(u, transferredUser{From: strings.Join([]string{former.Cluster, former.System, former.Namespace, former.Name}, "/")})
		if !m.output.structured() {
			m.Out.say("%s: %s from %s", called(u), m.tense("transferred", "would be transferred"), m.name(former))
		}
		if !m.dryRun {
			m.announce(ctx, u, former)
			moved = append(moved, u)
		}
	}
	return moved, nil
}

// classify returns why a user does not get the account, and whether it has it.
func (m *move) classify(ctx context.Context, u *v1alpha1.ShardingUser, owner user.Owner, own *user.Ownership) (refusal string, isOurs bool, err error) {
	switch {
	case own == nil || own.State == user.Deleted:
		return "no resource owns an account of this username; the operator creates or adopts it", false, nil
	case own.Owner == owner && own.State == user.Owned:
		return "", true, nil
	case !m.from.matches(own.Owner, owner):
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

// announce records the transfer as an Event of the user. Without the right to create Events, the ownership record alone has it.
func (m *move) announce(ctx context.Context, u *v1alpha1.ShardingUser, former user.Owner) {
	host, _ := os.Hostname()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: u.Namespace, GenerateName: u.Name + "-"},
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
