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

func TestWhileTheDatabaseIsAwayAttemptsAreDecidedFromWhatWasKnown(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		if !charged.Fallback || charged.Verdict != store.Check || charged.PasswordHash != "hash of alice" {
			t.Errorf("alice: %+v", charged)
		}
		if !w.settle(charged, true) {
			t.Error("a success does not stand")
		}
		if got := w.charge("mallory").Verdict; got != store.Unknown {
			t.Errorf("a name that nobody has: %s", got)
		}
		if w.observe("alice").LastLogin == nil {
			t.Error("the log-in is not known to a gateway's requests")
		}
	})
}

// Else he would find rows without the locks of the outage, and take them out of the statuses.
func TestForTheReconcilerAnOutageIsOverWhenItIsMerged(t *testing.T) {
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

// Only the role for log-ins may be refused, and then a reconcile is told why it waits.
func TestAnOutageOfTheLoginSideAloneIsNoneOfTheReconcilers(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		r := w.ForReconciler(&database{Store: w.db.Store})
		w.goes()
		if _, err := r.Observe(w.t.Context(), "alice"); err == nil || err.Error() != w.db.Health().Writing.Error() {
			t.Errorf("got %v, want %v", err, w.db.Health().Writing)
		}
		if known := r.Health(); known.Reading == nil || known.Writing == nil {
			t.Error("it is not known before that a call comes to nothing")
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

// The first attempt need not wait until somebody has looked.
func TestTheAttemptThatFindsTheDatabaseAwayIsDecidedFromMemory(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.away.Store(true)
		if charged := w.charge("alice"); !charged.Fallback {
			t.Errorf("%+v", charged)
		}
	})
}

func TestAnAttemptThatMayHaveReachedTheDatabaseIsNotChargedAgain(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.reached.Store(true)
		w.db.away.Store(true)
		if _, err := w.Charge(w.t.Context(), store.Attempt{Username: "alice"}, limits); !errors.Is(err, store.ErrUnavailable) || w.Active() {
			t.Errorf("got %v", err)
		}
	})
}

// The database answers late that it charged, when the outage has begun with what was known before.
func TestAnAttemptThatIsUnderWayWhenAnOutageBeginsCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 4)
		w.db.set(func(d *database) {
			d.charged = func() {
				d.away.Store(true)
				time.Sleep(time.Second) //nolint:forbidigo // The bubble's clock: nobody waits.
			}
		})
		if charged := w.charge("alice"); charged.Fallback || !charged.Locks || !w.Active() {
			t.Errorf("the fifth: %+v", charged)
		}
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("the sixth, from memory: %s", got)
		}
	})
}

// However quickly: not a moment passes for the copy to be read again.
func TestADatabaseThatFlapsGivesNobodyANewBudget(t *testing.T) {
	for name, away := range map[string]bool{"with a copy": false, "with what the cluster declares": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, away, nil, func(w *world) {
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
					w.db.away.Store(false)
					w.check(w.t.Context())
					w.db.away.Store(true)
					w.check(w.t.Context())
				}
				if checks != 5 {
					t.Errorf("%d checks, want 5", checks)
				}
			})
		})
	}
}

// What the database charges in between counts when the outage goes on.
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
		w.db.away.Store(false)
		w.check(w.t.Context())
		for range 3 {
			try()
		}
		w.db.away.Store(true)
		w.check(w.t.Context())
		for range 5 {
			try()
		}
		if checks != 5 {
			t.Errorf("%d checks, want 5", checks)
		}
	})
}

// What is read of a table that cannot be written: a standby, a right that was taken away.
func TestWhatAnOutageCanStillReadCounts(t *testing.T) {
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

// The database took an old lock out of the row; the copy has to, too, or the next charge would begin anew.
func TestAChargeAfterALockThatRanOutCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 5)
		w.passes(limits.Duration)
		w.db.deaf.Store(true)
		w.fails("alice", 4)
		w.db.away.Store(true)
		w.check(w.t.Context())
		w.fails("alice", 1)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after the fifth: %s", got)
		}
	})
}

func TestWithoutFallbackNothingIsDecided(t *testing.T) {
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
		for range 5 { // a database that comes and goes
			w.comes()
			w.goes()
			if got := w.charge("alice").Verdict; got != store.Locked {
				t.Errorf("once more: %s", got)
			}
		}
	})
}

func TestAttemptsForWhichThereIsNoRoomAreCounted(t *testing.T) {
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
