// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// envOperatorNamespace takes the place of the flag where the operator runs in another namespace.
const envOperatorNamespace = "SHARDINGUSER_OPERATOR_NAMESPACE"

type doctor struct {
	*env
	output            output
	allNamespaces     bool
	operatorNamespace string

	leases   map[string]seen[coordinationv1.Lease] // by system
	searches int                                   // how many more Secrets are looked for in other namespaces: each time, the API server goes through all of them
}

func newDoctor(e *env) *cobra.Command {
	d := &doctor{env: e, searches: 20, leases: map[string]seen[coordinationv1.Lease]{}}
	cmd := &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Explain why a user is not ready, and what to do",
		Long: `Explain why a user is not ready, and what to do. Doctor checks the conditions of the resource, its Secret, the policies, other
claims of the username, the operator, and the latest warnings. It needs only the right to read ShardingUsers. A check is unknown
if you may not read what it needs.

Without a name, doctor lists the users of the namespace that have problems, the state of the operator, its findings about the
table users, and accounts whose ShardingUser does not exist.

The exit code is 1 if there is a problem.`,
		Example: `  # Why is alice not ready?
  kubectl shardinguser doctor alice

  # Check all namespaces
  kubectl shardinguser doctor -A`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args) },
	}
	d.output.bind(cmd, asJSON, asYAML)
	cmd.Flags().BoolVarP(&d.allNamespaces, "all-namespaces", "A", false, "Without a name: check all namespaces")
	e.bindOperatorNamespace(cmd, &d.operatorNamespace)
	return cmd
}

// examined is a user with what was found.
type examined struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Healthy   bool     `json:"healthy"`
	Results   []result `json:"results"`
}

// examination is all that the doctor found.
type examination struct {
	Healthy bool       `json:"healthy"`
	Looked  int        `json:"lookedAt"`          // at so many users
	Users   []examined `json:"users"`             // the one that was asked for, or those that are not healthy
	Cluster []result   `json:"cluster,omitempty"` // what concerns them all
}

func (d *doctor) run(ctx context.Context, args []string) error {
	if err := d.output.check(); err != nil {
		return err
	}
	if len(args) > 0 && d.allNamespaces {
		return errors.New("--all-namespaces cannot be combined with a name")
	}
	kube, namespace, err := d.cluster()
	if err != nil {
		return err
	}
	x, err := d.examine(ctx, kube, namespace, args)
	if err != nil {
		return err
	}
	if d.output.structured() {
		err = d.output.value(d.Out, x)
	} else {
		d.tell(x)
	}
	if err == nil && !x.Healthy {
		return finding("")
	}
	return err
}

func (d *doctor) examine(ctx context.Context, kube client.Client, namespace string, args []string) (examination, error) {
	common := d.common(ctx, kube)
	if len(args) > 0 {
		u, err := getUser(ctx, kube, namespace, args[0])
		if err != nil {
			return examination{}, err
		}
		one := d.look(ctx, kube, common, u)
		return examination{Healthy: one.Healthy, Looked: 1, Users: []examined{one}}, nil
	}
	if d.allNamespaces {
		namespace = ""
	}
	users, err := listUsers(ctx, kube, namespace, false, "")
	if err != nil {
		return examination{}, err
	}
	x := examination{
		Looked: len(users), Users: []examined{},
	}
	for _, system := range systems(users) {
		x.Cluster = append(x.Cluster, inSystem(system, checkOperator(d.leaseOf(ctx, kube, system), d.operatorNamespace, common.now))...)
	}
	x.Cluster = append(x.Cluster, checkPolicies(common.policies)...)
	for _, system := range systems(users) {
		report := databaseReport(ctx, kube, d.operatorNamespace, system)
		x.Cluster = append(x.Cluster, inSystem(system, checkDatabase(report, d.operatorNamespace, system)...)...)
	}
	for i := range users {
		if state(&users[i]) == "Ready" {
			continue
		}
		if one := d.look(ctx, kube, common, &users[i]); !one.Healthy {
			x.Users = append(x.Users, one)
		}
	}
	x.Healthy = len(x.Users) == 0 && !isWrong(x.Cluster)
	return x, nil
}

// inSystem names a system in results about it, unless it is the default one.
func inSystem(system string, results ...result) []result {
	if system == "" {
		return results
	}
	for i := range results {
		results[i].Message = fmt.Sprintf("In the system %q: %s", system, results[i].Message)
	}
	return results
}

// common is what is the same for all users.
func (d *doctor) common(ctx context.Context, kube client.Client) facts {
	f := facts{now: time.Now(), leaseIn: d.operatorNamespace}
	var policies v1alpha1.ShardingUserPolicyList
	f.policies = look(&policies.Items, kube.List(ctx, &policies))
	return f
}

// leaseOf returns the lease of the operator of a system.
func (d *doctor) leaseOf(ctx context.Context, kube client.Client, system string) seen[coordinationv1.Lease] {
	if known, ok := d.leases[system]; ok {
		return known
	}
	var lease coordinationv1.Lease
	found := look(&lease, kube.Get(ctx, client.ObjectKey{Namespace: d.operatorNamespace, Name: config.LeaseOf(system)}, &lease))
	d.leases[system] = found
	return found
}

// systems returns the systems of users, without users the default one.
func systems(users []v1alpha1.ShardingUser) (systems []string) {
	for i := range users {
		systems = append(systems, users[i].Spec.System)
	}
	if len(systems) == 0 {
		return []string{""}
	}
	slices.Sort(systems)
	return slices.Compact(systems)
}

// look is what came of asking for something.
func look[T any](it *T, err error) seen[T] {
	switch {
	case err == nil:
		return seen[T]{it: it}
	case apierrors.IsNotFound(err) && !isUnknownKind(err):
		return seen[T]{}
	}
	return seen[T]{err: err}
}

// look examines one user.
func (d *doctor) look(ctx context.Context, kube client.Client, f facts, u *v1alpha1.ShardingUser) examined {
	f.user, f.lease = u, d.leaseOf(ctx, kube, u.Spec.System)
	if u.Spec.Password != nil {
		var secret corev1.Secret
		f.secret = look(&secret, kube.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: u.Spec.Password.SecretRef.Name}, &secret))
		if f.secret.it == nil && f.secret.err == nil && !makes(u) {
			f.astray = d.namesakes(ctx, kube, u.Spec.Password.SecretRef.Name)
		}
	}
	if f.policies.it != nil && len(*f.policies.it) > 0 {
		var namespace corev1.Namespace
		err := kube.Get(ctx, client.ObjectKey{Name: u.Namespace}, &namespace)
		f.labels = seen[map[string]string]{it: &namespace.Labels, err: err}
	}
	f.others, f.nearby = claimants(ctx, kube, u)
	f.events = complaints(ctx, kube, u)
	results := diagnose(f)
	return examined{Namespace: u.Namespace, Name: u.Name, Healthy: !isWrong(results), Results: results}
}

// namesakes are the namespaces that have a Secret of that name, of which nothing else is asked for; none where they may not be seen.
func (d *doctor) namesakes(ctx context.Context, kube client.Client, name string) (namespaces []string) {
	if d.searches <= 0 {
		return nil
	}
	d.searches--
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := kube.List(ctx, list, client.MatchingFields{"metadata.name": name}); err != nil {
		d.searches = 0
		return nil
	}
	for i := range list.Items {
		namespaces = append(namespaces, list.Items[i].Namespace)
	}
	slices.Sort(namespaces)
	return namespaces
}

// claimants are the other users of the same username in the system: in the cluster, or nearby where no more may be seen.
func claimants(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser) (others []string, nearby bool) {
	var list v1alpha1.ShardingUserList
	same := client.MatchingFields{"status.username": user.Username(u)}
	if err := kube.List(ctx, &list, same); err != nil {
		nearby = true
		if err := kube.List(ctx, &list, same, client.InNamespace(u.Namespace)); err != nil {
			return nil, true
		}
	}
	for i := range list.Items {
		if other := &list.Items[i]; other.UID != u.UID && other.Spec.System == u.Spec.System {
			others = append(others, other.Namespace+"/"+other.Name)
		}
	}
	slices.Sort(others)
	return others, nearby
}

// complaints are the warnings about a user, the latest first; none where they may not be seen.
func complaints(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser) []corev1.Event {
	var list corev1.EventList
	about := client.MatchingFields{"involvedObject.uid": string(u.UID), "type": corev1.EventTypeWarning}
	if err := kube.List(ctx, &list, client.InNamespace(u.Namespace), about); err != nil {
		return nil
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return timeOfEvent(b).Compare(timeOfEvent(a)) })
	return list.Items
}

// checkPolicies reports policies that cannot be parsed, which permit no user.
func checkPolicies(policies seen[[]v1alpha1.ShardingUserPolicy]) (results []result) {
	if policies.err != nil {
		return one("Policies", unknown, "", "Cannot read the ShardingUserPolicies: %v.", policies.err)
	}
	for i := range *policies.it {
		p := &(*policies.it)[i]
		if err := policy.Check(p); err != nil {
			results = append(results, one("Policies", wrong, "Correct it. Until then it permits no user.", "ShardingUserPolicy %q: %v.", p.Name, err)...)
		}
	}
	return results
}

func (d *doctor) tell(x examination) {
	d.results(x.Cluster)
	for _, u := range x.Users {
		healthy := "is in order"
		if !u.Healthy {
			healthy = "has problems"
		}
		d.Out.say("%s/%s %s", u.Namespace, u.Name, healthy)
		d.results(u.Results)
	}
	if x.Cluster != nil {
		d.Out.say("%d of %d users have problems.", len(x.Users), x.Looked)
	}
}

// results writes results for people.
func (e *env) results(results []result) {
	for _, r := range results {
		e.Out.say("  %-7s  %-8s  %s", r.Level, r.Check, r.Message)
		if r.Advice != "" {
			e.Out.say("%s-> %s", strings.Repeat(" ", 21), r.Advice)
		}
	}
}
