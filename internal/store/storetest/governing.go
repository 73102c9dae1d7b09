// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// strict is a policy that is stricter than the usual limits, and whose locks grow.
var strict = user.Lockout{Attempts: 2, Duration: time.Minute, Longest: 5 * time.Minute}

// governing is about the decisions of policies on accounts.
var governing = []test{
	{"what a policy says is noted, and read as it was noted", func(t *testing.T, s *subject) {
		o := s.created(t, under(strict))
		expect(t, "the lockout", o.Ownership.Lockout, strict)
		expect(t, "suspended", o.Ownership.Suspended, false)
		exempt := user.Lockout{Exempt: true}
		s.apply(t, next(user.Update, o, under(exempt), suspending))
		o = s.observe(t, "alice")
		expect(t, "the lockout", o.Ownership.Lockout, exempt)
		expect(t, "suspended", o.Ownership.Suspended, true)
		s.apply(t, next(user.Update, o))
		o = s.observe(t, "alice")
		expect(t, "the lockout", o.Ownership.Lockout, user.Lockout{})
		expect(t, "suspended", o.Ownership.Suspended, false)
	}},
	{"a resource that takes a row is recorded with the terms of its own policy", func(t *testing.T, s *subject) {
		o := s.created(t, under(strict), suspending)
		s.apply(t, next(user.Release, o))
		longest := user.Lockout{Duration: 8760 * time.Hour, Longest: 8760 * time.Hour}
		s.apply(t, adoption("alice", s.revision(t, "alice"), by(remade), under(longest)))
		own := s.observe(t, "alice").Ownership
		expect(t, "the lockout", own.Lockout, longest)
		expect(t, "suspended", own.Suspended, false)
	}},
	{"a policy's limits come before the caller's", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		expect(t, "the number of checks", s.checksLeft(t), 2)
		s.lockedFor(t, time.Minute)
	}},
	{"what a policy leaves open is the caller's", func(t *testing.T, s *subject) {
		o := s.created(t, under(user.Lockout{Attempts: 2}))
		expect(t, "the number of checks", s.checksLeft(t), 2)
		s.lockedFor(t, 15*time.Minute)
		s.apply(t, next(user.Update, o, under(user.Lockout{Duration: time.Minute}), clearingLockout))
		expect(t, "the number of checks", s.checksLeft(t), 5)
		s.lockedFor(t, time.Minute)
	}},
	{"a row without an owner has the caller's limits, whatever the former owner's", func(t *testing.T, s *subject) {
		o := s.created(t, under(strict))
		s.apply(t, next(user.Release, o))
		expect(t, "the number of checks", s.checksLeft(t), 5)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"a charge that locks tells until when", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		c := s.charge(t, "alice")
		expect(t, "until when it locks", c.Until, time.Time{})
		c = s.charge(t, "alice")
		expect(t, "locks", c.Locks, true)
		if until := s.observe(t, "alice").Row.LockedUntil; !c.Until.Equal(*until) {
			t.Errorf("it locks until %v, and the row until %v", c.Until, until)
		}
	}},
	{"each further lock within a day is twice as long, up to the longest", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		for _, length := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			expect(t, "the number of checks", s.checksLeft(t), 2)
			s.lockedFor(t, length)
			s.Other.Lock(t, "alice", -time.Second)
		}
		s.Other.Age(t, store.GrowthPeriod)
		expect(t, "the number of checks", s.checksLeft(t), 2)
		s.lockedFor(t, time.Minute)
	}},
	{"locks of others, locks that a success lifted and other accounts' make none longer", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`, Active: true})
		for range 6 {
			s.charge(t, "bob")
		}
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		s.Other.Lock(t, "alice", -time.Second)
		s.charge(t, "alice")
		last := s.charge(t, "alice")
		expect(t, "locks", last.Locks, true)
		expect(t, "accepted", s.settle(t, last, true), true)
		expect(t, "the number of checks", s.checksLeft(t), 2)
		s.lockedFor(t, time.Minute)
	}},
	{"locks do not grow where the longest is not longer", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Attempts: 1, Duration: time.Hour, Longest: time.Hour}))
		for range 3 {
			expect(t, "the number of checks", s.checksLeft(t), 1)
			s.lockedFor(t, time.Hour)
			s.Other.Lock(t, "alice", -time.Second)
		}
	}},
	{"a hundred locks within a day do not overflow", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Attempts: 1, Duration: time.Second, Longest: 8760 * time.Hour}))
		for range 100 {
			expect(t, "the number of checks", s.checksLeft(t), 1)
			s.Other.Lock(t, "alice", -time.Second)
		}
		expect(t, "the number of checks", s.checksLeft(t), 1)
		s.lockedFor(t, 8760*time.Hour)
	}},
	{"long locks, lifted again and again, do not overflow", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Attempts: 1, Duration: 4380 * time.Hour, Longest: 8760 * time.Hour}))
		for range 30 {
			expect(t, "the number of checks", s.checksLeft(t), 1)
			s.Other.Lock(t, "alice", -time.Second)
		}
		expect(t, "the number of checks", s.checksLeft(t), 1)
		s.lockedFor(t, 8760*time.Hour)
	}},
	{"an exempt account is counted and recorded, and never locked", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Exempt: true}))
		for i := range 20 {
			c := s.charge(t, "alice")
			expect(t, "the verdict", c.Verdict, store.Check)
			expect(t, "exempt", c.Exempt, true)
			expect(t, "locks", c.Locks, false)
			expect(t, "the counter", c.Failed, i+1)
		}
		expect(t, "the number of records", len(s.Other.Attempts(t)), 20)
		expect(t, "in force", s.observe(t, "alice").Locked(), false)
		s.merges(t, store.OfflineActivity{Failures: 20})
		expect(t, "in force", s.observe(t, "alice").Locked(), false)
	}},
	{"a lock of another program holds for an exempt account too", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Exempt: true}))
		s.Other.Lock(t, "alice", time.Hour)
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Locked)
		expect(t, "exempt", c.Exempt, false)
	}},
	{"who is not exempt any more has one attempt left", func(t *testing.T, s *subject) {
		o := s.created(t, under(user.Lockout{Exempt: true}))
		s.charges(t, 20)
		s.apply(t, next(user.Update, o))
		expect(t, "the number of checks", s.checksLeft(t), 1)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"a merge locks by the policy's limits", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		s.merges(t, store.OfflineActivity{Failures: 2})
		s.lockedFor(t, time.Minute)
	}},
	{"a hundred parallel attempts get as many checks as the policy says", func(t *testing.T, s *subject) {
		s.created(t, under(strict))
		s.exactly(t, 100, 2)
	}},
}

func under(lockout user.Lockout) func(*user.Change) {
	return func(c *user.Change) { c.Lockout = lockout }
}

func suspending(c *user.Change) { c.Suspended = true }
