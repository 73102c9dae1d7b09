// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestWhileTheDatabaseIsAwayAttemptsAreDecidedFromWhatWasKnown(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		if !charged.FromMemory || charged.Verdict != store.Check || charged.PasswordHash != "hash of alice" {
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
		if _, err := r.Observe(w.t.Context(), "alice"); err == nil || err.Error() != w.db.Failure().Error() {
			t.Errorf("got %v, want %v", err, w.db.Failure())
		}
		if reading, writing := r.Trouble(); reading == nil || writing == nil {
			t.Error("it is not known before that a call comes to nothing")
		}
		w.comes()
		if _, err := r.Observe(w.t.Context(), "alice"); err != nil {
			t.Error(err)
		}
		if reading, writing := r.Trouble(); reading != nil || writing != nil {
			t.Errorf("what is over is told of as %v and %v", reading, writing)
		}
	})
}

// The first attempt need not wait until somebody has looked.
func TestTheAttemptThatFindsTheDatabaseAwayIsDecidedFromMemory(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.away.Store(true)
		if charged := w.charge("alice"); !charged.FromMemory {
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
		if charged := w.charge("alice"); charged.FromMemory || !charged.Locks || !w.Active() {
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
					w.look(w.t.Context())
					w.db.away.Store(true)
					w.look(w.t.Context())
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
		w.look(w.t.Context())
		for range 3 {
			try()
		}
		w.db.away.Store(true)
		w.look(w.t.Context())
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

// The cluster takes its time to answer, and the database is back by then.
func TestClusterAccountsStartNoOutageOfARecoveredDatabase(t *testing.T) {
	inWorld(t, true, func(o *Options) {
		o.Cluster.(*cluster).asked = func() {
			o.Primary.(*database).away.Store(false)
			time.Sleep(2 * time.Second) //nolint:forbidigo // The bubble's clock: nobody waits.
		}
	}, func(w *world) {
		if w.Active() || len(w.announce) != 0 {
			t.Error("there is an outage")
		}
	})
}

func TestOneLookUpIsNoCopyOfAllAccounts(t *testing.T) {
	a := newAccounts(10, time.Now)
	a.changed("alice")
	read := func(context.Context, []string) (map[string]user.Observed, error) { return nil, nil }
	if err := a.refresh(t.Context(), read, func(map[string]user.Observed) {}); err != nil || a.complete() {
		t.Errorf("%v, and it is complete: %t", err, a.complete())
	}
	a.watched([]string{"alice", "bob"}) // a page, and there may be more
	if err := a.refresh(t.Context(), read, func(map[string]user.Observed) {}); err != nil || a.complete() {
		t.Errorf("%v, and it is complete after a page: %t", err, a.complete())
	}
	a.watched(nil)
	if err := a.refresh(t.Context(), read, func(map[string]user.Observed) {}); err != nil || !a.complete() {
		t.Errorf("%v, and it is complete: %t", err, a.complete())
	}
}

// The database took an old lock out of the row; the copy has to, too, or the next charge would begin anew.
func TestAChargeAfterALockThatRanOutCounts(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 5)
		w.passes(limits.Duration)
		w.db.deaf.Store(true)
		w.fails("alice", 4)
		w.db.away.Store(true)
		w.look(w.t.Context())
		w.fails("alice", 1)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after the fifth: %s", got)
		}
	})
}

func TestNewAttemptsWaitForTheEndOfTheMerge(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 4)
		merging, goOn := make(chan struct{}), make(chan struct{})
		w.db.set(func(d *database) {
			d.merging = func() { close(merging); <-goOn; d.set(func(d *database) { d.merging = nil }) }
		})
		w.db.away.Store(false)
		<-merging
		charged := make(chan store.Charged)
		go func() { charged <- w.charge("alice") }()
		synctest.Wait()
		select {
		case <-charged:
			t.Error("it did not wait")
		default:
		}
		close(goOn)
		if got := <-charged; got.FromMemory || got.Failed != 5 || !got.Locks {
			t.Errorf("%+v", got)
		}
	})
}

func TestAMergeWhoseAnswerIsLostIsNotDoneTwice(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 2)
		w.db.set(func(d *database) { d.lost = true })
		w.comes()
		if n := w.db.row("alice").FailedLoginAttempts; n != 2 || w.Active() {
			t.Errorf("%d failures, want 2", n)
		}
	})
}

// What is wrong then is no account.
func TestADatabaseThatMergesNothingLosesNothing(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 5)
		w.db.set(func(d *database) { d.refuse = &store.UnavailableError{Sentence: "a table is missing"} })
		w.comes()
		w.passes(10 * time.Minute)
		if !w.Active() {
			t.Error("it was given up")
		}
		w.db.set(func(d *database) { d.refuse = nil })
		w.passes(time.Second)
		if w.Active() || w.db.row("alice").LockedUntil == nil {
			t.Error("alice is not locked")
		}
	})
}

// One account that the database does not take keeps nobody else's failures from it, and log-ins not from the database.
func TestAnAccountThatIsRefusedIsGivenUpInTheEnd(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 1)
		w.fails("bob", 1)
		w.db.set(func(d *database) { d.refused = "bob" })
		w.comes()
		if n := w.db.row("alice").FailedLoginAttempts; n != 1 {
			t.Errorf("alice has %d failures", n)
		}
		if w.Active() || strings.Contains(w.log.String(), "level=ERROR") {
			t.Error("the outage goes on for its sake, or it was given up at once")
		}
		w.passes(2 * time.Minute)
		if !strings.Contains(w.log.String(), "level=ERROR") {
			t.Error("it is not given up, or not told of")
		}
	})
}

func TestWithoutFallbackNothingIsDecided(t *testing.T) {
	inWorld(t, false, func(o *Options) { o.NoFallback = true }, func(w *world) {
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

func TestWhatHappenedIsMergedBeforeTheDatabaseDecides(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.fails("alice", 1)
		w.goes()
		w.fails("alice", 2)
		w.fails("bob", 5)
		w.charge("mallory")
		w.comes()
		if n := w.db.row("alice").FailedLoginAttempts; n != 3 {
			t.Errorf("alice has %d failures, want 3", n)
		}
		if w.db.row("bob").LockedUntil == nil {
			t.Error("bob is not locked")
		}
		var outcomes []string
		for _, a := range w.db.attempts() {
			outcomes = append(outcomes, fmt.Sprint(a.Username, " ", a.Outcome))
		}
		slices.Sort(outcomes)
		want := append(slices.Repeat([]string{"alias unknown"}, 1), "alice failed", "alice failed")
		want = append(want, slices.Repeat([]string{"bob failed"}, 5)...)
		if !slices.Equal(outcomes, want) {
			t.Errorf("on record are %v, want %v", outcomes, want)
		}
		if charged := w.charge("alice"); charged.FromMemory {
			t.Error("it is still decided from memory")
		}
		if !slices.Equal(w.announce, []bool{true, false}) || strings.Count(w.log.String(), "level=WARN") != 1 {
			t.Errorf("announced was %v, and logged:\n%s", w.announce, w.log)
		}
	})
}

// The failures before a success, or under a lock that is over, are void; those after it are not.
func TestOnlyFailuresThatStillCountAreMerged(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 3)
		w.settle(w.charge("alice"), true)
		w.fails("alice", 1)
		w.fails("bob", 5)
		w.passes(limits.Duration)
		w.fails("bob", 2)
		w.comes()
		if a, b := w.db.row("alice"), w.db.row("bob"); a.FailedLoginAttempts != 1 || b.FailedLoginAttempts != 2 || b.LockedUntil != nil {
			t.Errorf("alice %+v, bob %+v", a, b)
		}
	})
}

func TestALockThatIsOverIsNotMerged(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("bob", 5)
		w.passes(limits.Duration)
		w.comes()
		if b := w.db.row("bob"); b.FailedLoginAttempts != 0 || b.LockedUntil != nil {
			t.Errorf("bob %+v", b)
		}
	})
}

func TestAFailedMergeIsRetriedBeforeTheDatabaseDecides(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 1)
		w.db.set(func(d *database) { d.refuse = &store.UnavailableError{Sentence: "not now"} })
		w.comes()
		if charged := w.charge("alice"); !charged.FromMemory {
			t.Error("the database decided")
		} else {
			w.settle(charged, false)
		}
		w.db.mu.Lock()
		w.db.refuse = nil
		w.db.mu.Unlock()
		w.passes(time.Second)
		if n := w.db.row("alice").FailedLoginAttempts; n != 2 || w.Active() {
			t.Errorf("%d failures, want 2", n)
		}
		if n := len(w.db.attempts()); n != 2 {
			t.Errorf("%d attempts on record, want 2", n)
		}
		if n := strings.Count(w.log.String(), "Cannot merge the fallback logins"); n != 1 {
			t.Errorf("it was told %d times", n)
		}
	})
}

func TestAnOutageEndsOnlyWhenWhatWasChargedIsSettled(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		w.db.away.Store(false)
		w.passes(time.Second)
		if len(w.db.merges) != 0 {
			t.Error("it was merged in the middle of an attempt")
		}
		if !w.settle(charged, true) {
			t.Error("the success does not stand")
		}
		w.passes(time.Second)
		if w.Active() || w.db.row("alice").FailedLoginAttempts != 0 {
			t.Error("it did not end well")
		}
		if w.settle(charged, true) {
			t.Error("it can be settled a second time")
		}
	})
}

func TestAnAttemptThatIsNeverSettledDoesNotHoldUpTheEnd(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		w.db.away.Store(false)
		w.passes(store.PendingTime + time.Second)
		if w.Active() || w.db.row("alice").FailedLoginAttempts != 1 {
			t.Error("it is not merged as a failure")
		}
		if w.settle(charged, true) {
			t.Error("a success stands that was merged as a failure")
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

func TestManyAccountsAreMergedInParts(t *testing.T) {
	inWorld(t, false, func(o *Options) { o.MaxAccounts = 10_000 }, func(w *world) {
		const users = 3*partSize + 1
		for i := range users {
			w.db.Edit(fmt.Sprint("user-", i), func(*user.Row) *user.Row { return &user.Row{Active: true} })
		}
		w.passes(time.Second)
		w.goes()
		for i := range users {
			w.fails(fmt.Sprint("user-", i), 1)
		}
		w.comes()
		for i := range users {
			if n := w.db.row(fmt.Sprint("user-", i)).FailedLoginAttempts; n != 1 {
				t.Fatalf("user-%d has %d failures", i, n)
			}
		}
		for _, o := range w.db.merges {
			if len(o.Accounts) > partSize || len(o.Attempts) > partSize {
				t.Errorf("a part has %d accounts and %d attempts", len(o.Accounts), len(o.Attempts))
			}
		}
	})
}

func TestAReplicaThatCountsAloneLocksEarlier(t *testing.T) {
	inWorld(t, false, func(o *Options) { o.Attempts = 2 }, func(w *world) {
		w.fails("alice", 1)
		w.goes()
		w.fails("alice", 2)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after two failures of the outage: %s", got)
		}
		w.settle(w.charge("bob"), false)
		if got := w.charge("bob").Verdict; got != store.Check {
			t.Errorf("after one: %s", got)
		}
	})
	inWorld(t, false, func(o *Options) { o.Attempts = 1 }, func(w *world) {
		w.fails("alice", 5)
		w.passes(limits.Duration) // it leaves a clean counter
		w.goes()
		w.fails("alice", 1)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after one failure of the outage: %s", got)
		}
	})
}

func TestReplicasTellEachOtherOfLocks(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		until := time.Now().Add(10 * time.Minute)
		w.cluster.change(func(c *cluster) { c.locks = map[string]time.Time{"alice": until} })
		pending := w.charge("bob")
		w.fails("bob", 3)
		last := w.charge("bob")
		w.passes(2 * time.Second)
		if len(w.cluster.published) != 0 {
			t.Error("a lock that is pending was published")
		}
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("who is locked elsewhere: %s", got)
		}
		w.settle(pending, false)
		w.settle(last, false)
		w.passes(2 * time.Second)
		if got := w.cluster.published; len(got) != 1 || got["bob"].IsZero() {
			t.Errorf("published is %v", got)
		}
		w.comes()
		if w.db.row("alice").LockedUntil == nil {
			t.Error("a lock of another replica, which may not live to merge it, was not merged")
		}
	})
}

func TestALockThatCannotBePublishedIsTriedAgain(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.cluster.change(func(c *cluster) { c.refuse = errors.New("the API server is away") })
		w.fails("bob", 5)
		w.passes(2 * time.Second)
		w.cluster.change(func(c *cluster) { clear(c.published); c.refuse = nil })
		w.passes(2 * time.Second)
		if len(w.cluster.published) != 1 {
			t.Error("it was not")
		}
	})
}

func TestWithoutADatabaseSinceTheStartTheClusterDecides(t *testing.T) {
	declared := func(hash string) user.Observed {
		return user.Observed{Row: &user.Row{PasswordHash: hash, Active: true}}
	}
	inWorld(t, true, nil, func(w *world) {
		if w.charge("alice").Verdict != store.Unknown {
			t.Error("an account that nobody declared works")
		}
		locked := declared("print of dave")
		locked.Now, locked.Row.LockedUntil = time.Now(), new(time.Now().Add(time.Hour))
		w.cluster.change(func(c *cluster) {
			c.accounts = map[string]user.Observed{"carol": declared("print of carol"), "dave": locked}
		})
		w.passes(3 * time.Second)
		w.fails("carol", 1)
		if got := w.charge("carol"); got.PasswordHash != "print of carol" {
			t.Errorf("carol: %+v", got)
		} else {
			w.settle(got, false)
		}
		if got := w.charge("dave").Verdict; got != store.Locked {
			t.Errorf("who is locked by the status: %s", got)
		}

		w.cluster.change(func(c *cluster) { c.accounts = map[string]user.Observed{"carol": declared("another print")} })
		w.passes(3 * time.Second)
		if got := w.charge("carol"); got.PasswordHash != "another print" || got.Failed != 3 {
			t.Errorf("after the Secret changed: %+v", got)
		} else {
			w.settle(got, false)
		}
		if got := w.charge("dave").Verdict; got != store.Unknown {
			t.Errorf("whose resource went: %s", got)
		}

		w.db.Edit("carol", func(*user.Row) *user.Row { return &user.Row{PasswordHash: "hash of carol", Active: true} })
		w.comes()
		if n := w.db.row("carol").FailedLoginAttempts; n != 3 || w.Active() {
			t.Errorf("%d failures were merged, want 3", n)
		}
		if got := w.observe("alice"); got.PasswordHash != "hash of alice" {
			t.Errorf("alice, once the database is there: %+v", got)
		}
	})
}

// What the table says goes before what the resources say.
func TestTheClusterIsNotAskedForAccountsThatTheTableHasNot(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.cluster.change(func(c *cluster) {
			c.accounts = map[string]user.Observed{"carol": {Row: &user.Row{Active: true}}}
		})
		w.goes()
		if got := w.charge("carol").Verdict; got != store.Unknown {
			t.Errorf("got %s", got)
		}
	})
}

func TestNothingIsDecidedBeforeDatabaseOrClusterAnswered(t *testing.T) {
	inWorld(t, true, func(o *Options) { o.Cluster.(*cluster).refuse = errors.New("away") }, func(w *world) {
		if _, err := w.Charge(w.t.Context(), store.Attempt{Username: "alice"}, limits); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

// Ours is an hour behind, and where there was no database since the start nobody knew.
func TestTimesOfAnOutageAreMergedByTheDatabasesClock(t *testing.T) {
	inWorld(t, true, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, func(w *world) {
		told := time.Now().Add(10 * time.Minute) // by a status
		w.cluster.change(func(c *cluster) {
			c.accounts = map[string]user.Observed{"alice": {Row: &user.Row{Active: true}}, "bob": {Row: &user.Row{Active: true}}}
			c.locks = map[string]time.Time{"bob": told}
		})
		w.passes(3 * time.Second)
		w.settle(w.charge("alice"), true)
		w.fails("alice", 5)
		begun := time.Now()
		w.passes(3 * time.Second) // a status is told of it
		w.comes()
		a, b := w.db.row("alice").LockedUntil, w.db.row("bob").LockedUntil
		if a == nil || a.Sub(begun) > limits.Duration || a.Sub(begun) < limits.Duration-time.Second {
			t.Errorf("alice is locked until %v", a)
		}
		if b == nil || !b.Equal(told) {
			t.Errorf("bob is locked until %v, want %v", b, told)
		}
		for _, attempt := range w.db.attempts() {
			if off := begun.Sub(attempt.Time); off < 0 || off > time.Second {
				t.Errorf("an attempt is on record %v before it was made", off)
			}
		}
	})
}
