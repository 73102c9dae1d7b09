// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestUserBecomesARowWithAHashOfItsPassword(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.costly = true
	op := s.start()
	s.secret("alice", "password", canary+" alice")
	u := s.readyUser("alice", secretRef("alice", ""), roles("operator", "viewer"), username("Alice@example.com"))

	r := s.row("Alice@example.com")
	s.Expect(r).NotTo(gomega.BeNil())
	s.Expect(bcrypt.CompareHashAndPassword([]byte(r.Hash), []byte(canary+" alice"))).To(gomega.Succeed())
	s.Expect(r.Hash).To(gomega.HavePrefix("$2a$10$"))
	s.Expect(r.Roles).To(gomega.MatchJSON(`["operator","viewer"]`))
	s.Expect(r.Active).To(gomega.BeTrue())
	s.Expect(u.Status.Username).To(gomega.Equal("Alice@example.com"))
	s.Expect(u.Status.ObservedGeneration).To(gomega.Equal(u.Generation))
	s.Expect(u.Status.PasswordChangedTime).NotTo(gomega.BeNil())
	s.Expect(u.Finalizers).To(gomega.ConsistOf(v1alpha1.Finalizer))
	s.Expect(op.metric(t, "shardinguser_password_hashes_total")).To(gomega.BeEquivalentTo(1))
	s.counts(op, "ready", 1)
}

func TestChangedSpecReachesTheRowAndLeavesTheLoginColumns(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("bob", roles("viewer"))
	s.sql(`UPDATE users SET failed_login_attempts = 3, last_login_at = '2026-01-31 12:00:00' WHERE username = 'bob'`)
	before := s.row("bob")

	s.edit(u, roles("admin"), active(false))
	s.ready(u)
	after := s.row("bob")
	s.Expect(after.Roles).To(gomega.MatchJSON(`["admin"]`))
	s.Expect(after.Active).To(gomega.BeFalse())
	s.Expect(after.Updated).To(gomega.BeTemporally(">", before.Updated))
	s.Expect(after.Hash).To(gomega.Equal(before.Hash))
	s.Expect(after.Created).To(gomega.Equal(before.Created))
	s.Expect(after.Failed).To(gomega.Equal(3))
	s.Expect(after.LastLogin).To(gomega.Equal(before.LastLogin))
	s.Expect(op.metric(t, "shardinguser_drift_corrections_total")).To(gomega.BeZero(), "an edit is no drift")
	s.told("bob", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventUpdated: 1})
}

func TestDeletedUserTakesItsRowAlong(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("carol")
	s.remove(u)
	s.Expect(s.row("carol")).To(gomega.BeNil())
	s.told("carol", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventDeleted: 1})

	again := s.readyUser("carol")
	s.Expect(again.UID).NotTo(gomega.Equal(u.UID))
	s.Expect(s.row("carol")).NotTo(gomega.BeNil())
}

func TestDeactivatedRowStaysAndIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.secret("dave", "password", canary+" dave")
	u := s.readyUser("dave", secretRef("dave", ""), roles("viewer"), deletion(v1alpha1.DeletionDeactivate))
	s.sql(`UPDATE users SET last_login_at = '2026-01-31 12:00:00' WHERE username = 'dave'`)
	before := s.row("dave")
	s.remove(u)

	left := s.row("dave")
	s.Expect(left).NotTo(gomega.BeNil())
	s.Expect(left.Active).To(gomega.BeFalse())
	s.Expect(left.Hash).To(gomega.Equal(user.DisabledHash(before.Hash)))
	s.Expect(left.Roles).To(gomega.Equal(before.Roles))
	s.Expect(left.LastLogin).To(gomega.Equal(before.LastLogin))
	s.told("dave", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventDeactivated: 1})

	s.readyUser("dave", secretRef("dave", ""), roles("viewer"))
	s.Expect(s.row("dave").Active).To(gomega.BeTrue())
	s.Expect(s.row("dave").Hash).To(gomega.Equal(before.Hash))
	s.Expect(s.row("dave").LastLogin).To(gomega.Equal(before.LastLogin))
}

func TestRetainedRowStaysAsItIsAndIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("erin", roles("viewer"), deletion(v1alpha1.DeletionRetain))
	before := s.row("erin")
	s.remove(u)
	s.Expect(s.row("erin")).To(gomega.Equal(before))

	s.Expect(s.reports(s.user("somebody", username("erin")), v1alpha1.ReasonRowExists).Message).
		To(gomega.ContainSubstring("adoptionPolicy"), "only its own place takes the row up again")
	s.readyUser("erin", roles("admin"))
	s.Expect(s.row("erin").Roles).To(gomega.MatchJSON(`["admin"]`))
}

func TestAnUnownedRowStaysByteIdenticalUntilAdoptionIsAllowed(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash, roles, active, failed_login_attempts, last_login_at)
		VALUES ('frank', 'not ours', '["legacy"]', false, 2, '2026-01-31 12:00:00')`)
	before := s.row("frank")
	s.start()

	u := s.user("frank", roles("viewer"))
	s.reports(u, v1alpha1.ReasonRowExists)
	s.condition(u, v1alpha1.ConditionStalled, v1alpha1.ReasonRowExists)
	s.Expect(u.Status.FailedLoginAttempts).To(gomega.BeZero(), "the account is not its business")
	s.Expect(s.row("frank")).To(gomega.Equal(before))

	s.edit(u, adopt(v1alpha1.AdoptionIfUnowned))
	s.ready(u)
	after := s.row("frank")
	s.Expect(after.Roles).To(gomega.MatchJSON(`["viewer"]`))
	s.Expect(after.Active).To(gomega.BeTrue())
	s.Expect(after.Hash).To(gomega.Equal("not ours"), "a resource without a password leaves it alone")
	s.Expect(after.Created).To(gomega.Equal(before.Created))
	s.Expect(after.LastLogin).To(gomega.Equal(before.LastLogin))
	s.Expect(after.Failed).To(gomega.Equal(2))
	s.told("frank", map[string]int{v1alpha1.ReasonRowExists: 1, v1alpha1.EventAdopted: 1})

	// An adopted row is its own: deletion deletes it.
	s.remove(u)
	s.Expect(s.row("frank")).To(gomega.BeNil())
}

func TestRefusedUserThatIsDeletedLeavesTheRow(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('grace', 'not ours')`)
	before := s.row("grace")
	s.start()

	u := s.user("grace")
	s.reports(u, v1alpha1.ReasonRowExists)
	s.remove(u)
	s.Expect(s.row("grace")).To(gomega.Equal(before))
}

func TestUserComesAsSoonAsTheRowInItsWayGoes(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('heidi', 'not ours')`)
	s.start()
	u := s.user("heidi")
	s.reports(u, v1alpha1.ReasonRowExists)
	s.readyUser("marker") // its corrected drift shows that rows are watched by now
	s.sql(`UPDATE users SET active = false WHERE username = 'marker'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("marker").Active).To(gomega.BeTrue()) })

	s.sql(`DELETE FROM users WHERE username = 'heidi'`)
	s.ready(u)
	s.Expect(s.row("heidi").Hash).To(gomega.Equal("!"))
}

func TestTakenUsernameIsRefusedAndComesFreeWithItsOwner(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	elsewhere := s.newNamespace()
	s.start(elsewhere)

	owner := s.readyUser("first", username("ivan"), roles("viewer"))
	before := s.row("ivan")
	second := s.user("second", username("ivan"), roles("admin"))
	third := s.user("third", username("ivan"), roles("operator"), in(elsewhere))
	for _, u := range []*v1alpha1.ShardingUser{second, third} {
		c := s.reports(u, v1alpha1.ReasonUsernameTaken)
		s.Expect(c.Message).To(gomega.ContainSubstring(s.namespace+"/first"), "the message names the owner")
		s.condition(u, v1alpha1.ConditionStalled, v1alpha1.ReasonUsernameTaken)
	}
	s.Expect(s.row("ivan")).To(gomega.Equal(before))

	// Losers come and go without a trace.
	s.remove(third)
	s.Expect(s.row("ivan")).To(gomega.Equal(before))

	s.remove(owner)
	s.ready(second)
	s.Expect(s.row("ivan").Roles).To(gomega.MatchJSON(`["admin"]`))
	s.told("second", map[string]int{v1alpha1.ReasonUsernameTaken: 1, v1alpha1.EventCreated: 1})
}

func TestReleasedUsernameIsAdoptedByAWaitingUser(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	owner := s.readyUser("owner", username("judy"), deletion(v1alpha1.DeletionRetain))
	waiting := s.user("waiting", username("judy"), adopt(v1alpha1.AdoptionIfUnowned), roles("admin"))
	s.reports(waiting, v1alpha1.ReasonUsernameTaken)

	s.remove(owner)
	s.ready(waiting)
	s.Expect(s.row("judy").Roles).To(gomega.MatchJSON(`["admin"]`))
}

func TestPausedUserIsLeftAloneUntilThePauseEnds(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.secret("kim", "password", canary+" kim")
	u := s.readyUser("kim", roles("viewer"))

	s.edit(u, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(u, v1alpha1.ReasonPaused)
	paused := s.row("kim")
	s.edit(u, roles("admin"), active(false), secretRef("kim", ""))
	s.reports(u, v1alpha1.ReasonPaused)
	s.Expect(s.row("kim")).To(gomega.Equal(paused))

	// Drift stays, and lockouts are still reported.
	s.sql(`UPDATE users SET roles = '["drift"]', locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour' WHERE username = 'kim'`)
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonTooManyFailedAttempts)
	s.Expect(s.row("kim").Roles).To(gomega.MatchJSON(`["drift"]`))

	// A deletion waits too.
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(u.Status.Conditions).To(gomega.ContainElement(gomega.And(
			gomega.HaveField("Reason", v1alpha1.ReasonPaused), gomega.HaveField("Message", gomega.ContainSubstring("deletion")))))
	})
	s.Expect(s.row("kim")).NotTo(gomega.BeNil())
	s.edit(u, withoutAnnotation(v1alpha1.AnnotationPaused))
	s.gone(u)
	s.Expect(s.row("kim")).To(gomega.BeNil())
}
