// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestAccountsAreLookedUpInTheCopy(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		for range 100 {
			if got := w.observe("alice"); got.PasswordHash != "hash of alice" {
				t.Fatalf("%+v", got)
			}
		}
		if n := w.db.looks.Load(); n != 0 {
			t.Errorf("the database was asked %d times", n)
		}
	})
}

func TestWhatAnotherProgramChangesIsSeenAtTheNotification(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.Edit("alice", func(r *user.Row) *user.Row { r.Active = false; return r })
		w.db.Edit("bob", func(*user.Row) *user.Row { return nil })
		w.passes(0)
		if w.observe("alice").Active || w.observe("bob").PasswordHash != "" {
			t.Error("the copy is as it was")
		}
		if n := w.db.looks.Load(); n != 1 { // for bob, who is not in the copy any more
			t.Errorf("the database was asked %d times", n)
		}
	})
}

func TestWithoutNotificationsTheDatabaseIsAsked(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.db.deaf.Store(true)
		w.observe("alice")
		if n := w.db.looks.Load(); n != 1 {
			t.Errorf("the database was asked %d times, want once", n)
		}
	})
}

// Marks are made here, and read by nobody: the notification does not come, and neither does the reader.
func TestWhatThisProcessChangesIsSeenAtOnce(t *testing.T) {
	change := map[string]func(w *world){
		"an account": func(w *world) {
			w.db.Edit("alice", func(r *user.Row) *user.Row { r.Active = false; return r })
			if _, err := w.ForReconciler(w.db).Apply(w.t.Context(), user.Change{Username: "alice", Verb: user.Nothing}); err != nil {
				w.t.Error(err)
			}
		},
		"a lock": func(w *world) { w.fails("alice", 5) },
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			inWorld(t, false, nil, func(w *world) {
				change(w)
				got := w.observe("alice")
				if got.Active && got.LockedUntil == nil {
					t.Error("not seen")
				}
				if n := w.db.looks.Load(); n != 1 {
					t.Errorf("the database was asked %d times, want once", n)
				}
			})
		})
	}
}

func TestTheCopyIsBoundedAndTheRestLookedUp(t *testing.T) {
	inWorld(t, false, func(o *Options) { o.MaxAccounts = 10 }, func(w *world) {
		for i := range 50 {
			w.db.Edit(fmt.Sprint("user-", i), func(*user.Row) *user.Row { return &user.Row{Active: true} })
		}
		w.passes(time.Second)
		for i := range 50 {
			if !w.observe(fmt.Sprint("user-", i)).Active {
				t.Errorf("user-%d is unknown", i)
			}
		}
		w.passes(time.Second)
		if n := w.accounts.size(); n != 10 {
			t.Errorf("there are %d copies, want 10", n)
		}
	})
}

func TestATableLargerThanTheCopyMarksNoMoreThanTheCopyHolds(t *testing.T) {
	a := newAccounts(10, time.Now)
	read := func(_ context.Context, usernames []string) (map[string]user.Observed, error) {
		observed := map[string]user.Observed{}
		for _, username := range usernames {
			observed[username] = user.Observed{Row: &user.Row{}}
		}
		return observed, nil
	}
	page := func(from, n int) (usernames []string) {
		for i := range n {
			usernames = append(usernames, fmt.Sprint("user-", from+i))
		}
		return usernames
	}
	expect := func(what string, want int) {
		t.Helper()
		if n := len(a.stale); n != want {
			t.Errorf("%s: %d names are marked, want %d", what, n, want)
		}
		if err := a.refresh(t.Context(), read, func(map[string]user.Observed) {}); err != nil {
			t.Fatal(err)
		}
	}
	a.watched(page(0, 5000))
	a.watched(page(5000, 5000))
	a.watched(nil)
	expect("at first", 10)
	if !a.complete() {
		t.Error("it is not complete")
	}
	a.watched(page(0, 5000))
	expect("by a later sweep", 10)
	a.watched(page(7, 5))
	expect("by notifications", 5)
	if n := a.size(); n != 10 {
		t.Errorf("there are %d copies, want 10", n)
	}
}

func TestNamesThatNobodyHasTakeNoRoom(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		for i := range 1000 {
			w.observe(fmt.Sprint("nobody-", i))
		}
		w.passes(time.Second)
		if n := w.accounts.size(); n != 2 || len(w.accounts.stale) != 0 {
			t.Errorf("there are %d copies and %d stale ones, want 2 and none", n, len(w.accounts.stale))
		}
	})
}

// What is read while it changes again must not be taken for the last word.
func TestACopyThatWasMarkedWhileItWasReadStaysStale(t *testing.T) {
	a := newAccounts(10, time.Now)
	a.filled = true
	a.changed("alice")
	marked := map[string]uint64{"alice": a.stale["alice"]}
	a.changed("alice")
	a.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, marked)
	if _, ok := a.get("alice"); ok {
		t.Error("it is taken for the truth")
	}
	a.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, map[string]uint64{"alice": a.stale["alice"]})
	if _, ok := a.get("alice"); !ok {
		t.Error("it is never taken for the truth")
	}
}

// The database may become unavailable before the account is read again, and the fallback then counts from the cached row.
func TestAnOlderReadDoesNotReplaceALaterAttempt(t *testing.T) {
	a := newAccounts(10, time.Now)
	a.filled = true
	a.changed("alice")
	a.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, a.stale)
	a.changed("alice")
	marked := maps.Clone(a.stale)
	a.charged(store.Charged{Username: "alice", Verdict: store.Check, Failed: 3})
	a.put(map[string]user.Observed{"alice": {Row: &user.Row{FailedLoginAttempts: 2}}}, marked)
	if n := a.all()["alice"].Row.FailedLoginAttempts; n != 3 {
		t.Errorf("the cached row has %d failed attempts, want 3", n)
	}
}

func TestTimesAreThoseOfTheDatabasesClock(t *testing.T) {
	a := newAccounts(10, time.Now)
	a.changed("alice")
	ahead := time.Now().Add(time.Hour)
	a.put(map[string]user.Observed{"alice": {Now: ahead, Row: &user.Row{LockedUntil: new(ahead.Add(time.Minute))}}}, a.stale)
	a.filled = true
	o, ok := a.get("alice")
	if left := o.LockLeft(); !ok || left > time.Minute || left < 50*time.Second {
		t.Errorf("what is left of the lock is %v, want a minute", left)
	}
}

func TestTheCopyCountsThisProcesssOwnLogIns(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.accounts.charged(store.Charged{Username: "alice", Verdict: store.Check, Failed: 3})
		if n := w.observe("alice").FailedLoginAttempts; n != 3 {
			t.Errorf("%d failures, want 3", n)
		}
		w.accounts.succeeded(store.Charged{Username: "alice"})
		if n := w.observe("alice").FailedLoginAttempts; n != 0 {
			t.Errorf("%d failures after a success", n)
		}
	})
}
