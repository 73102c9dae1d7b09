// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

type orphanLister struct {
	*env
	output            output
	operatorNamespace string
	system            string
	deactivate, yes   bool
}

func newOrphans(e *env) *cobra.Command {
	l := &orphanLister{env: e}
	cmd := &cobra.Command{
		Use:   "orphans",
		Short: "List accounts whose ShardingUser does not exist",
		Long: `List accounts whose ShardingUser does not exist, as the operator last found them. This needs no DSN: the operator publishes them
in the ConfigMap ` + store.ReportName + ` of its namespace. The command lists those of all namespaces, or of the one in --namespace.

An operator with --orphans=deactivate makes such accounts inactive. If too many appear at once, it waits, because the cluster may
have lost its ShardingUsers. --deactivate confirms that exactly these accounts are to become inactive. It needs the right to patch
the ConfigMap.

The exit code is 1 if one of the accounts can log in.`,
		Example: `  # The orphans of all namespaces
  kubectl shardinguser orphans

  # For a script
  kubectl shardinguser orphans -o json

  # They are too many, and they are really meant to go
  kubectl shardinguser orphans --deactivate`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.output.bind(cmd, asName, asJSON, asYAML)
	e.bindOperatorNamespace(cmd, &l.operatorNamespace)
	cmd.Flags().StringVar(&l.system, "system", "", "List the orphans of this sharding system (default: the default system)")
	cmd.Flags().BoolVar(&l.deactivate, "deactivate", false, "Confirm the deactivation of orphans that the operator holds back")
	cmd.Flags().BoolVarP(&l.yes, "yes", "y", false, "With --deactivate: do not ask")
	return cmd
}

// bindOperatorNamespace adds the flag --operator-namespace.
func (e *env) bindOperatorNamespace(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVar(namespace, "operator-namespace", cmp.Or(os.Getenv(envOperatorNamespace), "shardinguser-system"),
		"Namespace of the operator (default: the variable "+envOperatorNamespace+")")
	complete(cmd, "operator-namespace", e.completeNamespaces)
}

// orphanList is what the command prints for programs.
type orphanList struct {
	CheckedAt string             `json:"checkedAt"`
	Items     []store.Orphan     `json:"items"`
	More      int                `json:"more,omitempty"` // that the report has no room for, in any namespace
	Held      *store.HeldOrphans `json:"held,omitempty"` // that wait for a confirmation, in all namespaces
}

func (l *orphanLister) run(ctx context.Context) error {
	if err := l.output.check(); err != nil {
		return err
	}
	kube, _, err := l.cluster()
	if err != nil {
		return err
	}
	report, err := l.report(ctx, kube)
	if err != nil {
		return err
	}
	if l.deactivate {
		return l.confirm(ctx, kube, report)
	}
	only := ""
	if l.flags.Namespace != nil {
		only = *l.flags.Namespace
	}
	list := listOrphans(report, only)
	if err := l.print(list, only); err != nil {
		return err
	}
	if slices.ContainsFunc(list.Items, func(o store.Orphan) bool { return o.Active }) || list.More > 0 {
		return finding("")
	}
	return nil
}

// report is what the operator published.
func (l *orphanLister) report(ctx context.Context, kube client.Client) (store.Report, error) {
	published := databaseReport(ctx, kube, l.operatorNamespace, l.system)
	name := l.operatorNamespace + "/" + store.ReportName
	switch {
	case published.err != nil:
		return store.Report{}, fmt.Errorf("cannot read the ConfigMap %s, where the operator publishes orphans: %w", name, published.err)
	case published.it == nil:
		return store.Report{}, fmt.Errorf("the ConfigMap %s has no report of the operator of this system; "+
			"check --operator-namespace and --system, and that the operator is running", name)
	}
	return *published.it, nil
}

// listOrphans returns the orphans of a namespace, or of all where it is empty.
func listOrphans(report store.Report, namespace string) orphanList {
	list := orphanList{
		CheckedAt: report.CheckedAt.UTC().Format(time.RFC3339), Items: []store.Orphan{}, More: report.MoreOrphans, Held: report.HeldOrphans,
	}
	for _, orphan := range report.Orphans {
		if namespace == "" || orphan.Namespace == namespace {
			list.Items = append(list.Items, orphan.Clean())
		}
	}
	slices.SortFunc(list.Items, func(a, b store.Orphan) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Username, b.Username))
	})
	return list
}

func (l *orphanLister) print(list orphanList, namespace string) error {
	switch {
	case l.output.structured():
		return l.output.value(l.Out, list)
	case l.output.format == asName:
		for _, orphan := range list.Items {
			l.Out.say("%s", called(&v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: orphan.Namespace, Name: orphan.Name}}))
		}
		return nil
	}
	var rows [][]string
	for _, orphan := range list.Items {
		state := "Inactive"
		if orphan.Active {
			state = "Can log in"
		}
		rows = append(rows, []string{orphan.Namespace, orphan.Name, orphan.Username, state})
	}
	table(l.Out, []string{"NAMESPACE", "NAME", "USERNAME", "ACCOUNT"}, rows)
	switch {
	case len(rows) == 0 && namespace != "":
		l.ErrOut.say("No orphaned accounts in the namespace %q (since %s).", namespace, list.CheckedAt)
	case len(rows) == 0:
		l.ErrOut.say("No orphaned accounts (since %s).", list.CheckedAt)
	}
	if list.More > 0 {
		l.ErrOut.say("There are %d more, which the report has no room for. The operator's log has all.", list.More)
	}
	if list.Held != nil {
		l.ErrOut.say("%s %s", held(*list.Held), adviceOnHeld(l.system))
	}
	return nil
}

// held says why orphans wait.
func held(orphans store.HeldOrphans) string {
	return fmt.Sprintf("The operator deactivates none of the %d orphans: so many at once look like a cluster that lost its ShardingUsers.",
		orphans.Count)
}

// adviceOnHeld says what to do about held orphans of a system.
func adviceOnHeld(system string) string {
	return fmt.Sprintf("Restore the ShardingUsers, or run %s.", store.OrphansCommand(system, "--deactivate"))
}

// confirm tells the operator to deactivate the orphans that it holds back.
func (l *orphanLister) confirm(ctx context.Context, kube client.Client, report store.Report) error {
	if report.HeldOrphans == nil {
		return finding("The operator holds no orphans back; nothing was changed. To have orphans deactivated, run it with --orphans=deactivate.")
	}
	if err := l.agree(ctx, *report.HeldOrphans); err != nil {
		return err
	}
	there := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: l.operatorNamespace, Name: store.ReportName}}
	body := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, store.AnnotationDeactivateOrphansOf(l.system), report.HeldOrphans.Token)
	if err := kube.Patch(ctx, there, client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("confirm the deactivation: %w", err)
	}
	l.ErrOut.say("Confirmed. The operator deactivates the %d accounts within two minutes, except for those that have a ShardingUser again.",
		report.HeldOrphans.Count)
	return nil
}

// agree asks before accounts become inactive.
func (l *orphanLister) agree(ctx context.Context, orphans store.HeldOrphans) error {
	question := held(orphans) + fmt.Sprintf(" Deactivate these %d accounts?", orphans.Count)
	switch {
	case l.yes:
		return nil
	case l.terminal == nil:
		return fmt.Errorf("%s Cannot ask for confirmation: %w; use --yes", question, errNobodyThere)
	}
	yes, err := l.terminal.confirms(ctx, question)
	if err == nil && !yes {
		err = finding("Nothing was changed.")
	}
	return err
}
