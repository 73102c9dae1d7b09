// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// beginProtecting is a story whose operator protects the role admin.
func beginProtecting(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	s.protected = []string{"admin"}
	s.start()
	return s
}

func TestLastAdministratorStaysUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]edit{
		"demoted":     roles("viewer"),
		"deactivated": active(false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := beginProtecting(t)
			alice := s.readyUser("alice", roles("admin", "viewer"))
			before := s.row("alice")
			s.edit(alice, change)
			s.Expect(s.reports(alice, v1alpha1.ReasonLastAdministrator).Message).To(gomega.And(
				gomega.ContainSubstring(`"alice" is the last active user with the role "admin"`),
				gomega.ContainSubstring(v1alpha1.AnnotationAllowLastAdministrator)))
			s.condition(alice, v1alpha1.ConditionStalled, v1alpha1.ReasonLastAdministrator)
			s.Expect(s.row("alice")).To(gomega.Equal(before))
			s.readyUser("bob", roles("admin"))
			s.ready(alice)
			s.Expect(s.row("alice")).NotTo(gomega.Equal(before))
		})
	}
}

func TestLastAdministratorIsDeletedOnceThereIsAnother(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	alice := s.readyUser("alice", roles("admin"))
	s.Expect(s.kube.Delete(t.Context(), alice)).To(gomega.Succeed())
	s.reports(alice, v1alpha1.ReasonLastAdministrator)
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.sql(`INSERT INTO users (username, password_hash, roles) VALUES ('bob', 'of another program', '["admin"]')`)
	s.gone(alice)
	s.Expect(s.row("alice")).To(gomega.BeNil())
}

func TestAnnotationLetsTheLastAdministratorGo(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	alice := s.readyUser("alice", roles("admin"))
	s.edit(alice, roles("viewer"))
	s.reports(alice, v1alpha1.ReasonLastAdministrator)
	s.edit(alice, annotation(v1alpha1.AnnotationAllowLastAdministrator, "true"))
	s.ready(alice)
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer"]`))
}

func TestRetainedAndUnprotectedUsersGoAtOnce(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	s.remove(s.readyUser("alice", roles("admin"), deletion(v1alpha1.DeletionRetain)))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.sql(`UPDATE users SET active = false`)
	s.remove(s.readyUser("bob", roles("operator")))
	s.remove(s.readyUser("carol", roles("admin"), active(false)))
}

func TestLastAdministratorThatVanishedGoesOnceThereIsAnother(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	alice := s.readyUser("alice", roles("admin"))
	s.Expect(s.kube.Delete(t.Context(), alice)).To(gomega.Succeed())
	s.reports(alice, v1alpha1.ReasonLastAdministrator)
	s.edit(alice, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(alice)
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.readyUser("bob", roles("admin"))
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice")).To(gomega.BeNil()) })
}

// Not parallel: a policy is the whole cluster's.
func TestLastAdministratorWhomNoPolicyPermitsStaysActiveUntilThereIsAnother(t *testing.T) {
	s := beginProtecting(t)
	alice := s.readyUser("alice", roles("admin", "root"))
	s.policy("no-root", grants("admin"))
	s.Expect(s.reports(alice, v1alpha1.ReasonNotPermitted).Message).To(gomega.And(
		gomega.ContainSubstring(`does not permit the role "root"`), gomega.ContainSubstring("stays active for now")))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.readyUser("bob", roles("admin"))
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice").Active).To(gomega.BeFalse()) })
}
