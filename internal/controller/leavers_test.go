// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func leavingBy(policies ...v1alpha1.DeletionPolicy) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) { p.DeletionPolicies = policies }
}

// retained is an account that its user left behind.
func (s *story) retained(name string, edits ...edit) {
	s.t.Helper()
	u := s.readyUser(name, append(edits, deletion(v1alpha1.DeletionRetain))...)
	s.remove(u)
	s.gone(u)
	s.Expect(s.row(name).Active).To(gomega.BeTrue())
}

// becomes waits until a row is, or is not, active.
func (s *story) becomes(username string, active bool) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row(username).Active).To(gomega.Equal(active), username) })
}

// suspends waits until the operator suspended so many accounts in all.
func (s *story) suspends(op *operator, accounts int) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(s.t, "shardinguser_leavers_suspended_total")).To(gomega.BeEquivalentTo(accounts))
	})
}

func TestAnAccountWithoutAResourceThatNoPolicyPermitsIsSuspended(t *testing.T) {
	t.Parallel()
	s := searching(t)
	op := s.start()
	orphan := s.readyUser("orphan", roles("viewer"))
	s.readyUser("there", roles("viewer"))
	s.retained("kept", roles("viewer"))
	s.retained("beyond", roles("admin"))
	op.stop()
	s.strip(orphan)
	op = s.start()
	s.findsOrphans(op, "orphan")
	for _, name := range []string{"orphan", "kept", "beyond"} {
		s.Expect(s.row(name).Active).To(gomega.BeTrue(), "without policies nothing changes")
	}

	p := s.policy("viewers", grants("viewer"))
	s.becomes("beyond", false)
	s.suspends(op, 1)
	s.amend(p, leavingBy(v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate))
	s.becomes("orphan", false)
	s.becomes("kept", false)
	s.suspends(op, 3)
	s.Expect(s.row("there").Active).To(gomega.BeTrue())
	s.Expect(s.note("kept").Suspended).To(gomega.BeTrue())
	s.Expect(s.note("kept").State).To(gomega.Equal(user.Released))
	s.Expect(s.note("orphan").State).To(gomega.Equal(user.Owned))
	s.eventually(func(g gomega.Gomega) { g.Expect(s.suspensions(g)).NotTo(gomega.BeEmpty()) })

	// Another program's activation does not last, and the resource brings the account back.
	s.sql(`UPDATE users SET active = true WHERE username = 'kept'`)
	s.suspends(op, 4)
	s.becomes("kept", false)
	for _, name := range []string{"orphan", "kept"} {
		s.readyUser(name, roles("viewer"))
		s.Expect(s.row(name).Active).To(gomega.BeTrue())
		s.Expect(s.note(name).Suspended).To(gomega.BeFalse())
	}
}

// suspensions are the Events about suspended leavers.
func (s *story) suspensions(g gomega.Gomega) (notes []string) {
	var list eventsv1.EventList
	g.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	for _, event := range list.Items {
		if event.Reason == orphans.EventSuspendedAccounts {
			g.Expect(event.Regarding.Name).To(gomega.Equal("the-replica"))
			notes = append(notes, event.Note)
		}
	}
	return notes
}

// The finalizer cannot have run: the operator is there all the time, and nothing but the deletion tells it.
func TestAStrippedFinalizerLeavesNoActiveAccountBehind(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.policy("viewers", grants("viewer"), leavingBy(v1alpha1.DeletionDelete))
	op := s.start()
	u := s.readyUser("alice", roles("viewer"))
	s.findsOrphans(op)
	s.edit(u, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(u, v1alpha1.ReasonPaused)
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed()) // which waits while it is paused
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(u)
	s.becomes("alice", false)
}

// A finalizer of the tenant's own keeps the resource there, where the operator has nothing left to do.
func TestAResourceThatATenantKeepsFromGoingClaimsNothing(t *testing.T) {
	t.Parallel()
	const own = "example.com/stay"
	s := searching(t)
	p := s.policy("viewers", grants("viewer"))
	op := s.start()
	u := s.readyUser("alice", roles("viewer"))
	s.findsOrphans(op)
	s.edit(u, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(u, v1alpha1.ReasonPaused)
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = append(u.Finalizers, own) })
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = []string{own} })
	s.findsOrphans(op, "alice")
	s.Expect(s.row("alice").Active).To(gomega.BeTrue(), "it is permitted")
	s.amend(p, grants("auditor"))
	s.becomes("alice", false)
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(u)
}

func TestADeletionPolicyThatIsNotPermittedIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.policy("viewers", grants("viewer"), leavingBy(v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate))
	u := s.readyUser("alice", roles("viewer"), deletion(v1alpha1.DeletionDeactivate))
	s.edit(u, deletion(v1alpha1.DeletionRetain))
	s.Expect(s.reports(u, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring("does not permit deletionPolicy Retain"))
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
	s.remove(u)
	s.gone(u)
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
}

func TestAPausedUserKeepsNoRolesThatNoPolicyPermits(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	p := s.policy("all", grants("*"))
	u := s.readyUser("alice", roles("admin"))
	s.edit(u, roles("viewer"), annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(u, v1alpha1.ReasonPaused)
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["admin"]`))
	s.amend(p, grants("viewer"))
	s.Expect(s.reports(u, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring(`the role "admin"`))
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
	s.edit(u, withoutAnnotation(v1alpha1.AnnotationPaused))
	s.ready(u)
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer"]`))
}

func TestTheLastAdministratorThatLeftStaysUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.protected = []string{"admin"}
	op := s.start()
	s.retained("last", roles("admin"))
	s.retained("other", roles("viewer"))
	s.policy("none", claims("nobody"))
	s.becomes("other", false)
	s.suspends(op, 1)
	s.Expect(s.row("last").Active).To(gomega.BeTrue())
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ('another', 'of another program', '["admin"]')`)
	s.becomes("last", false)
}

// The operator does not suspend accounts that it cannot see, or that are of another operator.
func TestOnlyLeaversOfWatchedNamespacesAreSuspended(t *testing.T) {
	t.Parallel()
	s := searching(t)
	elsewhere := s.newNamespace()
	op := s.start(elsewhere)
	for name, namespace := range map[string]string{"mine": s.namespace, "narrowed": elsewhere, "foreign": s.namespace} {
		s.retained(name, in(namespace))
	}
	orphan := s.readyUser("orphan", in(elsewhere))
	op.stop()
	s.strip(orphan)
	s.sql(`UPDATE shardinguser_ownership SET cluster = 'another' WHERE username = 'foreign'`)
	s.policy("none", claims("nobody"))
	op = s.start() // without the other namespace
	s.becomes("mine", false)
	s.suspends(op, 1)
	for _, name := range []string{"narrowed", "foreign", "orphan"} {
		s.Expect(s.row(name).Active).To(gomega.BeTrue(), name)
	}
}

func TestAnAPIServerThatDoesNotAnswerSuspendsNoAccount(t *testing.T) {
	t.Parallel()
	const forbidden = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`
	for name, answer := range map[string]struct {
		path   string
		status int
		body   string
	}{
		"it has no policies' kind":         {"/shardinguserpolicies", http.StatusNotFound, "404 page not found\n"},
		"it refuses to list policies":      {"/shardinguserpolicies", http.StatusForbidden, forbidden},
		"it fails to find the namespace":   {"/namespaces/", http.StatusInternalServerError, "broken"},
		"it says nothing of the namespace": {"/namespaces/", http.StatusNotFound, "404 page not found\n"},
		"it may not look at the namespace": {"/namespaces/", http.StatusForbidden, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			s := searching(t)
			op := s.start()
			s.retained("alice", roles("admin"))
			op.stop()
			s.policy("viewers", grants("viewer"))
			var asked atomic.Int64
			var isWell atomic.Bool
			s.answering(answer.status, answer.body, func(r *http.Request) bool {
				isAsked := strings.HasSuffix(r.URL.Path, answer.path) || strings.HasSuffix(r.URL.Path, answer.path+s.namespace)
				if isWell.Load() || r.Method != http.MethodGet || !isAsked || strings.Contains(r.URL.RawQuery, "resourceVersion") {
					return false
				}
				asked.Add(1)
				return true
			})
			op = s.start()
			s.Eventually(asked.Load).WithTimeout(soon).WithPolling(poll).Should(gomega.BeNumerically(">=", 3))
			s.Expect(s.row("alice").Active).To(gomega.BeTrue())
			isWell.Store(true)
			s.becomes("alice", false)
			s.suspends(op, 1)
		})
	}
}

func TestOtherLabelsOfItsNamespaceSuspendARetainedAccount(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.start()
	namespace := &corev1.Namespace{}
	label := func(value string) {
		t.Helper()
		s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Name: s.namespace}, namespace)).To(gomega.Succeed())
		base := namespace.DeepCopy()
		namespace.Labels["team"] = value
		s.Expect(s.kube.Patch(t.Context(), namespace, client.MergeFrom(base))).To(gomega.Succeed())
	}
	label("a")
	s.policy("labelled", where("team", "a"))
	s.retained("alice")
	label("b")
	s.becomes("alice", false)
}

// A tenant can fill its resource up, so that the API server takes no other finalizer.
func TestAResourceThatTakesNoFinalizerIsSuspendedAllTheSame(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	policy := s.policy("viewers", grants("viewer"))
	var isFull atomic.Bool
	const tooLarge = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"etcdserver: request is too large","code":500}`
	s.answering(http.StatusInternalServerError, tooLarge, func(r *http.Request) bool {
		return isFull.Load() && r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/shardingusers/alice")
	})
	s.start()
	alice := s.readyUser("alice", roles("viewer"))
	isFull.Store(true)
	s.edit(alice, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	before := policy.DeepCopy()
	policy.Spec.Roles = []v1alpha1.Glob{"operator"}
	s.Expect(s.kube.Patch(t.Context(), policy, client.MergeFrom(before))).To(gomega.Succeed())
	s.becomes("alice", false)
}
