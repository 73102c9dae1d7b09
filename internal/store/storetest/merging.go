// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

var merging = []test{
	{"failures are added to the counter, and nothing else changes", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 1)
		before := s.Other.Columns(t, "alice")
		s.merges(t, store.OfflineActivity{Failures: 2})
		s.unchangedBut(t, "alice", before, "failed_login_attempts")
		expect(t, "the counter", s.failed(t), 3)
		expect(t, "the number of checks that are left", s.checksLeft(t), 2)
	}},
	{"where nothing was missed, nothing changes", func(t *testing.T, s *subject) {
		s.created(t)
		for _, left := range []time.Duration{-time.Hour, time.Hour} {
			s.Other.SetFailed(t, "alice", new(7)) // at the limit before the merge
			s.Other.Lock(t, "alice", left)
			before := s.Other.Columns(t, "alice")
			s.merges(t, store.OfflineActivity{})
			s.merges(t, store.OfflineActivity{Failures: -3})
			s.unchangedBut(t, "alice", before)
		}
	}},
	{"a counter that reaches the limit by it locks from now on", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 2)
		before := s.Other.Columns(t, "alice")
		s.merges(t, store.OfflineActivity{Failures: 3})
		s.unchangedBut(t, "alice", before, "failed_login_attempts", "locked_until")
		expect(t, "the counter", s.failed(t), 5)
		s.lockedFor(t, 15*time.Minute)
		expect(t, "pending", s.observe(t, "alice").LockPending(), false)
		expect(t, "the verdict", s.charge(t, "alice").Verdict, store.Locked)
	}},
	{"the limits are the caller's, also of a merge", func(t *testing.T, s *subject) {
		s.created(t)
		outage := outageOf(store.OfflineActivity{Username: "alice", Failures: 1})
		if err := s.Store.Merge(t.Context(), outage, store.Limits{Duration: time.Hour}); err != nil {
			t.Fatal(err)
		}
		s.lockedFor(t, time.Hour)
	}},
	{"the lock that an outage brought is taken over with its failures", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 1)
		until := s.in(t, 7*time.Minute)
		s.merges(t, store.OfflineActivity{Failures: 4, LockedUntil: until})
		s.lockedUntil(t, until)
		expect(t, "the counter", s.failed(t), 5)
	}},
	{"a lock that came without failures leaves the counter", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 3)
		until := s.in(t, 7*time.Minute)
		s.merges(t, store.OfflineActivity{LockedUntil: until})
		s.lockedUntil(t, until)
		expect(t, "the counter", s.failed(t), 3)
	}},
	{"of two locks the longer one stays", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.SetFailed(t, "alice", new(5))
		s.Other.Lock(t, "alice", time.Hour)
		before := s.Other.Columns(t, "alice")
		s.merges(t, store.OfflineActivity{Failures: 5, LockedUntil: s.in(t, time.Minute)})
		s.merges(t, store.OfflineActivity{Failures: 5})
		s.unchangedBut(t, "alice", before, "failed_login_attempts")
		expect(t, "the counter", s.failed(t), 15)
		until := s.in(t, 2*time.Hour)
		s.merges(t, store.OfflineActivity{LockedUntil: until})
		s.lockedUntil(t, until)
	}},
	{"where the row's lock expired, failures are added to a clean counter", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 5)
		s.Other.Lock(t, "alice", -time.Second)
		s.merges(t, store.OfflineActivity{Failures: 2})
		expect(t, "the counter", s.failed(t), 2)
		expect(t, "the lock", s.observe(t, "alice").Row.LockedUntil, nil)
		expect(t, "the number of checks that are left", s.checksLeft(t), 3)
	}},
	{"where the fallback's lock expired, its failures do not count", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 1)
		before := s.Other.Columns(t, "alice")
		s.merges(t, store.OfflineActivity{Failures: 5, LockedUntil: s.in(t, -time.Second)})
		s.unchangedBut(t, "alice", before)
	}},
	{"a last login never gets earlier", func(t *testing.T, s *subject) {
		s.created(t)
		first, second := s.in(t, -2*time.Hour), s.in(t, -time.Hour)
		for _, step := range []struct{ missed, want *time.Time }{{nil, nil}, {first, first}, {second, second}, {first, second}, {nil, second}} {
			before := s.Other.Columns(t, "alice")
			s.merges(t, store.OfflineActivity{LastLogin: step.missed})
			got := s.observe(t, "alice").Row.LastLogin
			if (got == nil) != (step.want == nil) || (got != nil && !got.Equal(*step.want)) {
				t.Errorf("the last login is %v, want %v", got, step.want)
			}
			if step.missed == nil || step.missed != step.want {
				s.unchangedBut(t, "alice", before)
			} else {
				s.unchangedBut(t, "alice", before, "last_login_at")
			}
		}
	}},
	{"a success of the outage takes no failure from the counter", func(t *testing.T, s *subject) {
		s.created(t)
		s.charges(t, 4)
		s.merges(t, store.OfflineActivity{LastLogin: s.in(t, 0)})
		expect(t, "the number of checks that are left", s.checksLeft(t), 1)
	}},
	{"a counter below zero is zero, and one that is full stays so", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.SetFailed(t, "alice", new(-1000))
		s.merges(t, store.OfflineActivity{Failures: 1})
		expect(t, "the counter", s.failed(t), 1)
		s.Other.SetFailed(t, "alice", new(math.MaxInt32-1))
		s.merges(t, store.OfflineActivity{Failures: math.MaxInt32})
		expect(t, "the counter", s.failed(t), math.MaxInt32)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"what is NULL stands for its default, also in a merge", func(t *testing.T, s *subject) {
		if !s.Nullable {
			return
		}
		s.created(t)
		s.Other.SetFailed(t, "alice", nil)
		s.Other.SetActive(t, "alice", nil)
		s.merges(t, store.OfflineActivity{Failures: 2})
		expect(t, "the counter", s.failed(t), 2)
	}},
	{"an account that is not active is no exception", func(t *testing.T, s *subject) {
		s.created(t, inactive)
		s.merges(t, store.OfflineActivity{Failures: 5})
		expect(t, "the counter", s.failed(t), 5)
		s.lockedFor(t, 15*time.Minute)
	}},
	{"accounts that are gone or cannot be are dropped, and the others are not", func(t *testing.T, s *subject) {
		s.created(t)
		outage := outageOf(
			store.OfflineActivity{Username: "bob", Failures: 1}, store.OfflineActivity{Username: "a\x00", Failures: 1},
			store.OfflineActivity{Username: "\xff", Failures: 1}, store.OfflineActivity{Username: strings.Repeat("x", 1<<20), Failures: 1},
			store.OfflineActivity{Username: "ALICE", Failures: 1}, store.OfflineActivity{Username: "alice", Failures: 2})
		outage.Attempts = []store.Record{{Time: *s.in(t, 0), Username: "bob", Outcome: store.Failed}}
		s.merge(t, outage)
		expect(t, "the counter", s.failed(t), 2)
		expect(t, "bob exists", s.exists(t, "bob"), false)
		expect(t, "the number of records", len(s.Other.Attempts(t)), 1)
	}},
	{"attempts are recorded as they were, with IDs of their own", func(t *testing.T, s *subject) {
		s.created(t)
		first := s.charge(t, "alice")
		var outage store.OfflineBatch
		for i, outcome := range []store.Outcome{
			store.Pending, store.Succeeded, store.Failed, store.RefusedUnknown, store.RefusedLocked, store.RefusedInactive,
		} {
			outage.Attempts = append(outage.Attempts, store.Record{
				ID: first.ID, Time: *s.in(t, time.Duration(i-10)*time.Minute), Username: fmt.Sprintf("user-%d", i),
				Source: "192.0.2.7", UserAgent: "a browser", Outcome: outcome,
			})
		}
		s.merge(t, outage)
		records := s.Other.Attempts(t)[1:]
		expect(t, "the number of records", len(records), len(outage.Attempts))
		last := first.ID
		for i, r := range records {
			if r.ID <= last {
				t.Errorf("the ID is %d after %d", r.ID, last)
			}
			if last = r.ID; !r.Time.Equal(outage.Attempts[i].Time) {
				t.Errorf("the time is %v, want %v", r.Time, outage.Attempts[i].Time)
			}
			r.ID, r.Time = first.ID, outage.Attempts[i].Time
			expect(t, "the record", r, outage.Attempts[i])
		}
		expect(t, "the counter", s.failed(t), 1)
	}},
	{"the texts of attempts are recorded so that they can be printed", func(t *testing.T, s *subject) {
		nasty := []string{"a\r\nb", "\x00", "\xff\xfe", "\u202e", strings.Repeat("ä", 1<<16), `DOMAIN\alice`}
		var outage store.OfflineBatch
		for _, text := range nasty {
			outage.Attempts = append(outage.Attempts, store.Record{
				Time: *s.in(t, 0), Username: text, Source: text, UserAgent: text, Outcome: store.Failed,
			})
		}
		s.merge(t, outage)
		records := s.Other.Attempts(t)
		expect(t, "the number of records", len(records), len(nasty))
		for i, r := range records {
			want := outage.Attempts[i].Clean()
			want.ID, want.Time = r.ID, r.Time
			expect(t, "the record", r, want)
		}
	}},
	{"to merge again changes nothing, and another outage does", func(t *testing.T, s *subject) {
		s.created(t)
		outage := outageOf(store.OfflineActivity{Username: "alice", Failures: 1, LastLogin: s.in(t, 0)})
		outage.Attempts = []store.Record{{Time: *s.in(t, 0), Username: "alice", Outcome: store.Failed}}
		s.merge(t, outage)
		before := s.Other.Columns(t, "alice")
		s.merge(t, outage)
		s.unchangedBut(t, "alice", before)
		expect(t, "the number of records", len(s.Other.Attempts(t)), 1)
		outage.ID = "another"
		s.merge(t, outage)
		expect(t, "the counter", s.failed(t), 2)
		expect(t, "the number of records", len(s.Other.Attempts(t)), 2)
	}},
	{"of one outage that many merge at once, one counts", func(t *testing.T, s *subject) {
		s.created(t)
		outage := outageOf(store.OfflineActivity{Username: "alice", Failures: 1})
		outage.Attempts = []store.Record{{Time: *s.in(t, 0), Username: "alice", Outcome: store.Failed}}
		succeeded := parallel(t, 10, func(int) error { return s.Store.Merge(t.Context(), outage, limits) })
		expect(t, "the number that succeeded", succeeded, 10)
		expect(t, "the counter", s.failed(t), 1)
		expect(t, "the number of records", len(s.Other.Attempts(t)), 1)
	}},
	{"of many outages that are merged at once, in whatever order, all count", func(t *testing.T, s *subject) {
		const accounts, outages = 20, 10
		var missed []store.OfflineActivity
		for i := range accounts {
			username := fmt.Sprintf("user-%d", i)
			s.Other.Insert(t, username, Row{Hash: firstHash, Roles: `[]`, Active: true})
			missed = append(missed, store.OfflineActivity{Username: username, Failures: 1})
		}
		succeeded := parallel(t, outages, func(i int) error {
			part := outageOf(slices.Concat(missed[i:], missed[:i])...)
			part.ID = fmt.Sprintf("outage-%d", i)
			return s.Store.Merge(t.Context(), part, store.Limits{Attempts: outages, Duration: time.Hour})
		})
		expect(t, "the number that succeeded", succeeded, outages)
		for _, m := range missed {
			o := s.observe(t, m.Username)
			expect(t, "the counter of "+m.Username, o.Row.FailedLoginAttempts, outages)
			expect(t, "locked, of "+m.Username, o.Locked(), true)
		}
	}},
	{"charges and merges at once are all counted", func(t *testing.T, s *subject) {
		s.created(t)
		endless := store.Limits{Attempts: 1000, Duration: time.Hour}
		parallel(t, 20, func(i int) error {
			if i%2 == 0 {
				_, err := s.Store.Charge(t.Context(), attemptBy("alice"), endless)
				return err
			}
			outage := outageOf(store.OfflineActivity{Username: "alice", Failures: 2})
			outage.ID = fmt.Sprintf("outage-%d", i)
			return s.Store.Merge(t.Context(), outage, endless)
		})
		expect(t, "the counter", s.failed(t), 30)
	}},
	{"a merge whose context has ended leaves nothing", func(t *testing.T, s *subject) {
		s.created(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		outage := outageOf(store.OfflineActivity{Username: "alice", Failures: 1})
		expectCancelled(t, s.Store.Merge(ctx, outage, limits))
		expect(t, "the counter", s.failed(t), 0)
		s.merge(t, outage)
		expect(t, "the counter", s.failed(t), 1)
	}},
	{"a subscriber is notified of a lock of a merge", func(t *testing.T, s *subject) {
		s.created(t)
		w := s.watch(t)
		w.has(t, "alice")
		w.forget()
		s.merges(t, store.OfflineActivity{Failures: 5})
		w.has(t, "alice")
	}},
}

// outageOf is a batch with this activity.
func outageOf(missed ...store.OfflineActivity) store.OfflineBatch {
	return store.OfflineBatch{ID: "outage", Accounts: missed}
}

func (s *subject) merge(t *testing.T, outage store.OfflineBatch) {
	t.Helper()
	if err := s.Store.Merge(t.Context(), outage, limits); err != nil {
		t.Fatalf("merge: %v", err)
	}
}

// merges merges a batch of its own with this activity of alice.
func (s *subject) merges(t *testing.T, missed store.OfflineActivity) {
	t.Helper()
	s.outages++
	missed.Username = "alice"
	s.merge(t, store.OfflineBatch{ID: fmt.Sprintf("alice-%d", s.outages), Accounts: []store.OfflineActivity{missed}})
}

// in returns a time after now, by the store's clock and as precise as it.
func (s *subject) in(t *testing.T, d time.Duration) *time.Time {
	t.Helper()
	return new(s.Other.Now(t).Add(d).Truncate(time.Microsecond))
}

// lockedUntil expects the end of alice's lock.
func (s *subject) lockedUntil(t *testing.T, until *time.Time) {
	t.Helper()
	if got := s.observe(t, "alice").Row.LockedUntil; got == nil || !got.Equal(*until) {
		t.Errorf("the lock ends %v, want %v", got, *until)
	}
}
