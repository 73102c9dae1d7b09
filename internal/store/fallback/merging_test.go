// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestNewAttemptsWaitForTheEndOfTheMerge(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.fails("alice", 4)
		merging, goOn := make(chan struct{}), make(chan struct{})
		w.db.set(func(d *database) {
			d.merging = func() { close(merging); <-goOn; d.set(func(d *database) { d.merging = nil }) }
		})
		w.db.unavailable.Store(false)
		<-merging
		charged := make(chan store.Charge)
		go func() { charged <- w.charge("alice") }()
		synctest.Wait()
		select {
		case <-charged:
			t.Error("it did not wait")
		default:
		}
		close(goOn)
		if got := <-charged; got.Fallback || got.Failed != 5 || !got.Locks {
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

// Then the cause is not an account.
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

// One rejected account blocks neither the failures of others nor logins by the database.
func TestARejectedAccountIsGivenUpInTheEnd(t *testing.T) {
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
			t.Error("the fallback continues because of it, or it was given up at once")
		}
		w.passes(2 * time.Minute)
		if !strings.Contains(w.log.String(), "level=ERROR") {
			t.Error("it is not given up, or not logged")
		}
	})
}

func TestTheHalvesOfAPartHaveAllOfIt(t *testing.T) {
	accounts := []store.OfflineActivity{{Username: "alice"}, {Username: "bob"}, {Username: "carol"}}
	attempts := []store.Record{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}}
	var gotAccounts []string
	var gotAttempts []int64
	for _, half := range newPart(accounts, attempts).split() {
		for _, activity := range half.Accounts {
			gotAccounts = append(gotAccounts, activity.Username)
		}
		for _, record := range half.Attempts {
			gotAttempts = append(gotAttempts, record.ID)
		}
	}
	if !slices.Equal(gotAccounts, []string{"alice", "bob", "carol"}) || !slices.Equal(gotAttempts, []int64{1, 2, 3, 4}) {
		t.Errorf("the halves have the accounts %v and the attempts %v", gotAccounts, gotAttempts)
	}
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
			t.Errorf("recorded are %v, want %v", outcomes, want)
		}
		if charged := w.charge("alice"); charged.Fallback {
			t.Error("it is still decided by the fallback")
		}
		if !slices.Equal(w.announce, []bool{true, false}) || strings.Count(w.log.String(), "level=WARN") != 1 {
			t.Errorf("announced was %v, and logged:\n%s", w.announce, w.log)
		}
	})
}

// Failures before a success or under an expired lock do not count; those after it do.
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

func TestAnExpiredLockIsNotMerged(t *testing.T) {
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
		if charged := w.charge("alice"); !charged.Fallback {
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
			t.Errorf("%d attempts are recorded, want 2", n)
		}
		if n := strings.Count(w.log.String(), "Cannot merge the fallback logins"); n != 1 {
			t.Errorf("the database was asked %d times", n)
		}
	})
}

func TestTheFallbackEndsWhenAllAttemptsAreSettled(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		w.db.unavailable.Store(false)
		w.passes(time.Second)
		if len(w.db.merges) != 0 {
			t.Error("it was merged in the middle of an attempt")
		}
		if !w.settle(charged, true) {
			t.Error("the success is not accepted")
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

func TestAnAttemptThatIsNeverSettledDoesNotDelayTheEndForLong(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		charged := w.charge("alice")
		w.db.unavailable.Store(false)
		w.passes(store.PendingTime + time.Second)
		if w.Active() || w.db.row("alice").FailedLoginAttempts != 1 {
			t.Error("it is not merged as a failure")
		}
		if w.settle(charged, true) {
			t.Error("a success is accepted that was merged as a failure")
		}
	})
}

func TestManyAccountsAreMergedInParts(t *testing.T) {
	inWorld(t, false, func(_ *Options, c *cache.Options) { c.Size = 10_000 }, func(w *world) {
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

// Our clock is an hour behind, which is unknown until the database has answered.
func TestTimesAreMergedByTheDatabasesClock(t *testing.T) {
	inWorld(t, true, func(_ *Options, c *cache.Options) { c.Now = func() time.Time { return time.Now().Add(-time.Hour) } }, func(w *world) {
		reported := time.Now().Add(10 * time.Minute) // by a status
		w.cluster.change(func(c *cluster) {
			c.accounts = map[string]user.Observed{"alice": {Row: &user.Row{Active: true}}, "bob": {Row: &user.Row{Active: true}}}
			c.locks = map[string]time.Time{"bob": reported}
		})
		w.passes(3 * time.Second)
		w.settle(w.charge("alice"), true)
		w.fails("alice", 5)
		begun := time.Now()
		w.passes(3 * time.Second) // a status reports it
		w.comes()
		a, b := w.db.row("alice").LockedUntil, w.db.row("bob").LockedUntil
		if a == nil || a.Sub(begun) > limits.Duration || a.Sub(begun) < limits.Duration-time.Second {
			t.Errorf("alice is locked until %v", a)
		}
		if b == nil || !b.Equal(reported) {
			t.Errorf("bob is locked until %v, want %v", b, reported)
		}
		for _, attempt := range w.db.attempts() {
			if off := begun.Sub(attempt.Time); off < 0 || off > time.Second {
				t.Errorf("an attempt is recorded %v before it was made", off)
			}
		}
	})
}
