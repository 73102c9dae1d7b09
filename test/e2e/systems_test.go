// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func ofSystem(name string) edit { return func(u *v1alpha1.ShardingUser) { u.Spec.System = name } }

// startSystem starts the manager of a system on its own database, over the namespace of another story.
func (s *story) startSystem(system, namespace string, args ...string) *process {
	s.t.Helper()
	args = append([]string{"--system=" + system, "--watch-namespaces=" + namespace, "--leader-elect"}, args...)
	return s.launchOn(s.dsn, args...).begin(s.t).ready()
}

// untouched expects that no manager wrote anything about a user since it was read.
func (s *story) untouched(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	now := &v1alpha1.ShardingUser{}
	s.Expect(s.kube.Get(s.t.Context(), key(u), now)).To(gomega.Succeed())
	s.Expect(now.ResourceVersion).To(gomega.Equal(u.ResourceVersion), "its status, finalizers and metadata stay as they are")
}

// eventsAbout returns how many Events there are about a user.
func (s *story) eventsAbout(u *v1alpha1.ShardingUser) (count int) {
	s.t.Helper()
	var events eventsv1.EventList
	s.Expect(s.kube.List(s.t.Context(), &events, client.InNamespace(u.Namespace))).To(gomega.Succeed())
	for _, event := range events.Items {
		if event.Regarding.UID == u.UID {
			count++
		}
	}
	return count
}

// Not parallel: its managers hold the leases of their systems.
func TestTwoSystemsInOneNamespaceServeTheirOwnUsers(t *testing.T) {
	s, orders := newStory(t), newStory(t)
	unserved := s.user("invoices", ofSystem("billing"))
	first := s.start("--leader-elect")
	second := orders.startSystem("orders", s.namespace)

	// The same username in both systems is two accounts, each in the database of its system.
	s.secret("password", canary+" of default")
	s.secret("orders-password", canary+" of orders")
	alice := s.readyUser("alice", secret("password"), roles("viewer"))
	other := s.readyUser("orders-alice", username("alice"), ofSystem("orders"), secret("orders-password"), roles("operator"))
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer"]`))
	s.Expect(orders.row("alice").Roles).To(gomega.MatchJSON(`["operator"]`))
	s.Expect(s.rows()).To(gomega.HaveLen(1))
	s.Expect(orders.rows()).To(gomega.HaveLen(1))
	for _, login := range []struct {
		manager  *process
		password string
		status   int
	}{
		{first, canary + " of default", 200},
		{first, canary + " of orders", 401},
		{second, canary + " of orders", 200},
		{second, canary + " of default", 401},
	} {
		status, answer := login.manager.logIn("alice", login.password)
		s.Expect(status).To(gomega.Equal(login.status), answer)
	}

	// Each manager has the lease and the metrics of its system.
	leases := s.kubectl("-n", systemNamespace, "get", "leases", "-o", "name")
	s.Expect(leases).To(gomega.ContainSubstring("lease.coordination.k8s.io/shardinguser-operator.sharding.io\n"))
	s.Expect(leases).To(gomega.ContainSubstring("lease.coordination.k8s.io/orders.shardinguser-operator.sharding.io\n"))
	s.eventually(soon, func(g gomega.Gomega) {
		_, metrics := second.Scrape(t.Context(), scraperToken(t))
		g.Expect(metrics).To(gomega.ContainSubstring(`shardinguser_users{state="ready",system="orders"} 1`))
		_, metrics = first.Scrape(t.Context(), scraperToken(t))
		g.Expect(metrics).To(gomega.ContainSubstring(`shardinguser_users{state="ready"} 1`))
		g.Expect(metrics).To(gomega.ContainSubstring(`shardinguser_system_in_use{name="billing"} 1`))
		g.Expect(metrics).NotTo(gomega.ContainSubstring(`system="`))
	})

	// Both publish what they find about their databases in one ConfigMap.
	s.eventually(soon, func(g gomega.Gomega) {
		var published corev1.ConfigMap
		g.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "shardinguser-database"}, &published)).To(gomega.Succeed())
		g.Expect(published.Data).To(gomega.And(gomega.HaveKey("report.json"), gomega.HaveKey("orders.report.json")))
	})

	// Without its manager a user of a system waits; the other manager works on, and leaves it alone.
	s.Expect(second.Stop(soon)).To(gomega.Succeed())
	s.edit(other, roles("admin"))
	s.edit(alice, roles("operator"))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	s.untouched(other)
	s.untouched(unserved)
	orders.startSystem("orders", s.namespace)
	s.reports(soon, other, v1alpha1.ReasonSynced)
	s.Expect(orders.row("alice").Roles).To(gomega.MatchJSON(`["admin"]`))

	// A name may go from one system to the other.
	s.delete(alice)
	s.gone(soon, alice)
	s.Expect(s.rows()).To(gomega.BeEmpty())
	s.Expect(orders.rows()).To(gomega.HaveLen(1))
	s.readyUser("alice", username("alice.b"), ofSystem("orders"))
	s.Expect(s.rows()).To(gomega.BeEmpty())
	s.Expect(orders.rows()).To(gomega.HaveKey("alice.b"))
	s.untouched(unserved)
	s.Expect(s.eventsAbout(unserved)).To(gomega.BeZero())
}

// Not parallel: its managers hold the leases of their systems.
func TestPluginShowsSystemsAndWhetherTheyAreServed(t *testing.T) {
	s, orders := newStory(t), newStory(t)
	s.start("--leader-elect")
	served := orders.startSystem("orders", s.namespace)
	sh := s.newShell()
	sh.env = append(sh.env, "SHARDINGUSER_OPERATOR_NAMESPACE="+systemNamespace)
	s.readyUser("alice")
	s.readyUser("orders-alice", username("alice"), ofSystem("orders"))
	s.Expect(sh.done("check", "-n", s.namespace)).To(gomega.And(
		gomega.MatchRegexp(`ok +System +The default system has 1 user\. Its operator is \S+ in the namespace %s\.`, systemNamespace),
		gomega.MatchRegexp(`ok +System +The system "orders" has 1 user\. Its operator is \S+ in the namespace %s\.`, systemNamespace),
	))
	s.Expect(sh.done("doctor")).To(gomega.MatchRegexp(`ok +Operator +In the system "orders": \S+ is the leader`))
	s.Expect(sh.done("doctor", "orders-alice")).To(gomega.MatchRegexp(`ok +Operator`))
	s.Expect(lines(sh.done("list"))).To(gomega.Equal([][]string{
		{"NAME", "USERNAME", "SYSTEM", "STATE", "ROLES", "FAILED", "LAST-LOGIN"},
		{"alice", "alice", "Ready", "0"},
		{"orders-alice", "alice", "orders", "Ready", "0"},
	}))
	s.Expect(sh.done("list", "--system=orders", "-o", "name")).To(gomega.Equal("shardinguser.sharding.io/orders-alice\n"))
	s.Expect(sh.done("list", "--system=", "-o", "name")).To(gomega.Equal("shardinguser.sharding.io/alice\n"))
	s.Expect(sh.done("lock", "orders-alice")).To(gomega.ContainSubstring("locked"))

	s.user("invoices", ofSystem("billing"))
	s.Expect(served.Stop(soon)).To(gomega.Succeed())
	got := sh.plugin("check", "-n", s.namespace)
	s.Expect(got.code).To(gomega.Equal(1), got.errOut)
	s.Expect(got.out).To(gomega.And(
		gomega.MatchRegexp(`WRONG +System +The system "billing" has 1 user, and no operator serves it: no namespace has the lease`),
		gomega.MatchRegexp(`WRONG +System +The system "orders" has 1 user, and its operator does not run`),
		gomega.ContainSubstring("-> Install a release of the chart with system=billing"),
	))
	got = sh.plugin("check", "-o", "json")
	s.Expect(got.code).To(gomega.Equal(1), got.errOut)
	s.Expect(got.out).To(gomega.ContainSubstring(`"healthy": false`))
}

// Policies are cluster-wide: not parallel.
func TestPoliciesNameSystemsAndTwoManagersAgreeOnTheirStatus(t *testing.T) {
	s, orders := newStory(t), newStory(t)
	s.start("--leader-elect")
	orders.startSystem("orders", s.namespace)
	alice, other := s.readyUser("alice"), s.readyUser("orders-alice", username("alice"), ofSystem("orders"))
	p := s.policy("orders", func(p *v1alpha1.ShardingUserPolicySpec) { p.Systems = []v1alpha1.SystemName{"orders"} })
	s.Expect(s.reports(soon, alice, v1alpha1.ReasonNotPermitted)).To(gomega.ContainSubstring(`none of them applies to the system ""`))
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(other), other)).To(gomega.Succeed())
		g.Expect(other.Status.PermittedBy).To(gomega.Equal("orders"))
		g.Expect(s.kube.Get(t.Context(), key(p), p)).To(gomega.Succeed())
		g.Expect(p.Status.Conditions).NotTo(gomega.BeEmpty())
	})
	s.Expect(orders.row("alice").Active).To(gomega.BeTrue())

	// Both managers write the same status, so each edit of the policy causes one write, by the manager that is first.
	versions := s.policyVersions(p)
	edits := []v1alpha1.SystemName{"", "billing", "invoices"}
	for _, name := range edits {
		s.Expect(s.kube.Get(t.Context(), key(p), p)).To(gomega.Succeed())
		p.Spec.Systems = append(p.Spec.Systems, name)
		s.Expect(s.kube.Update(t.Context(), p)).To(gomega.Succeed())
		s.eventually(soon, func(g gomega.Gomega) {
			g.Expect(s.kube.Get(t.Context(), key(p), p)).To(gomega.Succeed())
			g.Expect(p.Status.ObservedGeneration).To(gomega.Equal(p.Generation))
		})
		for _, u := range []*v1alpha1.ShardingUser{alice, other} { // each manager has work after the edit, and reports it
			s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = nextPolicy[u.Spec.DeletionPolicy] })
			s.reports(soon, u, v1alpha1.ReasonSynced)
		}
	}
	s.Expect(versions()).To(gomega.Equal(2*len(edits)), "a version for each edit, and one for its status")
}

var nextPolicy = map[v1alpha1.DeletionPolicy]v1alpha1.DeletionPolicy{
	v1alpha1.DeletionDelete: v1alpha1.DeletionDeactivate, v1alpha1.DeletionDeactivate: v1alpha1.DeletionDelete,
}

// policyVersions returns a function that returns how many new versions of a policy there have been.
func (s *story) policyVersions(p *v1alpha1.ShardingUserPolicy) (count func() int) {
	s.t.Helper()
	watching, err := client.NewWithWatch(plane.Config(), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	w, err := watching.Watch(s.t.Context(), &v1alpha1.ShardingUserPolicyList{}, &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", p.Name), Raw: &metav1.ListOptions{ResourceVersion: p.ResourceVersion},
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(w.Stop)
	return func() (count int) {
		s.t.Helper()
		s.Expect(s.kube.Get(s.t.Context(), key(p), p)).To(gomega.Succeed())
		for event := range w.ResultChan() {
			count++
			if o, ok := event.Object.(client.Object); ok && o.GetResourceVersion() == p.ResourceVersion {
				return count
			}
		}
		s.t.Fatal("the watch ended before the present version came")
		return 0
	}
}

// Not parallel: its managers hold the leases of their systems.
func TestTwoSystemsOnOneDatabaseNeverTakeEachOthersRows(t *testing.T) {
	s := newStory(t)
	first := s.start("--leader-elect", "--orphans=deactivate")
	second := s.startSystem("orders", s.namespace, "--orphans=deactivate")

	s.readyUser("alice")
	rival := s.user("orders-alice", username("alice"), ofSystem("orders"), adopting)
	s.Expect(s.reports(soon, rival, v1alpha1.ReasonUsernameTaken)).To(gomega.ContainSubstring(s.namespace + "/alice of the default system"))
	bob := s.readyUser("bob", ofSystem("orders"), deletion(v1alpha1.DeletionRetain))
	late := s.user("default-bob", username("bob"), adopting)
	s.Expect(s.reports(soon, late, v1alpha1.ReasonUsernameTaken)).To(gomega.ContainSubstring(s.namespace + `/bob of the system "orders"`))

	// An orphan of one system is none of the other.
	s.Expect(second.Stop(soon)).To(gomega.Succeed())
	s.edit(bob, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.delete(bob)
	s.gone(soon, bob)
	s.Expect(first.Stop(soon)).To(gomega.Succeed())
	first = s.start("--leader-elect")
	s.counts(first, "shardinguser_orphaned_accounts 0")
	s.Expect(s.row("bob").Active).To(gomega.BeTrue())
	second = s.startSystem("orders", s.namespace)
	s.counts(second, `shardinguser_orphaned_accounts{system="orders"} 1`)

	// Nor does a resource of the same name in the default system take over what bob left.
	again := s.user("bob", adopting)
	s.Expect(s.reports(soon, again, v1alpha1.ReasonUsernameTaken)).To(gomega.ContainSubstring(`of the system "orders"`))
}

func adopting(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }

// counts waits until the metrics of a manager have a line.
func (s *story) counts(p *process, line string) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		_, metrics := p.Scrape(s.t.Context(), scraperToken(s.t))
		g.Expect(metrics).To(gomega.ContainSubstring("\n" + line + "\n"))
	})
}
