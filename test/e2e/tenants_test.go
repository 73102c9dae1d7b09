// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestUsernameClaimedInTwoNamespacesHasOneOwner(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	other := s.newNamespace()
	s.start("--watch-namespaces=" + s.namespace + "," + other)
	for round := range 20 {
		name := fmt.Sprintf("contested-%d", round)
		one, two := s.resource(name, roles("viewer")), s.resource(name, roles("admin"), in(other))
		var together sync.WaitGroup
		for _, u := range []*v1alpha1.ShardingUser{one, two} {
			together.Go(func() {
				if err := s.kube.Create(t.Context(), u); err != nil {
					t.Error(err)
				}
			})
		}
		together.Wait()

		winner, loser := one, two
		s.eventually(soon, func(g gomega.Gomega) {
			reasons := map[string]*v1alpha1.ShardingUser{}
			for _, u := range []*v1alpha1.ShardingUser{one, two} {
				g.Expect(s.kube.Get(t.Context(), key(u), u)).To(gomega.Succeed())
				for _, c := range u.Status.Conditions {
					if c.Type == v1alpha1.ConditionReady {
						reasons[c.Reason] = u
					}
				}
			}
			g.Expect(reasons).To(gomega.And(gomega.HaveLen(2),
				gomega.HaveKey(v1alpha1.ReasonSynced), gomega.HaveKey(v1alpha1.ReasonUsernameTaken)))
			winner, loser = reasons[v1alpha1.ReasonSynced], reasons[v1alpha1.ReasonUsernameTaken]
		})
		before := s.row(name)
		s.Expect(before.Roles).To(gomega.MatchJSON(fmt.Sprintf("[%q]", winner.Spec.Roles[0])))
		s.delete(loser)
		s.gone(soon, loser)
		s.Expect(s.row(name)).To(gomega.Equal(before))
	}
}

func TestDeletedNamespaceDoesNotWaitForUsersAndSecrets(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	for i := range 10 {
		name := fmt.Sprintf("user-%d", i)
		s.secret(name, aHash)
		s.readyUser(name, secret(name), hashed)
	}
	s.user("waiting", secret("missing"))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	s.Expect(s.kube.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(s.namespace))).To(gomega.Succeed())
	s.delete(namespace)
	s.gone(time.Minute, namespace)
	s.Expect(s.rows()).To(gomega.BeEmpty())
}

func TestUserRecreatedDuringDeletionGetsACleanRow(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	s.launchOn(through, "--watch-namespaces="+s.namespace).begin(t).ready()
	s.secret("old", aHash)
	old := s.readyUser("alice", secret("old"), hashed, roles("operator"))
	s.sql(`UPDATE users SET failed_login_attempts = 4, last_login_at = now() WHERE username = 'alice'`)
	before := s.row("alice")

	// While the finalizer waits for the database, a user removes it by force and creates the resource again.
	proxy.Cut()
	s.delete(old)
	s.reports(soon, old, v1alpha1.ReasonDatabaseUnavailable)
	s.edit(old, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(soon, old)
	recreated := s.user("alice", roles("viewer"))
	proxy.Restore()
	s.reports(30*time.Second, recreated, v1alpha1.ReasonSynced)
	r := s.row("alice")
	s.Expect(r.Hash).To(gomega.Equal("!"), "no old password")
	s.Expect(r.Roles).To(gomega.MatchJSON(`["viewer"]`))
	s.Expect(r.Failed).To(gomega.BeZero())
	s.Expect(r.Created).To(gomega.BeTemporally(">", before.Created))

	s.delete(recreated)
	s.gone(soon, recreated)
	s.Expect(s.row("alice")).To(gomega.BeNil())
}

func TestUserIsDeletedAndRecreatedRepeatedly(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	for round := range 20 {
		u := s.user("phoenix", roles(v1alpha1.Role(fmt.Sprintf("round-%d", round))))
		if round%2 == 0 {
			s.reports(soon, u, v1alpha1.ReasonSynced)
		}
		s.delete(u) // in odd rounds before the user is ready
		s.gone(soon, u)
		// The deletion may complete before the row is deleted: the API server ignores a finalizer that is added during a deletion.
		s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("phoenix")).To(gomega.BeNil()) })
	}
	s.readyUser("phoenix")
}

func TestNamespaceDeletionWaitsForTheLastAdministrator(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	s.readyUser("admin", roles("admin"))
	s.readyUser("viewer", roles("viewer"))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	s.delete(namespace)
	admin := s.resource("admin")
	s.reports(soon, admin, v1alpha1.ReasonLastAdministrator)
	s.gone(soon, s.resource("viewer"))
	s.Expect(s.row("admin").Active).To(gomega.BeTrue())
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ('another', 'of another program', '["admin"]')`)
	s.gone(time.Minute, namespace)
	s.Expect(s.row("admin")).To(gomega.BeNil())
}

// events counts the Events of a ShardingUser, by reason.
func (s *story) events(g gomega.Gomega, name string) map[string]int {
	var list eventsv1.EventList
	g.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	counts := map[string]int{}
	for _, e := range list.Items {
		if e.Regarding.Name != name {
			continue
		}
		counts[e.Reason]++
		if e.Series != nil {
			counts[e.Reason] += int(e.Series.Count) - 1
		}
	}
	return counts
}
