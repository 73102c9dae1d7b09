// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// lock is what the sharding manager's own SQL does at the fifth failed attempt. It returns the database's clock.
func (s *story) lock(username, length string) time.Time {
	s.t.Helper()
	var now time.Time
	s.Expect(s.db.QueryRow(s.t.Context(), `UPDATE users SET failed_login_attempts = 5,
		locked_until = (clock_timestamp() AT TIME ZONE 'UTC') + $2::interval WHERE username = $1 RETURNING clock_timestamp()`,
		username, length).Scan(&now)).To(gomega.Succeed())
	return now
}

// isLocked waits until the status says so, or not.
func (s *story) isLocked(u *v1alpha1.ShardingUser, locked bool) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(u.Status.Locked).To(gomega.Equal(locked))
	})
}

func TestLockShowsPromptly(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	for i := range 5 {
		name := fmt.Sprintf("user-%d", i)
		u := s.readyUser(name)
		from := s.lock(name, "15 min")
		s.isLocked(u, true)
		s.Expect(time.Since(from)).To(gomega.BeNumerically("<", prompt))
		s.Expect(u.Status.FailedLoginAttempts).To(gomega.BeEquivalentTo(5))
		s.Expect(u.Status.LockedUntil.Time).To(gomega.BeTemporally("~", from.Add(15*time.Minute), 2*time.Second))
		s.ready(u) // a locked user is still Ready
	}
	// The status is to be seen before its write has an answer, after which it is counted.
	s.Eventually(func() float64 { return op.metric(t, "shardinguser_lockouts_total") }).WithTimeout(soon).WithPolling(poll).
		Should(gomega.BeEquivalentTo(5))
	s.counts(op, "locked", 5)
	s.Expect(op.metric(t, "shardinguser_observe_lag_seconds")).To(gomega.BeNumerically(">=", 5))
}

func TestAnExpiredLockShowsPromptlyWithoutAnotherEvent(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("alice")
	from := s.lock("alice", "2 s")
	s.isLocked(u, true)
	row := s.row("alice")

	s.isLocked(u, false)
	took := time.Since(from)
	s.Expect(took).To(gomega.And(gomega.BeNumerically(">=", 2*time.Second), gomega.BeNumerically("<", 2*time.Second+prompt)))
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonLockExpired)
	s.Expect(u.Status.LockedUntil).To(gomega.BeNil())
	s.Expect(s.row("alice")).To(gomega.Equal(row), "what the login side wrote stays as it is")
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.EventUnlocked: 1})
	s.Expect(op.metric(t, "shardinguser_lockouts_total")).To(gomega.BeEquivalentTo(1))
}

func TestLockThatIsProlongedRunsOutLater(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("bob")
	s.lock("bob", "1 s")
	s.isLocked(u, true)
	from := s.lock("bob", "3 s") // the sharding manager's SQL writes during a lock too
	s.isLocked(u, false)
	s.Expect(time.Since(from)).To(gomega.BeNumerically(">=", 3*time.Second))
	s.told("bob", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.EventUnlocked: 1})
}

func TestLockThatExpiresWithoutAnOperatorIsReportedLater(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	u := s.readyUser("carol")
	s.lock("carol", "1 hour")
	s.isLocked(u, true)
	op.stop()
	s.sql(`UPDATE users SET locked_until = (clock_timestamp() AT TIME ZONE 'UTC') - interval '1 s'`)
	s.start()
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonLockExpired)
}

func TestUnlockByAnnotationIsDoneOnceForEachValue(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("dave")
	s.sql(`UPDATE users SET last_login_at = '2026-01-31 12:00:00'`)
	s.lock("dave", "1 hour")
	s.isLocked(u, true)

	s.edit(u, annotation(v1alpha1.AnnotationUnlockRequestedAt, "2026-02-01T08:00:00Z"))
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonUnlocked)
	s.Expect(u.Status.Locked).To(gomega.BeFalse())
	s.Expect(u.Status.FailedLoginAttempts).To(gomega.BeZero())
	s.Expect(u.Status.LastHandledUnlock).To(gomega.Equal("2026-02-01T08:00:00Z"))
	r := s.row("dave")
	s.Expect(r.LockedUntil).To(gomega.BeNil())
	s.Expect(r.Failed).To(gomega.BeZero())
	s.Expect(r.LastLogin).NotTo(gomega.BeNil())
	s.told("dave", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.EventUnlocked: 1})

	// The same value once more, as GitOps applies it over and over, lifts no later lock; another edit neither.
	s.lock("dave", "1 hour")
	s.isLocked(u, true)
	s.edit(u, withoutAnnotation(v1alpha1.AnnotationUnlockRequestedAt))
	s.edit(u, annotation(v1alpha1.AnnotationUnlockRequestedAt, "2026-02-01T08:00:00Z"), roles("viewer"))
	s.ready(u)
	s.Expect(s.row("dave").LockedUntil).NotTo(gomega.BeNil())
	s.Expect(u.Status.Locked).To(gomega.BeTrue())

	s.edit(u, annotation(v1alpha1.AnnotationUnlockRequestedAt, "by hand"))
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonUnlocked)
	s.Expect(s.row("dave").LockedUntil).To(gomega.BeNil())
}

func TestLockLiftedBySQLShowsToo(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("erin")
	s.lock("erin", "1 hour")
	s.isLocked(u, true)
	s.sql(`UPDATE users SET locked_until = NULL, failed_login_attempts = 0`)
	s.condition(u, v1alpha1.ConditionLocked, v1alpha1.ReasonNotLocked)
	s.told("erin", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.EventUnlocked: 1})
	s.Expect(u.Status.Conditions).To(gomega.ContainElement(gomega.And(
		gomega.HaveField("Type", v1alpha1.ConditionReady), gomega.HaveField("Status", metav1.ConditionTrue))))
}
