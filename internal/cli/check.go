// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/config"
)

type checker struct {
	*env
	output output
}

// checks are all checks of the cluster, in the order of the output.
var checks = []func(ctx context.Context, kube client.Client, namespace string) ([]result, error){
	checkSystems,
}

func newCheck(e *env) *cobra.Command {
	c := &checker{env: e}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that an operator serves each sharding system",
		Long: `Check that an operator serves each sharding system that has ShardingUsers. The operator of a system renews a lease. A user whose
system no operator serves stays without an account.

Check reads the ShardingUsers and the leases of all namespaces, or of the namespace that --namespace names. It needs an operator
that runs with --leader-elect, as the chart and config/default run it.

The exit code is 1 if there is a problem, and 2 if the ShardingUsers cannot be read.`,
		Example: `  # The whole cluster
  kubectl shardinguser check

  # In a script
  kubectl shardinguser check -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.Flags().Changed("namespace"))
		},
	}
	c.output.bind(cmd, asJSON, asYAML)
	return cmd
}

// checked is the output of the command.
type checked struct {
	Healthy bool     `json:"healthy"`
	Results []result `json:"results"`
}

func (c *checker) run(ctx context.Context, oneNamespace bool) error {
	if err := c.output.check(); err != nil {
		return err
	}
	kube, namespace, err := c.cluster()
	if err != nil {
		return err
	}
	if !oneNamespace {
		namespace = ""
	}
	found := checked{Results: []result{}}
	for _, check := range checks {
		results, err := check(ctx, kube, namespace)
		if err != nil {
			return err
		}
		found.Results = append(found.Results, results...)
	}
	found.Healthy = !isWrong(found.Results)
	if c.output.structured() {
		err = c.output.value(c.Out, found)
	} else {
		c.results(found.Results)
	}
	if err == nil && !found.Healthy {
		return finding("")
	}
	return err
}

// systemUsers is the number of users of a system.
type systemUsers struct {
	name  string
	users int
}

// checkSystems reports for each system that has users whether an operator serves it.
func checkSystems(ctx context.Context, kube client.Client, namespace string) (results []result, err error) {
	systems, err := countSystems(ctx, kube, namespace)
	if err != nil {
		return nil, err
	}
	for _, s := range systems {
		var leases coordinationv1.LeaseList
		err := kube.List(ctx, &leases, client.MatchingFields{"metadata.name": config.LeaseOf(s.name)})
		results = append(results, checkSystem(s, seen[[]coordinationv1.Lease]{it: &leases.Items, err: err}, time.Now()))
	}
	if len(systems) == 0 {
		results = one("System", note, "", "There are no ShardingUsers.")
	}
	return results, nil
}

// pageOfUsers is how many users are read at once.
const pageOfUsers = 500

// countSystems returns the systems that have users, the default one first.
func countSystems(ctx context.Context, kube client.Client, namespace string) ([]systemUsers, error) {
	counts := map[string]int{}
	for next := ""; ; {
		var page v1alpha1.ShardingUserList
		err := kube.List(ctx, &page, client.InNamespace(namespace), client.Limit(pageOfUsers), client.Continue(next))
		if apierrors.IsForbidden(err) && namespace == "" {
			return nil, fmt.Errorf("%w; name a namespace with --namespace to check its users only", err)
		}
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			counts[page.Items[i].Spec.System]++
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	systems := make([]systemUsers, 0, len(counts))
	for name, users := range counts {
		systems = append(systems, systemUsers{name, users})
	}
	slices.SortFunc(systems, func(a, b systemUsers) int { return cmp.Compare(a.name, b.name) })
	return systems, nil
}

// checkSystem reports whether an operator serves a system. The leases are those of its name in all namespaces.
func checkSystem(s systemUsers, leases seen[[]coordinationv1.Lease], now time.Time) result {
	const check = "System"
	which := fmt.Sprintf("%s has %s", systemNamed(s.name), plural(s.users, "user"))
	if leases.err != nil {
		return one(check, unknown, "Request the right to list leases, or ask an administrator.",
			"%s. Cannot read the leases of operators: %v.", which, leases.err)[0]
	}
	var served []string
	for i := range *leases.it {
		if l := &(*leases.it)[i]; checkOperator(seen[coordinationv1.Lease]{it: l}, l.Namespace, now).Level == fine {
			served = append(served, fmt.Sprintf("%s in the namespace %s", *l.Spec.HolderIdentity, l.Namespace))
		}
	}
	slices.Sort(served)
	switch {
	case len(served) == 0 && len(*leases.it) > 0:
		return one(check, wrong, "Start its operator. If it does not keep running, check its log.",
			"%s, and its operator does not run: no replica renews the lease %s in the namespace %s.", which, config.LeaseOf(s.name), (*leases.it)[0].Namespace)[0]
	case len(served) == 0:
		return one(check, wrong, "Install a release of the chart with "+valueFor(s.name)+", or create the users in another system.",
			"%s, and no operator serves it: no namespace has the lease %s.", which, config.LeaseOf(s.name))[0]
	case len(served) > 1: // right if they watch different namespaces, which no lease says
		return one(check, note, "Check that each of these releases has other watchNamespaces. Otherwise uninstall all but one.",
			"%s, and several operators serve it: %s.", which, strings.Join(served, ", "))[0]
	}
	return one(check, fine, "", "%s. Its operator is %s.", which, served[0])[0]
}

// systemNamed returns words for a system, at the beginning of a sentence.
func systemNamed(system string) string {
	if system == "" {
		return "The default system"
	}
	return fmt.Sprintf("The system %q", system)
}

func valueFor(system string) string {
	if system == "" {
		return "no value system"
	}
	return "system=" + system
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
