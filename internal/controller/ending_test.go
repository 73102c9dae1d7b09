// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// endsAt sets the end of an account.
func endsAt(at time.Time) edit {
	return func(u *v1alpha1.ShardingUser) { u.Spec.ValidUntil = &metav1.Time{Time: at} }
}

// standingLock sets a standing lock; a zero time is for good.
func standingLock(until time.Time, reason string) edit {
	return func(u *v1alpha1.ShardingUser) {
		u.Spec.Lock = &v1alpha1.StandingLock{Reason: reason}
		if !until.IsZero() {
			u.Spec.Lock.Until = &metav1.Time{Time: until}
		}
	}
}

func noStandingLock(u *v1alpha1.ShardingUser) { u.Spec.Lock = nil }

// now is the database's clock.
func (s *story) now() (at time.Time) {
	s.t.Helper()
	s.Expect(s.db.QueryRow(s.t.Context(), "SELECT clock_timestamp()").Scan(&at)).To(gomega.Succeed())
	return at
}

// turns waits until the row is active, or not, and returns the database's clock.
func (s *story) turns(username string, active bool) time.Time {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row(username).Active).To(gomega.Equal(active)) })
	return s.now()
}

func TestAnAccountEndsWithinASecondAndWorksAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	secret := s.secret("alice", "password", canary+" first")
	end := s.now().Add(4 * time.Second).Truncate(time.Second)
	alice := s.readyUser("alice", secretRef("alice", ""), endsAt(end))
	s.Expect(alice.Status.Expired).To(gomega.BeFalse())
	s.Expect(s.turns("alice", false)).To(gomega.And(
		gomega.BeTemporally(">=", end), gomega.BeTemporally("<", end.Add(time.Second+prompt))))
	s.condition(alice, v1alpha1.ConditionExpired, v1alpha1.ReasonValidUntilPassed)
	s.ready(alice)
	s.Expect(alice.Status.Expired).To(gomega.BeTrue())
	s.Expect(s.row("alice").isOf(canary + " first")).To(gomega.BeFalse())
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventExpired: 1})

	s.sql("UPDATE users SET active = true")
	s.turns("alice", false)

	s.edit(alice, endsAt(s.now().Add(time.Hour)))
	s.turns("alice", true)
	s.inForce(alice, secret)
	s.Expect(s.row("alice").isOf(canary + " first")).To(gomega.BeTrue())
	s.eventually(func(g gomega.Gomega) {
		s.refresh(alice)
		g.Expect(alice.Status.Expired).To(gomega.BeFalse())
	})
}

func TestAnAccountWhoseEndHasPassedIsCreatedInactive(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.readyUser("alice", endsAt(s.now().Add(-time.Hour)))
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
}

func TestOfTwoAdministratorsThatEndTogetherOneStays(t *testing.T) {
	t.Parallel()
	s := beginProtecting(t)
	end := s.now().Add(4 * time.Second).Truncate(time.Second)
	s.readyUser("alice", roles("admin"), endsAt(end))
	s.readyUser("bob", roles("admin"), endsAt(end))
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.row("alice").Active).NotTo(gomega.Equal(s.row("bob").Active))
		var lasting int // the one that stays can log in
		g.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM users u JOIN shardinguser_ownership o USING (username)
			WHERE u.active AND o.valid_until IS NULL`).Scan(&lasting)).To(gomega.Succeed())
		g.Expect(lasting).To(gomega.Equal(1))
	})
	stays := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "alice"}}
	if s.row("bob").Active {
		stays.Name = "bob"
	}
	s.reports(stays, v1alpha1.ReasonLastAdministrator)
	s.edit(stays, annotation(v1alpha1.AnnotationAllowLastAdministrator, "true"))
	s.turns(stays.Name, false)
}

func TestAStandingLockKeepsAnAccountOutUntilItsTime(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	alice := s.readyUser("alice")
	s.edit(alice, standingLock(time.Time{}, "a stolen laptop"))
	s.turns("alice", false)
	c := s.condition(alice, v1alpha1.ConditionLocked, v1alpha1.ReasonLockedByRequest)
	s.Expect(c.Message).To(gomega.ContainSubstring("a stolen laptop"))
	s.isLocked(alice, true)
	s.ready(alice)

	s.edit(alice, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"))
	s.eventually(func(g gomega.Gomega) {
		s.refresh(alice)
		g.Expect(alice.Status.LastHandledUnlock).To(gomega.Equal("now"))
	})
	s.Expect(s.row("alice").Active).To(gomega.BeFalse())
	s.Expect(alice.Status.Locked).To(gomega.BeTrue())

	until := s.now().Add(3 * time.Second).Truncate(time.Second)
	s.edit(alice, standingLock(until, "a stolen laptop"))
	s.Expect(s.turns("alice", true)).To(gomega.And(
		gomega.BeTemporally(">=", until), gomega.BeTemporally("<", until.Add(time.Second+prompt))))
	s.isLocked(alice, false)

	s.edit(alice, standingLock(time.Time{}, ""))
	s.turns("alice", false)
	s.edit(alice, noStandingLock)
	s.turns("alice", true)
	s.Expect(op.metric(t, "shardinguser_lockouts_total")).To(gomega.BeZero())
}

// ending has a policy demand an end.
func ending(within time.Duration) terms {
	return func(p *v1alpha1.ShardingUserPolicySpec) {
		p.User = &v1alpha1.UserTerms{MaxLifetime: &metav1.Duration{Duration: within}}
	}
}

func TestAPolicyDemandsANearEnd(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.policy("contractors", ending(time.Hour))
	alice := s.user("alice")
	s.Expect(s.reports(alice, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring("validUntil"))
	s.edit(alice, endsAt(s.now().Add(2*time.Hour)))
	s.eventually(func(g gomega.Gomega) {
		s.refresh(alice)
		g.Expect(s.reports(alice, v1alpha1.ReasonNotPermitted).Message).To(gomega.ContainSubstring("more than 1h0m0s ahead"))
	})
	s.edit(alice, endsAt(s.now().Add(time.Hour+3*time.Second))) // time alone makes it permitted
	s.ready(alice)
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.edit(alice, endsAt(s.now().Add(30*time.Minute)))
	s.ready(alice)
}
