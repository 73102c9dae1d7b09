// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

var charging = []test{
	{"a charge takes one attempt, and gives the hash and the roles to check by", func(t *testing.T, s *subject) {
		s.created(t, roles("viewer", "operator"))
		before := s.Other.Columns(t, "alice")
		c := s.charge(t, "alice")
		if c.ID == 0 {
			t.Error("the ID is missing")
		}
		c.ID = 0
		expect(t, "the charge", c, store.Charge{
			Username: "alice", Verdict: store.Check, PasswordHash: firstHash, Roles: []string{"viewer", "operator"}, Failed: 1,
		})
		s.unchangedBut(t, "alice", before, "failed_login_attempts")
		expect(t, "the counter", s.failed(t), 1)
	}},
	{"a charge reads a row as it finds it, whatever is in it", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: "!", Roles: `{"admin": true}`, Active: true})
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Check)
		expect(t, "the hash", c.PasswordHash, "!")
		expect(t, "the number of roles", len(c.Roles), 0)
	}},
	{"four charges lock nothing, the fifth gets its check and locks for 15 minutes", func(t *testing.T, s *subject) {
		s.created(t)
		for range 4 {
			c := s.charge(t, "alice")
			expect(t, "the verdict", c.Verdict, store.Check)
			expect(t, "locks", c.Locks, false)
		}
		expect(t, "in force", s.observe(t, "alice").Locked(), false)
		before := s.Other.Columns(t, "alice")
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Check)
		expect(t, "locks", c.Locks, true)
		s.unchangedBut(t, "alice", before, "failed_login_attempts", "locked_until")
		s.lockedFor(t, 15*time.Minute)
		expect(t, "the counter", s.failed(t), 5)
	}},
	{"a charge tells the counter as it left it, whatever it was before", func(t *testing.T, s *subject) {
		s.created(t)
		tells := func(want int) {
			t.Helper()
			c := s.charge(t, "alice")
			expect(t, "the verdict", c.Verdict, store.Check)
			expect(t, "the counter that it tells", c.Failed, want)
			expect(t, "the counter", s.failed(t), want)
		}
		for _, before := range []int{0, 3, -7} {
			s.Other.SetFailed(t, "alice", &before)
			tells(max(0, before) + 1)
		}
		s.Other.Fail(t, "alice")
		tells(3)
		s.Other.Lock(t, "alice", -time.Second)
		tells(1)
		s.Other.SetFailed(t, "alice", new(4))
		tells(5)
		expect(t, "the counter that a refusal tells", s.charge(t, "alice").Failed, 0)
	}},
	{"the limits are the caller's", func(t *testing.T, s *subject) {
		s.created(t)
		for i, limits := range []store.Limits{{Attempts: 3, Duration: time.Hour}, {Attempts: 1, Duration: time.Hour}, {Duration: time.Hour}} {
			s.Other.Lock(t, "alice", -time.Second)
			checks := 0
			for s.chargeBy(t, attemptBy("alice"), limits).Verdict == store.Check {
				checks++
			}
			expect(t, "the number of checks", checks, []int{3, 1, 1}[i])
			s.lockedFor(t, time.Hour)
		}
	}},
	{"a locked account is not charged, its lock not prolonged, and nothing of it is given away", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Lock(t, "alice", time.Minute)
		before := s.Other.Columns(t, "alice")
		c := s.charge(t, "alice")
		c.ID = 0
		expect(t, "the charge", c, store.Charge{Username: "alice", Verdict: store.Locked})
		s.unchangedBut(t, "alice", before)
	}},
	{"an inactive account is not charged, locked or not", func(t *testing.T, s *subject) {
		s.created(t, inactive)
		for range 2 {
			before := s.Other.Columns(t, "alice")
			c := s.charge(t, "alice")
			c.ID = 0
			expect(t, "the charge", c, store.Charge{Username: "alice", Verdict: store.Inactive})
			s.unchangedBut(t, "alice", before)
			s.Other.Lock(t, "alice", time.Hour)
		}
	}},
	{"only the very name is the account", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "admin", Row{Hash: firstHash, Roles: `[]`, Active: true})
		for _, username := range []string{
			"ADMIN", " admin", "admin ", "admin\u200b", "аdmin", "admin\x00", "admin\xff", "", strings.Repeat("admin", 1<<18),
		} {
			c := s.charge(t, username)
			c.ID = 0
			expect(t, "the charge", c, store.Charge{Username: username, Verdict: store.Unknown})
		}
		expect(t, "the counter", s.observe(t, "admin").Row.FailedLoginAttempts, 0)
	}},
	{"a flood of unknown names leaves a counter as it is", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 4)
		for i := range 300 {
			expect(t, "the verdict", s.charge(t, strings.Repeat("x", i+1)).Verdict, store.Unknown)
		}
		expect(t, "locks", s.charge(t, "alice").Locks, true)
	}},
	{"an expired lock leaves a full budget and is cleared", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 5)
		s.Other.Lock(t, "alice", -time.Second)
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Check)
		expect(t, "locks", c.Locks, false)
		expect(t, "the counter", s.failed(t), 1)
		expect(t, "the lock", s.observe(t, "alice").Row.LockedUntil, nil)
		expect(t, "the number of checks that are left", s.checksLeft(t), 4)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"failures that another program counted are part of the budget", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 2)
		s.Other.Fail(t, "alice")
		expect(t, "the number of checks that are left", s.checksLeft(t), 2)
	}},
	{"the lock of another program is a lock", func(t *testing.T, s *subject) {
		s.created(t)
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		expect(t, "the verdict", s.charge(t, "alice").Verdict, store.Locked)
	}},
	{"a counter at the limit without a lock has one attempt left, which locks", func(t *testing.T, s *subject) {
		s.created(t)
		for _, failed := range []int{5, 6, 1000, math.MaxInt32} {
			s.Other.Lock(t, "alice", -time.Second)
			s.charge(t, "alice") // clears the old lock
			s.Other.SetFailed(t, "alice", &failed)
			expect(t, "the number of checks", s.checksLeft(t), 1)
			s.lockedFor(t, 15*time.Minute)
		}
	}},
	{"a counter below zero is zero", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.SetFailed(t, "alice", new(-1000))
		expect(t, "the number of checks", s.checksLeft(t), 5)
	}},
	{"what is NULL stands for its default", func(t *testing.T, s *subject) {
		if !s.Nullable {
			return
		}
		s.created(t)
		s.Other.SetHash(t, "alice", nil)
		s.Other.SetFailed(t, "alice", nil)
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Check)
		expect(t, "the hash", c.PasswordHash, "")
		expect(t, "the number of checks that are left", s.checksLeft(t), 4)
		s.Other.SetActive(t, "alice", nil)
		expect(t, "the verdict", s.charge(t, "alice").Verdict, store.Inactive)
	}},
	{"of 100 charges at once, five get their check, and one of them locks", func(t *testing.T, s *subject) {
		s.created(t)
		s.exactly(t, 100, 5)
		expect(t, "the counter", s.failed(t), 5)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"an expired lock gives one more budget to any number of parallel attempts", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.SetFailed(t, "alice", new(5))
		s.Other.Lock(t, "alice", -time.Second)
		s.exactly(t, 50, 5)
	}},
	{"every attempt leaves one record", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`})
		s.Other.Insert(t, "carol", Row{Hash: firstHash, Roles: `[]`, Active: true})
		s.Other.Lock(t, "carol", time.Hour)
		var ids []int64
		for _, username := range []string{"alice", "bob", "carol", "hunter2"} {
			attempt := attemptBy(username)
			attempt.Source = "192.0.2.7"
			ids = append(ids, s.chargeBy(t, attempt, limits).ID)
		}
		records := s.Other.Attempts(t)
		expect(t, "the number of records", len(records), 4)
		for i, r := range records {
			near(t, "the time", &r.Time, s.Other.Now(t))
			expect(t, "the record", r, store.Record{
				ID: ids[i], Time: r.Time, Source: "192.0.2.7", UserAgent: "a browser",
				Username: []string{"alice", "bob", "carol", "digest"}[i],
				Outcome:  []store.Outcome{store.Pending, store.RefusedInactive, store.RefusedLocked, store.RefusedUnknown}[i],
			})
		}
	}},
	{"whatever is sent is one record that can be printed", func(t *testing.T, s *subject) {
		s.created(t)
		for _, nasty := range []string{
			"a\r\n2026-01-01 admin logged in", "\x1b[2J\x1b]0;x\x07", "\x00", "\xff\xfe", "\u202e\u2028", strings.Repeat("ä", 1<<20),
		} {
			before := len(s.Other.Attempts(t))
			for _, username := range []string{"alice", nasty} {
				a := store.Attempt{Username: username, Alias: nasty, Source: nasty, UserAgent: nasty}
				s.chargeBy(t, a, limits)
				records := s.Other.Attempts(t)
				expect(t, "the number of records", len(records), before+1)
				before = len(records)
				got, want := records[before-1], a.Record(username == "alice")
				expect(t, "the username", got.Username, want.Username)
				expect(t, "the source", got.Source, want.Source)
				expect(t, "the user agent", got.UserAgent, want.UserAgent)
			}
		}
	}},
	{"a username that cannot be printed is recorded escaped", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "a\nb", Row{Hash: firstHash, Roles: `[]`, Active: true})
		expect(t, "the verdict", s.charge(t, "a\nb").Verdict, store.Check)
		expect(t, "the username", s.Other.Attempts(t)[0].Username, `a\nb`)
	}},
	{"a charge whose context has ended leaves nothing", func(t *testing.T, s *subject) {
		s.created(t)
		c := s.charge(t, "alice")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Store.Charge(ctx, attemptBy("alice"), limits)
		expectCancelled(t, err)
		_, err = s.Store.Settle(ctx, c, true)
		expectCancelled(t, err)
		_, err = s.Store.PurgeAttempts(ctx, 0, 1)
		expectCancelled(t, err)
		expect(t, "the counter", s.failed(t), 1)
		expect(t, "the number of records", len(s.Other.Attempts(t)), 1)
	}},
}

// limits are the usual ones.
var limits = store.Limits{Attempts: 5, Duration: 15 * time.Minute}

// sources gives each attempt another source: above a number, rejected attempts of one source share records.
var sources atomic.Uint32

func attemptBy(username string) store.Attempt {
	source := fmt.Sprintf("198.51.100.%d", sources.Add(1)%256)
	return store.Attempt{Username: username, Alias: "digest", Source: source, UserAgent: "a browser"}
}

func (s *subject) chargeBy(t *testing.T, a store.Attempt, limits store.Limits) store.Charge {
	t.Helper()
	c, err := s.Store.Charge(t.Context(), a, limits)
	if err != nil {
		t.Fatalf("charge: %v", err)
	}
	return c
}

// charge is one attempt under the usual limits.
func (s *subject) charge(t *testing.T, username string) store.Charge {
	t.Helper()
	return s.chargeBy(t, attemptBy(username), limits)
}

// charges makes so many attempts of alice, each of which has to be charged.
func (s *subject) charges(t *testing.T, n int) []store.Charge {
	t.Helper()
	var list []store.Charge
	for range n {
		c := s.charge(t, "alice")
		expect(t, "the verdict", c.Verdict, store.Check)
		list = append(list, c)
	}
	return list
}

// checksLeft uses up alice's budget, and returns how much there was.
func (s *subject) checksLeft(t *testing.T) int {
	t.Helper()
	for n := 0; ; n++ {
		if s.charge(t, "alice").Verdict != store.Check {
			return n
		}
	}
}

// exactly makes n charges of alice at once, of which so many have to be charged, and one to lock.
func (s *subject) exactly(t *testing.T, n, checks int) {
	t.Helper()
	results := make([]store.Charge, n)
	parallel(t, n, func(i int) (err error) {
		results[i], err = s.Store.Charge(t.Context(), attemptBy("alice"), limits)
		return err
	})
	counts, locks, ids := map[store.Verdict]int{}, 0, []int64{}
	for _, c := range results {
		counts[c.Verdict]++
		ids = append(ids, c.ID)
		if c.Locks {
			locks++
		}
	}
	expect(t, "the verdicts", counts, map[store.Verdict]int{store.Check: checks, store.Locked: n - checks})
	expect(t, "the number of locks", locks, 1)
	slices.Sort(ids)
	expect(t, "the number of records", len(slices.Compact(ids)), n)
	outcomes := map[store.Outcome]int{}
	for _, r := range s.Other.Attempts(t) {
		outcomes[r.Outcome]++
	}
	expect(t, "the outcomes", outcomes, map[store.Outcome]int{store.Pending: checks, store.RefusedLocked: n - checks})
}

// failed is alice's counter.
func (s *subject) failed(t *testing.T) int {
	t.Helper()
	return s.observe(t, "alice").Row.FailedLoginAttempts
}

// lockedFor expects that alice's lock lasts that long from now.
func (s *subject) lockedFor(t *testing.T, length time.Duration) {
	t.Helper()
	if left := s.observe(t, "alice").LockLeft(); left > length || left < length-10*time.Second {
		t.Errorf("the lock lasts %v more, want %v", left, length)
	}
}
