// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestWhileTheDatabaseIsUnavailableTheFallbackDecides(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		if !charged.Fallback || charged.Verdict != store.Check || charged.PasswordHash != "hash of alice" {
			t.Errorf("alice: %+v", charged)
		}
		if !w.settle(charged, true) {
			t.Error("a success is not accepted")
		}
		if got := w.charge("mallory").Verdict; got != store.Unknown {
			t.Errorf("a name that nobody has: %s", got)
		}
		if w.observe("alice").LastLogin == nil {
			t.Error("the login is not known to a gateway's requests")
		}
	})
}

// Otherwise it would read rows without the locks of the fallback, and remove them from the statuses.
func TestForTheReconcilerTheFallbackEndsWhenItIsMerged(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		var recovered atomic.Int64
		r := w.ForReconciler(w.db)
		ctx, cancel := context.WithCancel(w.t.Context())
		ended := make(chan struct{})
		go func() {
			r.Watch(ctx, func([]string) {}, func() { recovered.Add(1) })
			close(ended)
		}()
		w.goes()
		w.fails("alice", 5)
		w.db.mu.Lock()
		w.db.refuse = &store.UnavailableError{Sentence: "not now"}
		w.db.mu.Unlock()
		w.comes()
		if _, err := r.Observe(w.t.Context(), "alice"); !errors.Is(err, store.ErrUnavailable) || recovered.Load() != 0 {
			t.Errorf("before: %v, and recovered was called %d times", err, recovered.Load())
		}
		w.db.mu.Lock()
		w.db.refuse = nil
		w.db.mu.Unlock()
		w.passes(time.Second)
		if o, err := r.Observe(w.t.Context(), "alice"); err != nil || !o.Locked() || recovered.Load() != 1 {
			t.Errorf("after: %+v %v, and recovered was called %d times", o, err, recovered.Load())
		}
		cancel()
		<-ended
	})
}

// Only the login role may be rejected. Then a reconcile reports why it waits.
func TestTheReconcilerWaitsForTheFallbackOfTheLoginRoleAlone(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		r := w.ForReconciler(&database{Store: w.db.Store})
		w.goes()
		if _, err := r.Observe(w.t.Context(), "alice"); err == nil || err.Error() != w.db.Health().Writing.Error() {
			t.Errorf("got %v, want %v", err, w.db.Health().Writing)
		}
		if known := r.Health(); known.Reading == nil || known.Writing == nil {
			t.Error("it is not known before that a call fails")
		}
		w.comes()
		if _, err := r.Observe(w.t.Context(), "alice"); err != nil {
			t.Error(err)
		}
		if known := r.Health(); known.Reading != nil || known.Writing != nil {
			t.Errorf("what is over is reported as %v and %v", known.Reading, known.Writing)
		}
	})
}

// The first attempt does not wait for a check.
func TestTheFallbackDecidesTheAttemptThatFindsAnOutage(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.unavailable.Store(true)
		if charged := w.charge("alice"); !charged.Fallback {
			t.Errorf("%+v", charged)
		}
	})
}

func TestAnAttemptThatMayHaveReachedTheDatabaseIsNotChargedAgain(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.reached.Store(true)
		w.db.unavailable.Store(true)
		if _, err := w.Charge(w.t.Context(), store.Attempt{Username: "alice"}, limits); !errors.Is(err, store.ErrUnavailable) || w.Active() {
			t.Errorf("got %v", err)
		}
	})
}

// The database answers after the fallback has begun with the former counters.
func TestAnAttemptInProgressWhenTheFallbackBeginsCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 4)
		w.db.set(func(d *database) {
			d.charged = func() {
				d.unavailable.Store(true)
				time.Sleep(time.Second) //nolint:forbidigo // The bubble's clock: nobody waits.
			}
		})
		if charged := w.charge("alice"); charged.Fallback || !charged.Locks || !w.Active() {
			t.Errorf("the fifth: %+v", charged)
		}
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("the sixth, by the fallback: %s", got)
		}
	})
}

// No time passes in which the cache could be refreshed.
func TestADatabaseThatFlapsGivesNobodyANewBudget(t *testing.T) {
	for name, unavailable := range map[string]bool{"with a copy": false, "with what the cluster declares": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, unavailable, nil, func(w *world) {
				w.cluster.change(func(c *cluster) {
					c.accounts = map[string]user.Observed{"alice": {Row: &user.Row{PasswordHash: "hash of alice", Active: true}}}
				})
				checks := 0
				for range 10 {
					w.goes()
					if charged := w.charge("alice"); charged.Verdict == store.Check {
						checks++
						w.settle(charged, false)
					}
					w.db.unavailable.Store(false)
					w.check(w.t.Context())
					w.db.unavailable.Store(true)
					w.check(w.t.Context())
				}
				if checks != 5 {
					t.Errorf("%d checks, want 5", checks)
				}
			})
		})
	}
}

// Charges of the database in between count when the fallback continues.
func TestADatabaseThatFlapsAndChargesGivesNobodyANewBudget(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		checks := 0
		try := func() {
			if charged := w.charge("alice"); charged.Verdict == store.Check {
				checks++
				w.settle(charged, false)
			}
		}
		w.goes()
		try()
		w.db.unavailable.Store(false)
		w.check(w.t.Context())
		for range 3 {
			try()
		}
		w.db.unavailable.Store(true)
		w.check(w.t.Context())
		for range 5 {
			try()
		}
		if checks != 5 {
			t.Errorf("%d checks, want 5", checks)
		}
	})
}

// The table can be read and not written: a standby, a revoked right.
func TestWhatTheFallbackCanStillReadCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.readable.Store(true)
		w.goes()
		w.fails("alice", 1)
		w.db.Edit("alice", func(r *user.Row) *user.Row {
			r.Active, r.FailedLoginAttempts = false, 0
			return r
		})
		w.db.Edit("bob", func(r *user.Row) *user.Row { r.LockedUntil = new(time.Now().Add(time.Hour)); return r })
		w.db.Edit("carol", func(*user.Row) *user.Row { return &user.Row{Active: true} })
		w.passes(time.Second)
		if w.observe("alice").Active || w.observe("alice").FailedLoginAttempts != 1 {
			t.Errorf("alice: %+v", w.observe("alice"))
		}
		if got := w.charge("bob").Verdict; got != store.Locked {
			t.Errorf("bob: %s", got)
		}
		if !w.observe("carol").Active {
			t.Error("carol is unknown")
		}
	})
}

// The database cleared the expired lock in the row. The cache has to as well, or the next charge would start a new budget.
func TestAChargeAfterAnExpiredLockCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 5)
		w.passes(limits.Duration)
		w.db.deaf.Store(true)
		w.fails("alice", 4)
		w.db.unavailable.Store(true)
		w.check(w.t.Context())
		w.fails("alice", 1)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after the fifth: %s", got)
		}
	})
}

func TestWithoutFallbackAttemptsFail(t *testing.T) {
	inWorld(t, false, func(o *Options, _ *cache.Options) { o.NoFallback = true }, func(w *world) {
		w.goes()
		if _, err := w.Charge(w.t.Context(), store.Attempt{Username: "alice"}, limits); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("charge: %v", err)
		}
		if _, err := w.Observe(w.t.Context(), "alice"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("observe: %v", err)
		}
		if len(w.announce) != 0 || w.Active() {
			t.Error("there is said to be a fallback")
		}
	})
}

func TestAnOutageGivesNobodyANewBudget(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 4)
		w.fails("bob", 5)
		w.goes()
		if got := w.fails("alice", 1); got != store.Check {
			t.Errorf("the fifth: %s", got)
		}
		for _, username := range []string{"alice", "bob"} {
			if got := w.charge(username).Verdict; got != store.Locked {
				t.Errorf("%s: %s, want locked", username, got)
			}
		}
		for range 5 { // a database that flaps
			w.comes()
			w.goes()
			if got := w.charge("alice").Verdict; got != store.Locked {
				t.Errorf("once more: %s", got)
			}
		}
	})
}

func TestDroppedAttemptsAreCounted(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		const attempts = 20_000
		for range attempts {
			w.charge("nobody")
		}
		w.comes()
		kept, dropped := len(w.db.attempts()), w.dropped()
		if kept == 0 || kept > 10_000 || kept+dropped != attempts {
			t.Errorf("%d kept and %d dropped", kept, dropped)
		}
	})
}

// Replicas cannot agree on familiar addresses meanwhile: a success in the fallback makes none, and gives no second budget.
func TestInTheFallbackAllAddressesShareTheCommonBudget(t *testing.T) {
	o := newOffline(map[string]user.Observed{"alice": {
		Row:       &user.Row{PasswordHash: "hash", Active: true},
		Ownership: &user.Ownership{State: user.Owned, Lockout: user.Lockout{Familiar: true}},
	}}, time.Now)
	limits := store.Limits{Attempts: 5, Duration: time.Minute}
	attempt := func(source string) store.Charge {
		t.Helper()
		c, err := o.charge(t.Context(), store.Attempt{Username: "alice", Source: source}, limits, 0)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if accepted, err := o.settle(t.Context(), attempt("192.0.2.1"), true); err != nil || !accepted {
		t.Fatalf("accepted is %t, %v", accepted, err)
	}
	checks := 0
	for i := range 20 {
		if attempt([]string{"192.0.2.1", "203.0.113.1"}[i%2]).Verdict == store.Check {
			checks++
		}
	}
	if checks != 5 {
		t.Errorf("%d checks, want 5", checks)
	}
}
