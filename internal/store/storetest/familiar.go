// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Addresses: two of the owner, and one of a stranger.
const (
	home   = "192.0.2.10"
	office = "192.0.2.20"
	away   = "203.0.113.66"
)

// split is a policy that gives familiar addresses a budget of their own.
var split = user.Lockout{Familiar: true}

// splitting is about familiar addresses and their budget.
var splitting = []test{
	{"the lock of the common budget does not refuse an address from which the account logged in", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		expect(t, "the checks from elsewhere", s.checksFrom(t, away), 5)
		s.lockedFor(t, 15*time.Minute)
		expect(t, "the verdict elsewhere", s.from(t, office).Verdict, store.Locked)
		c := s.from(t, home)
		expect(t, "the verdict at home", c.Verdict, store.Check)
		expect(t, "familiar", c.Familiar, true)
		expect(t, "the hash", c.PasswordHash, firstHash)
		s.succeeds(t, c)
	}},
	{"without the policy's word all addresses share one budget", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.logsIn(t, home)
		expect(t, "the checks", s.checksFrom(t, away), 5)
		expect(t, "the verdict at home", s.from(t, home).Verdict, store.Locked)
		s.apply(t, next(user.Update, o, under(split)))
		expect(t, "the verdict at home", s.from(t, home).Verdict, store.Locked)
	}},
	{"failures from a familiar address count in a budget of their own, and lock familiar addresses only", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		before := s.Other.Columns(t, "alice")
		expect(t, "the checks at home", s.checksFrom(t, home), 5)
		s.unchangedBut(t, "alice", before)
		o := s.observe(t, "alice")
		expect(t, "the common lock", o.Locked(), false)
		expect(t, "the familiar lock", o.FamiliarLocked(), true)
		expect(t, "the checks from elsewhere", s.checksFrom(t, away), 5)
	}},
	{"a charge to the familiar budget tells that budget's counter and lock", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Familiar: true, Attempts: 2, Duration: time.Minute}))
		s.logsIn(t, home)
		s.from(t, away)
		expect(t, "the counter", s.from(t, home).Failed, 1)
		c := s.from(t, home)
		expect(t, "the counter", c.Failed, 2)
		expect(t, "locks", c.Locks, true)
		if lock := s.observe(t, "alice").Row.FamiliarLockedUntil; lock == nil || !lock.Equal(c.Until) {
			t.Errorf("it locks until %v, and the account until %v", c.Until, lock)
		}
		expect(t, "the common counter", s.failed(t), 1)
	}},
	{"all familiar addresses of an account share one budget", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		for i := range store.MostFamiliar {
			s.logsIn(t, owned(i))
		}
		checks := 0
		for i := range 3 * store.MostFamiliar {
			if s.from(t, owned(i%store.MostFamiliar)).Verdict == store.Check {
				checks++
			}
		}
		expect(t, "the checks", checks, 5)
	}},
	{"only an accepted success makes an address familiar", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.settle(t, s.from(t, home), false)
		stale := s.from(t, home)
		s.Other.SetHash(t, "alice", &secondHash)
		expect(t, "accepted", s.settle(t, stale, true), false)
		s.Other.SetHash(t, "alice", &firstHash)
		s.from(t, home) // never settled
		expect(t, "familiar", s.from(t, home).Familiar, false)
		late := s.from(t, home)
		expect(t, "accepted", s.settle(t, late, false), false)
		expect(t, "accepted", s.settle(t, late, true), false)
		expect(t, "the verdict", s.from(t, home).Verdict, store.Locked)
	}},
	{"another account's address is not familiar", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.apply(t, creation("bob", 0, under(split), by(user.Owner{Cluster: "cluster-1", Namespace: "team-a", Name: "bob", UID: "uid-9"})))
		s.succeeds(t, s.chargeBy(t, store.Attempt{Username: "bob", Source: home}, limits))
		expect(t, "familiar", s.from(t, home).Familiar, false)
	}},
	{"a success from a familiar address clears its own budget, and neither counter nor lock of the common one", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.from(t, away)
		s.from(t, away)
		for range 3 {
			s.from(t, home)
		}
		before := s.Other.Columns(t, "alice")
		s.succeeds(t, s.from(t, home))
		s.unchangedBut(t, "alice", before, "last_login_at")
		expect(t, "the checks from elsewhere", s.checksFrom(t, away), 3)
		before = s.Other.Columns(t, "alice")
		s.succeeds(t, s.from(t, home))
		s.unchangedBut(t, "alice", before, "last_login_at")
		expect(t, "the checks at home", s.checksFrom(t, home), 5)
	}},
	{"a success from elsewhere clears the common budget, and not the familiar one", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		for range 3 {
			s.from(t, home)
			s.from(t, office)
		}
		s.logsIn(t, office)
		expect(t, "the common counter", s.failed(t), 0)
		expect(t, "the checks of both", s.checksFrom(t, home)+s.checksFrom(t, office), 2)
		expect(t, "the checks from elsewhere", s.checksFrom(t, away), 5)
	}},
	{"a right password on the last try from a familiar address lifts the lock of its charge, and no other", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		var list []store.Charge
		for range 5 {
			list = append(list, s.from(t, home))
		}
		s.succeeds(t, list[0])
		expect(t, "the familiar lock", s.observe(t, "alice").FamiliarLocked(), true)
		s.succeeds(t, list[4])
		expect(t, "the familiar lock", s.observe(t, "alice").FamiliarLocked(), false)
		expect(t, "the checks", s.checksFrom(t, home), 5)
	}},
	{"a success that was charged elsewhere lifts no lock of the familiar budget, also when its address became familiar meanwhile", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		first, second := s.from(t, home), s.from(t, home)
		s.succeeds(t, first)
		s.checksFrom(t, home)
		s.succeeds(t, second)
		expect(t, "the familiar lock", s.observe(t, "alice").FamiliarLocked(), true)
		expect(t, "the verdict", s.from(t, home).Verdict, store.Locked)
	}},
	{"settling again changes nothing of the familiar budget", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		c := s.from(t, home)
		s.succeeds(t, c)
		s.from(t, home)
		s.succeeds(t, c)
		expect(t, "the checks that are left", s.checksFrom(t, home), 4)
	}},
	{"an expired lock leaves a full familiar budget", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.checksFrom(t, home)
		s.Other.Age(t, 16*time.Minute)
		expect(t, "the checks", s.checksFrom(t, home), 5)
	}},
	{"an address is familiar for 30 days after its last success", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.Other.Age(t, store.FamiliarFor-time.Minute)
		s.logsIn(t, office)
		expect(t, "familiar", s.from(t, home).Familiar, true)
		s.Other.Age(t, time.Hour)
		expect(t, "familiar", s.from(t, home).Familiar, false)
		expect(t, "familiar", s.from(t, office).Familiar, true)
		s.Other.Age(t, store.FamiliarFor)
		if _, err := s.Store.PurgeAttempts(t.Context(), store.FamiliarFor, 10); err != nil {
			t.Fatal(err)
		}
		expect(t, "familiar", s.from(t, office).Familiar, false)
	}},
	{"an account has ten familiar addresses at most, and a failure from anywhere replaces none", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		for i := range store.MostFamiliar {
			s.logsIn(t, owned(i))
		}
		s.checksFrom(t, away)
		s.Other.Lock(t, "alice", -time.Second)
		s.logsIn(t, owned(0)) // so that the second one is the oldest
		s.logsIn(t, home)
		for i := range store.MostFamiliar {
			expect(t, fmt.Sprintf("familiar, of %d", i), s.from(t, owned(i)).Familiar, i != 1)
			s.apply(t, next(user.Update, s.observe(t, "alice"), under(split), clearingLockout))
		}
	}},
	{"of IPv6 a /64 is one address, and what is no address is never familiar", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, "2001:db8:0:1::a")
		s.logsIn(t, "::ffff:"+home)
		s.logsIn(t, "somewhere")
		for source, want := range map[string]bool{
			"2001:db8:0:1:ffff::b": true, "2001:db8:0:2::a": false, home: true, "somewhere": false, "": false,
		} {
			expect(t, "familiar, of "+source, s.from(t, source).Familiar, want)
			s.apply(t, next(user.Update, s.observe(t, "alice"), under(split), clearingLockout))
		}
	}},
	{"an unlock and a new password clear both budgets, and leave addresses familiar", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		for _, edit := range []func(*user.Change){
			unlock("monday"), password(user.PasswordChange{Hash: firstHash, Version: "v2", New: true}),
		} {
			s.checksFrom(t, away)
			s.checksFrom(t, home)
			s.apply(t, next(user.Update, s.observe(t, "alice"), under(split), clearingLockout, edit))
			expect(t, "the familiar lock", s.observe(t, "alice").FamiliarLocked(), false)
			expect(t, "the checks at home", s.checksFrom(t, home), 5)
			expect(t, "the checks from elsewhere", s.checksFrom(t, away), 5)
			s.apply(t, next(user.Update, s.observe(t, "alice"), under(split), clearingLockout))
		}
	}},
	{"another change leaves both budgets", func(t *testing.T, s *subject) {
		o := s.created(t, under(split))
		s.logsIn(t, home)
		s.from(t, home)
		s.from(t, away)
		s.apply(t, next(user.Update, o, under(split), writing(user.FieldRoles), roles("viewer")))
		expect(t, "the checks at home", s.checksFrom(t, home), 4)
		expect(t, "the checks from elsewhere", s.checksFrom(t, away), 4)
	}},
	{"an account that ended has no familiar address when it begins again", func(t *testing.T, s *subject) {
		for _, verb := range []user.Verb{user.Delete, user.Deactivate, user.Release} {
			s.apply(t, creation("alice", s.revision(t, "alice"), under(split), confirmed))
			s.logsIn(t, home)
			s.apply(t, next(verb, s.observe(t, "alice")))
			if s.exists(t, "alice") {
				s.apply(t, adoption("alice", s.revision(t, "alice"), by(remade), under(split), confirmed))
			} else {
				s.apply(t, creation("alice", s.revision(t, "alice"), by(remade), under(split), confirmed))
			}
			expect(t, "familiar after "+string(verb), s.from(t, home).Familiar, false)
			s.apply(t, next(user.Delete, s.observe(t, "alice"), by(remade)))
		}
	}},
	{"a row that another program deleted and the operator creates again has no familiar address", func(t *testing.T, s *subject) {
		o := s.created(t, under(split))
		s.logsIn(t, home)
		s.Other.Delete(t, "alice")
		s.apply(t, creation("alice", o.Ownership.Revision, under(split), generation(2)))
		expect(t, "familiar", s.from(t, home).Familiar, false)
	}},
	{"the lock of another program is a common one", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.Other.Lock(t, "alice", time.Hour)
		expect(t, "the verdict elsewhere", s.from(t, away).Verdict, store.Locked)
		s.succeeds(t, s.from(t, home))
		s.lockedFor(t, time.Hour)
	}},
	{"an inactive account is refused from everywhere", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.Other.SetActive(t, "alice", new(false))
		expect(t, "the verdict", s.from(t, home).Verdict, store.Inactive)
	}},
	{"locks of either budget grow by its own", func(t *testing.T, s *subject) {
		grows := strict
		grows.Familiar = true
		s.created(t, under(grows))
		s.logsIn(t, home)
		for _, length := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			expect(t, "the checks from elsewhere", s.checksFrom(t, away), 2)
			s.lockedFor(t, length)
			s.Other.Lock(t, "alice", -time.Second)
		}
		for _, length := range []time.Duration{time.Minute, 2 * time.Minute} {
			expect(t, "the checks at home", s.checksFrom(t, home), 2)
			near(t, "the familiar lock", s.observe(t, "alice").Row.FamiliarLockedUntil, s.Other.Now(t).Add(length))
			s.Other.Age(t, length+time.Second)
		}
	}},
	{"an exempt account is never locked in either budget", func(t *testing.T, s *subject) {
		s.created(t, under(user.Lockout{Exempt: true, Familiar: true}))
		s.logsIn(t, home)
		for i := range 20 {
			c := s.from(t, home)
			expect(t, "the verdict", c.Verdict, store.Check)
			expect(t, "exempt", c.Exempt, true)
			expect(t, "the counter", c.Failed, i+1)
			expect(t, "the verdict elsewhere", s.from(t, away).Verdict, store.Check)
		}
	}},
	{"without familiar addresses, as in a fallback, all attempts are charged to the common budget", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		common := limits
		common.CommonOnly = true
		s.succeeds(t, s.chargeBy(t, store.Attempt{Username: "alice", Source: office}, common))
		for range 5 {
			c := s.chargeBy(t, store.Attempt{Username: "alice", Source: home}, common)
			expect(t, "the verdict", c.Verdict, store.Check)
			expect(t, "familiar", c.Familiar, false)
		}
		expect(t, "the verdict", s.from(t, office).Verdict, store.Locked)
		expect(t, "the checks at home", s.checksFrom(t, home), 5)
	}},
	{"a merge leaves the familiar budget", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.from(t, home)
		s.merges(t, store.OfflineActivity{Failures: 5, LastLogin: s.in(t, 0)})
		s.lockedFor(t, 15*time.Minute)
		expect(t, "the checks at home", s.checksFrom(t, home), 4)
	}},
	{"of 200 parallel attempts from familiar and other addresses, each budget gives five checks", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.logsIn(t, office)
		results := make([]store.Charge, 200)
		parallel(t, len(results), func(i int) (err error) {
			source := []string{home, away, office, owned(i)}[i%4]
			results[i], err = s.Store.Charge(t.Context(), store.Attempt{Username: "alice", Source: source}, limits)
			return err
		})
		type kind struct {
			verdict  store.Verdict
			familiar bool
		}
		counts := map[kind]int{}
		for _, c := range results {
			counts[kind{c.Verdict, c.Familiar}]++
		}
		expect(t, "the verdicts", counts, map[kind]int{
			{store.Check, true}: 5, {store.Check, false}: 5, {store.Locked, false}: 190,
		})
	}},
	{"of parallel right logins from new addresses none is lost, and none locks", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		parallel(t, 4, func(i int) error {
			for range 5 {
				c, err := s.Store.Charge(t.Context(), store.Attempt{Username: "alice", Source: owned(i)}, limits)
				if err != nil {
					return err
				}
				if accepted, err := s.Store.Settle(t.Context(), c, true); err != nil || !accepted {
					t.Errorf("%s: accepted is %t, %v", c.Verdict, accepted, err)
				}
			}
			return nil
		})
		for i := range 4 {
			expect(t, "familiar", s.from(t, owned(i)).Familiar, true)
		}
	}},
	{"the lock of the familiar budget is observed until it expires, and so is the next change", func(t *testing.T, s *subject) {
		s.created(t, under(split))
		s.logsIn(t, home)
		s.checksFrom(t, home)
		o := s.observe(t, "alice")
		expect(t, "in force", o.FamiliarLocked(), true)
		if left := o.NextLockChange(); left > 15*time.Minute || left < 14*time.Minute {
			t.Errorf("one is to look again in %v, want 15 minutes", left)
		}
		s.Other.Age(t, 16*time.Minute)
		expect(t, "in force", s.observe(t, "alice").FamiliarLocked(), false)
	}},
}

// owned returns one of many addresses of the owner.
func owned(i int) string { return fmt.Sprintf("192.0.2.%d", 100+i) }

// from is one attempt at alice's account from the address.
func (s *subject) from(t *testing.T, source string) store.Charge {
	t.Helper()
	return s.chargeBy(t, store.Attempt{Username: "alice", Alias: "digest", Source: source}, limits)
}

// logsIn is a success from the address.
func (s *subject) logsIn(t *testing.T, source string) {
	t.Helper()
	s.succeeds(t, s.from(t, source))
}

// checksFrom uses up the budget of the address, and returns how much there was.
func (s *subject) checksFrom(t *testing.T, source string) int {
	t.Helper()
	for n := 0; ; n++ {
		if s.from(t, source).Verdict != store.Check {
			return n
		}
	}
}
