// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// attempts is the store as the login side of another replica has it.
type attempts interface {
	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
}

func (s *story) attempts() attempts {
	s.t.Helper()
	accounts, closeStore := openStore(s.t, s.dsn)
	s.t.Cleanup(closeStore)
	return accounts
}

// fifth charges five attempts and settles four of them as failures; the fifth it returns.
func (s *story) fifth(a attempts, username string) store.Charge {
	s.t.Helper()
	for i := range 5 {
		c, err := a.Charge(s.t.Context(), store.Attempt{Username: username}, store.Limits{Attempts: 5, Duration: time.Hour})
		s.Expect(err).NotTo(gomega.HaveOccurred())
		s.Expect(c.Verdict).To(gomega.Equal(store.Check))
		if i == 4 {
			// It is pending for as long as the story takes: nothing but its settlement is to show the lock.
			s.sql(`UPDATE login_attempts SET attempted_at = attempted_at + interval '1 hour' WHERE username = $1 AND outcome = 'pending'`, username)
			return c
		}
		_, err = a.Settle(s.t.Context(), c, false)
		s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	return store.Charge{}
}

func TestLockShowsOnceTheFifthFailureIsSettled(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	a := s.attempts()
	for _, name := range []string{"alice", "bob", "carol"} {
		u := s.readyUser(name)
		last := s.fifth(a, name)
		s.edit(u, roles("viewer"))
		s.ready(u) // it has looked since
		s.Expect(u.Status.Locked).To(gomega.BeFalse(), "nothing is known of the fifth attempt yet")

		_, err := a.Settle(t.Context(), last, false)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		s.isLocked(u, true)
	}
	// The status is to be seen before its write has an answer, after which it is counted.
	s.Eventually(func() float64 { return op.metric(t, "shardinguser_lockouts_total") }).WithTimeout(soon).WithPolling(poll).
		Should(gomega.BeEquivalentTo(3))
}

func TestARightPasswordOnTheFifthTryIsNeverReportedAsALock(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("dave")
	a := s.attempts()
	last := s.fifth(a, "dave")
	s.Expect(s.row("dave").LockedUntil).NotTo(gomega.BeNil(), "the lock is in force")
	s.edit(u, roles("viewer"))
	s.ready(u)
	s.Expect(u.Status.Locked).To(gomega.BeFalse())

	accepted, err := a.Settle(t.Context(), last, true)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(accepted).To(gomega.BeTrue())
	s.edit(u, roles("operator"))
	s.ready(u)
	s.Expect(u.Status.Locked).To(gomega.BeFalse())
	s.Expect(u.Status.LastLoginTime).NotTo(gomega.BeNil())
	s.told("dave", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventUpdated: 2})
}

func TestLockOfAnAttemptThatIsNeverSettledShowsAfterAWhile(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("erin")
	// It was charged 8 seconds ago, by a replica that is no more.
	s.sql(`WITH locked AS (
			UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour'
			RETURNING locked_until AT TIME ZONE 'UTC' AS until)
		INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent, locked_until)
		SELECT now() - interval '8 s', 'erin', 'pending', '', '', until FROM locked`)
	s.edit(u, roles("viewer"))
	s.ready(u)
	s.isLocked(u, true)
}
