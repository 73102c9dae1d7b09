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

// withoutAdmin returns the edits that take the role admin from an active user.
func withoutAdmin() map[string]edit {
	return map[string]edit{"demoted": roles("viewer"), "deactivated": active(false)}
}

func TestLastAdministratorStaysUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	for name, change := range withoutAdmin() {
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

// A password that attackers have does not stay in force because another edit of the resource cannot be made.
func TestLastAdministratorStillGetsAnotherPassword(t *testing.T) {
	t.Parallel()
	for name, change := range withoutAdmin() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := beginProtecting(t)
			secret := s.secret("alice", "password", canary+" first")
			alice := s.readyUser("alice", roles("admin"), secretRef("alice", ""))
			s.edit(alice, change)
			s.reports(alice, v1alpha1.ReasonLastAdministrator)
			s.put(secret, "password", canary+" second")
			s.inForce(alice, secret)
			s.Expect(s.row("alice").isOf(canary + " second")).To(gomega.BeTrue())

			// The resource's edit still waits. It is no drift, which would be corrected for any holder of the role.
			s.sql(`UPDATE users SET failed_login_attempts = 3`)
			s.edit(alice, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"))
			s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice").Failed).To(gomega.BeZero()) })
			s.sql(`UPDATE users SET password_hash = '!'`)
			s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice").isOf(canary + " second")).To(gomega.BeTrue()) })
			s.inForce(alice, secret)
			s.reports(alice, v1alpha1.ReasonLastAdministrator)
			s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["admin"]`))
			s.Expect(s.row("alice").Active).To(gomega.BeTrue())
			s.told("alice", map[string]int{
				v1alpha1.EventCreated: 1, v1alpha1.ReasonLastAdministrator: 1, v1alpha1.EventPasswordChanged: 1,
				v1alpha1.EventUnlocked: 1, v1alpha1.EventDriftCorrected: 1,
			})
			s.readyUser("bob", roles("admin"))
			s.ready(alice)
			s.inForce(alice, secret)
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

func TestAnUnpermittedLastAdministratorStaysUntilThereIsAnother(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	alice := s.readyUser("alice", roles("admin", "root"))
	s.policy("no-root", grants("admin"))
	s.Expect(s.reports(alice, v1alpha1.ReasonNotPermitted).Message).To(gomega.And(
		gomega.ContainSubstring(`does not permit the role "root"`), gomega.ContainSubstring("stays active, because")))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.readyUser("bob", roles("admin"))
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice").Active).To(gomega.BeFalse()) })
}
