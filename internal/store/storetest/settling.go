// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var settling = []test{
	{"a success clears the counter and records the login, and nothing else", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 3)
		before := s.Other.Columns(t, "alice")
		c := s.charge(t, "alice")
		s.succeeds(t, c)
		s.unchangedBut(t, "alice", before, "failed_login_attempts", "last_login_at")
		row := s.observe(t, "alice").Row
		expect(t, "the counter", row.FailedLoginAttempts, 0)
		near(t, "the last login", row.LastLogin, s.Other.Now(t))
		expect(t, "the outcome", s.outcome(t, c), store.Succeeded)
	}},
	{"a failure changes nothing but its record", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		before := s.Other.Columns(t, "alice")
		expect(t, "accepted", s.settle(t, c, false), false)
		s.unchangedBut(t, "alice", before)
		expect(t, "the outcome", s.outcome(t, c), store.Failed)
	}},
	{"an attempt that is never settled is used up", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		s.succeeds(t, s.charge(t, "alice"))
		expect(t, "the outcome", s.outcome(t, c), store.Pending)
		s.charge(t, "alice")
		expect(t, "the number of checks that are left", s.checksLeft(t), 4)
	}},
	{"a right password on the last try lifts the lock that its charge wrote", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charges(t, 5)[4]
		s.succeeds(t, c)
		row := s.observe(t, "alice").Row
		expect(t, "the lock", row.LockedUntil, nil)
		expect(t, "the counter", row.FailedLoginAttempts, 0)
		expect(t, "the number of checks that are left", s.checksLeft(t), 5)
	}},
	{"a wrong password on the last try leaves the lock", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charges(t, 5)[4]
		s.settle(t, c, false)
		s.lockedFor(t, 15*time.Minute)
		expect(t, "the verdict", s.charge(t, "alice").Verdict, store.Locked)
	}},
	{"a success clears the failures of attempts that were charged after it", func(t *testing.T, s *subject) {
		s.created(t)
		list := s.charges(t, 3)
		s.settle(t, list[1], false)
		s.succeeds(t, list[0])
		expect(t, "the counter", s.failed(t), 0)
		s.settle(t, list[2], false)
		expect(t, "the counter", s.failed(t), 0)
	}},
	{"a success lifts no lock that a later attempt wrote, and leaves its counter", func(t *testing.T, s *subject) {
		s.created(t)
		list := s.charges(t, 5)
		s.succeeds(t, list[0])
		expect(t, "the counter", s.failed(t), 5)
		s.lockedFor(t, 15*time.Minute)
		near(t, "the last login", s.observe(t, "alice").Row.LastLogin, s.Other.Now(t))
		s.succeeds(t, list[4])
		expect(t, "the number of checks that are left", s.checksLeft(t), 5)
	}},
	{"a success lifts no lock that another program wrote meanwhile", func(t *testing.T, s *subject) {
		s.created(t)
		for _, n := range []int{1, 5} {
			c := s.charges(t, n)[n-1]
			s.Other.Lock(t, "alice", time.Hour)
			s.succeeds(t, c)
			expect(t, "the counter", s.failed(t), n)
			s.lockedFor(t, time.Hour)
			s.Other.Lock(t, "alice", -time.Second)
		}
	}},
	{"a success after an unlock by request clears what came after that", func(t *testing.T, s *subject) {
		o := s.created(t)
		c := s.charges(t, 5)[4]
		s.apply(t, next(user.Update, o, clearingLockout, unlock("monday")))
		s.charges(t, 2)
		s.succeeds(t, c)
		expect(t, "the counter", s.failed(t), 0)
	}},
	{"a success clears a lock that expired meanwhile", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		s.Other.Lock(t, "alice", -time.Second)
		s.succeeds(t, c)
		expect(t, "the lock", s.observe(t, "alice").Row.LockedUntil, nil)
	}},
	{"a success does not stand once the hash is another one", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		s.Other.SetHash(t, "alice", &secondHash)
		s.falls(t, c)
	}},
	{"a success does not stand once the account is not active", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charges(t, 5)[4]
		s.Other.SetActive(t, "alice", new(false))
		s.falls(t, c)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"a success does not stand once the account is gone", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		s.Other.Delete(t, "alice")
		expect(t, "accepted", s.settle(t, c, true), false)
		expect(t, "the outcome", s.outcome(t, c), store.Failed)
	}},
	{"to settle again answers the same and changes nothing", func(t *testing.T, s *subject) {
		s.created(t)
		won, lost := s.charge(t, "alice"), s.charge(t, "alice")
		s.succeeds(t, won)
		s.settle(t, lost, false)
		s.charges(t, 2)
		before, records := s.Other.Columns(t, "alice"), s.Other.Attempts(t)
		s.succeeds(t, won)
		expect(t, "accepted", s.settle(t, lost, false), false)
		expect(t, "accepted", s.settle(t, lost, true), false)
		expect(t, "accepted", s.settle(t, won, false), false)
		s.unchangedBut(t, "alice", before)
		expect(t, "the records", s.Other.Attempts(t), records)
	}},
	{"what was refused cannot be settled", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Lock(t, "alice", time.Hour)
		c := s.charge(t, "alice")
		before := s.Other.Columns(t, "alice")
		expect(t, "accepted", s.settle(t, c, true), false)
		c.Verdict, c.PasswordHash = store.Check, firstHash
		expect(t, "accepted", s.settle(t, c, true), false)
		s.unchangedBut(t, "alice", before)
		expect(t, "the outcome", s.outcome(t, c), store.RefusedLocked)
	}},
	{"of 40 right logins, four at a time, all are accepted and none locks", func(t *testing.T, s *subject) {
		s.created(t)
		succeeded := parallel(t, 4, func(int) error {
			for range 10 {
				c, err := s.Store.Charge(t.Context(), attemptBy("alice"), limits)
				if err != nil {
					return err
				}
				if accepted, err := s.Store.Settle(t.Context(), c, true); err != nil || !accepted {
					t.Errorf("%s: accepted is %t, %v", c.Verdict, accepted, err)
				}
			}
			return nil
		})
		expect(t, "the number that succeeded", succeeded, 4)
		expect(t, "the counter", s.failed(t), 0)
	}},
	{"a subscriber is notified of a lock, and of the end of the attempt that wrote it", func(t *testing.T, s *subject) {
		s.created(t)
		w := s.watch(t)
		w.has(t, "alice")
		for _, success := range []bool{true, false} {
			s.charges(t, 4)
			w.forget()
			c := s.charge(t, "alice")
			w.has(t, "alice")
			w.forget()
			s.settle(t, c, success)
			w.has(t, "alice")
		}
	}},
}

var pending = []test{
	{"a lock is pending from the charge that wrote it to its settlement", func(t *testing.T, s *subject) {
		for _, success := range []bool{true, false} {
			s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `[]`, Active: true})
			list := s.charges(t, 4)
			expect(t, "pending", s.observe(t, "alice").LockPending(), false)
			last := s.charge(t, "alice")
			o := s.observe(t, "alice")
			expect(t, "in force", o.Locked(), true)
			expect(t, "pending", o.LockPending(), true)
			if again := o.NextLockChange(); again > store.PendingTime || again < store.PendingTime-5*time.Second {
				t.Errorf("one is to look again in %v, want %v", again, store.PendingTime)
			}
			s.settle(t, list[0], false)
			expect(t, "pending", s.observe(t, "alice").LockPending(), true)

			s.settle(t, last, success)
			o = s.observe(t, "alice")
			expect(t, "in force", o.Locked(), !success)
			expect(t, "pending", o.LockPending(), false)
			expect(t, "the end of the wait", o.Row.LockPendingUntil, nil)
			s.Other.Delete(t, "alice")
		}
	}},
	{"a success that does not stand ends the wait", func(t *testing.T, s *subject) {
		s.created(t)
		last := s.charges(t, 5)[4]
		s.Other.SetHash(t, "alice", &secondHash)
		s.settle(t, last, true)
		expect(t, "pending", s.observe(t, "alice").LockPending(), false)
	}},
	{"a lock whose attempt nobody settles is pending for a while only", func(t *testing.T, s *subject) {
		s.created(t)
		last := s.charges(t, 5)[4]
		s.Other.Age(t, store.PendingTime)
		o := s.observe(t, "alice")
		expect(t, "in force", o.Locked(), true)
		expect(t, "pending", o.LockPending(), false)
		s.succeeds(t, last) // late, and still a success
		expect(t, "in force", s.observe(t, "alice").Locked(), false)
	}},
	{"the lock of another program is not pending, also over one that is", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 5)
		s.Other.Lock(t, "alice", time.Hour)
		expect(t, "pending", s.observe(t, "alice").LockPending(), false)
	}},
	{"a lock of one account does not delay the report of another's", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`, Active: true})
		s.charges(t, 5)
		s.Other.Lock(t, "bob", 15*time.Minute)
		expect(t, "pending", s.observe(t, "bob").LockPending(), false)
	}},
	{"the lock of an account whose name cannot be printed can be pending", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "a\nb", Row{Hash: firstHash, Roles: `[]`, Active: true})
		for range 5 {
			s.charge(t, "a\nb")
		}
		expect(t, "pending", s.observe(t, "a\nb").LockPending(), true)
	}},
}

var keeping = []test{
	{"old attempts are purged in batches, the oldest first, and young ones stay", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 2)
		s.Other.Age(t, time.Hour)
		s.charges(t, 2)
		s.charge(t, "bob")
		s.Other.Age(t, time.Hour)
		young := s.charge(t, "bob")
		purge := func(olderThan time.Duration, batch, want int) {
			t.Helper()
			n, err := s.Store.PurgeAttempts(t.Context(), olderThan, batch)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "the number that was purged", n, want)
		}
		purge(24*time.Hour, 10, 0)
		purge(30*time.Minute, 0, 0)
		purge(90*time.Minute, 10, 2)
		purge(30*time.Minute, 2, 2)
		purge(30*time.Minute, 2, 1)
		purge(30*time.Minute, 2, 0)
		records := s.Other.Attempts(t)
		expect(t, "the number that is left", len(records), 1)
		expect(t, "the one that is left", records[0].ID, young.ID)
	}},
	{"an attempt that locked stays as long as it makes locks longer", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 5)
		lock := s.Other.Attempts(t)[4].ID
		s.Other.Age(t, store.GrowthPeriod-time.Minute)
		purge := func() (left []int64) {
			t.Helper()
			if _, err := s.Store.PurgeAttempts(t.Context(), time.Minute, 10); err != nil {
				t.Fatal(err)
			}
			for _, r := range s.Other.Attempts(t) {
				left = append(left, r.ID)
			}
			return left
		}
		expect(t, "what is left", purge(), []int64{lock})
		s.Other.Age(t, time.Hour)
		expect(t, "what is left", purge(), nil)
	}},
	{"an attempt that was purged before it was settled does not stand", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		s.Other.Age(t, time.Hour)
		if _, err := s.Store.PurgeAttempts(t.Context(), time.Minute, 10); err != nil {
			t.Fatal(err)
		}
		expect(t, "accepted", s.settle(t, c, true), false)
		expect(t, "the counter", s.failed(t), 1)
	}},
}

func (s *subject) settle(t *testing.T, c store.Charge, success bool) (accepted bool) {
	t.Helper()
	accepted, err := s.Store.Settle(t.Context(), c, success)
	if err != nil {
		t.Fatalf("settle: %v", err)
	}
	return accepted
}

// succeeds settles a success that has to be accepted.
func (s *subject) succeeds(t *testing.T, c store.Charge) {
	t.Helper()
	expect(t, "accepted", s.settle(t, c, true), true)
}

// falls settles a success that must not be accepted, nor change the row.
func (s *subject) falls(t *testing.T, c store.Charge) {
	t.Helper()
	before := s.Other.Columns(t, "alice")
	expect(t, "accepted", s.settle(t, c, true), false)
	s.unchangedBut(t, "alice", before)
	expect(t, "the outcome", s.outcome(t, c), store.Failed)
}

// outcome returns the recorded outcome of an attempt.
func (s *subject) outcome(t *testing.T, c store.Charge) store.Outcome {
	t.Helper()
	for _, r := range s.Other.Attempts(t) {
		if r.ID == c.ID {
			return r.Outcome
		}
	}
	t.Errorf("attempt %d is not recorded", c.ID)
	return ""
}
