// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
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
	output        output
	database      database
	waiting       waiting
	all           bool
	allNamespaces bool
	dryRun        bool
	system        systemFlag
	from          formerOwner
}

// formerOwner is which owners accounts are taken from. An empty namespace or name is any. The system is that of the user, unless
// another one is named: a system of the same cluster may have another database.
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
	t.output.bind(cmd, asJSON, asYAML)
	t.database.bind(cmd)
	t.waiting.bind(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&t.all, "all", false, "Transfer to all users of the namespace, instead of names")
	flags.BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "With --all: to the users of all namespaces")
	flags.BoolVar(&t.dryRun, "dry-run", false, "Change nothing; show what would be transferred")
	t.system.bind(cmd, "With --all: transfer only to users of this sharding system; --system= for the default one")
	complete(cmd, "system", cobra.NoFileCompletions)
	t.from.bind(cmd)
	return cmd
}

func (f *formerOwner) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.cluster, "from-cluster", "", "UID of the former owner's cluster (default: this cluster)")
	flags.StringVar(&f.namespace, "from-namespace", "", "Namespace of the former owner (default: any)")
	flags.StringVar(&f.name, "from-name", "", "Name of the former owner (default: any)")
	f.system.bindAs(cmd, "from-system", "System of the former owner; empty for the default system (default: that of the user)")
	for _, name := range []string{"from-cluster", "from-namespace", "from-name", "from-system"} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
}

func (t *transferrer) run(ctx context.Context, names []string) error {
	switch {
	case t.all == (len(names) > 0):
		return errors.New("set the names of users, or --all")
	case t.allNamespaces && !t.all:
		return errors.New("--all-namespaces requires --all")
	case t.system.flag.Changed && !t.all:
		return errors.New("--system requires --all")
	}
	if err := t.output.check(); err != nil {
		return err
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
	m := &move{
		transferrer: t, kube: kube, records: db, cluster: string(system.UID), alive: map[store.Scope]bool{},
		report: transferReport{DryRun: t.dryRun, Accounts: []transferredUser{}},
	}
	return m.run(ctx, users)
}

// chosen are the users that get the accounts.
func (t *transferrer) chosen(ctx context.Context, kube client.Client, namespace string, names []string) ([]v1alpha1.ShardingUser, error) {
	if t.all {
		return listUsers(ctx, kube, namespace, false, "", t.system.options()...)
	}
	return getUsers(ctx, kube, namespace, names)
}

// matches reports whether an account of this owner is taken for another one. The cluster and the system are those of the latter by
// default.
func (f *formerOwner) matches(owner, to user.Owner) bool {
	cluster, system := cmp.Or(f.cluster, to.Cluster), to.System
	if f.system.flag.Changed {
		system = f.system.name
	}
	return owner.Cluster == cluster && owner.System == system && (f.namespace == "" || owner.Namespace == f.namespace) &&
		(f.name == "" || owner.Name == f.name)
}
