// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database counts what it is asked.
type database struct {
	*memory.Store
	deaf, broken atomic.Bool  // notifications do not arrive; reading many accounts fails
	looks        atomic.Int64 // single accounts that were read
}

func (d *database) Health() store.Health {
	return store.Health{Answered: true, Current: !d.deaf.Load()}
}

func (d *database) Observe(ctx context.Context, username string) (user.Observed, error) {
	d.looks.Add(1)
	return d.Store.Observe(ctx, username)
}

func (d *database) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	if d.broken.Load() {
		return nil, errors.New("broken")
	}
	return d.Store.Snapshot(ctx, usernames)
}

// world is a Cache that runs over a database with the rows alice and bob, in a time of its own.
type world struct {
	*Cache
	t  *testing.T
	db *database
}

func inWorld(t *testing.T, size int, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, db: &database{Store: memory.New(time.Now)}}
		for _, username := range []string{"alice", "bob"} {
			w.db.Edit(username, func(*user.Row) *user.Row { return &user.Row{PasswordHash: "hash of " + username, Active: true} })
		}
		var err error
		w.Cache, err = New(Options{Database: w.db, Size: size, Registry: prometheus.NewRegistry(), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		w.passes(5 * time.Second)
		story(w)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// passes lets time pass, and what is due be done.
func (w *world) passes(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // The bubble's clock: nobody waits.
	synctest.Wait()
}

// row is the row as a gateway's requests find it; the zero one where there is none.
func (w *world) row(username string) user.Row {
	w.t.Helper()
	o, err := w.Observe(w.t.Context(), username)
	if err != nil {
		w.t.Fatalf("observe %s: %v", username, err)
	}
	if o.Row == nil {
		return user.Row{}
	}
	return *o.Row
}

// unstarted is a cache that reads nothing by itself.
func unstarted() *Cache {
	return newCache(Options{Database: &database{Store: memory.New(time.Now)}, Size: 10, Now: time.Now})
}

func TestAccountsAreReadFromTheCache(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		for range 100 {
			if got := w.row("alice"); got.PasswordHash != "hash of alice" {
				t.Fatalf("%+v", got)
			}
		}
		if n := w.db.looks.Load(); n != 0 {
			t.Errorf("the database was asked %d times", n)
		}
	})
}

func TestTheCacheHoldsNoDigestOfAPassword(t *testing.T) {
	c := unstarted()
	own := &user.Ownership{PasswordHash: "hash", PasswordDigest: "digest"}
	c.put(map[string]user.Observed{"alice": {Ownership: own}}, nil)
	held, ok := c.accounts.Get("alice")
	if !ok || held.Ownership.PasswordDigest != "" || held.Ownership.PasswordHash != "hash" {
		t.Errorf("the cache holds %+v", held.Ownership)
	}
	if own.PasswordDigest != "digest" {
		t.Error("another reader's account was changed")
	}
}

func TestAChangeOfAnotherProgramIsSeenAtTheNotification(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		w.db.Edit("alice", func(r *user.Row) *user.Row { r.Active = false; return r })
		w.db.Edit("bob", func(*user.Row) *user.Row { return nil })
		w.passes(0)
		if w.row("alice").Active || w.row("bob").PasswordHash != "" {
			t.Error("the cache has the former rows")
		}
		if n := w.db.looks.Load(); n != 1 { // for bob, who is no longer in the cache
			t.Errorf("the database was asked %d times", n)
		}
	})
}

func TestWithoutNotificationsTheDatabaseIsAsked(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		w.db.deaf.Store(true)
		w.row("alice")
		if n := w.db.looks.Load(); n != 1 {
			t.Errorf("the database was asked %d times, want once", n)
		}
	})
}

func TestAnInvalidatedAccountIsReadFromTheDatabase(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		w.db.broken.Store(true) // nothing else is read
		w.Invalidate("alice")
		w.row("alice")
		if n := w.db.looks.Load(); n != 1 {
			t.Errorf("the database was asked %d times, want once", n)
		}
	})
}

func TestRefreshedWaitsForStaleAccounts(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		isRefreshed := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		w.db.broken.Store(true)
		w.Invalidate("alice")
		refreshed := w.Refreshed()
		w.passes(10 * time.Second)
		if isRefreshed(refreshed) {
			t.Error("it is closed, and nothing was read")
		}
		w.db.broken.Store(false)
		w.passes(2 * retryEvery)
		if !isRefreshed(refreshed) {
			t.Error("it is not closed, and all was read")
		}
	})
}

func TestWhatIsReadIsReported(t *testing.T) {
	c := unstarted()
	var learned map[string]user.Observed
	c.Follow(func(accounts map[string]user.Observed) { learned = accounts })
	c.Invalidate("alice")
	if err := c.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := learned["alice"]; !ok || len(learned) != 1 {
		t.Errorf("learned %v, want alice", learned)
	}
}

func TestTheCacheIsBoundedAndTheRestIsReadFromTheDatabase(t *testing.T) {
	inWorld(t, 10, func(w *world) {
		for i := range 50 {
			w.db.Edit(fmt.Sprint("user-", i), func(*user.Row) *user.Row { return &user.Row{Active: true} })
		}
		w.passes(time.Second)
		for i := range 50 {
			if !w.row(fmt.Sprint("user-", i)).Active {
				t.Errorf("user-%d is unknown", i)
			}
		}
		w.passes(time.Second)
		if n := w.accounts.Len(); n != 10 {
			t.Errorf("there are %d accounts, want 10", n)
		}
	})
}

func TestATableLargerThanTheCacheMarksNoMoreThanTheCacheHolds(t *testing.T) {
	c := unstarted()
	memory, ok := c.database.(*database)
	if !ok {
		t.Fatal("the database is another one")
	}
	page := func(from, n int) (usernames []string) {
		for i := range n {
			username := fmt.Sprint("user-", from+i)
			memory.Edit(username, func(*user.Row) *user.Row { return &user.Row{} })
			usernames = append(usernames, username)
		}
		return usernames
	}
	expect := func(what string, want int) {
		t.Helper()
		if n := len(c.stale); n != want {
			t.Errorf("%s: %d names are marked, want %d", what, n, want)
		}
		if err := c.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.watched(page(0, 5000))
	c.watched(page(5000, 5000))
	c.watched(nil)
	expect("at first", 10)
	if !c.Complete() {
		t.Error("it is not complete")
	}
	c.watched(page(0, 5000))
	expect("by a later sweep", 10)
	c.watched(page(7, 5))
	expect("by notifications", 5)
	if n := c.accounts.Len(); n != 10 {
		t.Errorf("there are %d accounts, want 10", n)
	}
}

func TestUnknownUsernamesTakeNoRoom(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		for i := range 1000 {
			w.row(fmt.Sprint("nobody-", i))
		}
		w.passes(time.Second)
		if n := w.accounts.Len(); n != 2 || len(w.stale) != 0 {
			t.Errorf("there are %d accounts and %d stale ones, want 2 and none", n, len(w.stale))
		}
	})
}

// An account may change again while it is read.
func TestAnAccountThatWasMarkedWhileItWasReadStaysStale(t *testing.T) {
	c := unstarted()
	c.filled = true
	c.Invalidate("alice")
	marked := map[string]uint64{"alice": c.stale["alice"]}
	c.Invalidate("alice")
	c.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, marked)
	if _, ok := c.get("alice"); ok {
		t.Error("the first read counts")
	}
	c.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, map[string]uint64{"alice": c.stale["alice"]})
	if _, ok := c.get("alice"); !ok {
		t.Error("the second read does not count")
	}
}

// The database may become unavailable before the account is read again, and the fallback then counts from the cached row.
func TestAnOlderReadDoesNotReplaceALaterAttempt(t *testing.T) {
	c := unstarted()
	c.filled = true
	c.Invalidate("alice")
	c.put(map[string]user.Observed{"alice": {Row: &user.Row{}}}, c.stale)
	c.Invalidate("alice")
	marked := maps.Clone(c.stale)
	c.Charged(store.Charge{Username: "alice", Verdict: store.Check, Failed: 3})
	c.put(map[string]user.Observed{"alice": {Row: &user.Row{FailedLoginAttempts: 2}}}, marked)
	if n := c.All()["alice"].Row.FailedLoginAttempts; n != 3 {
		t.Errorf("the cached row has %d failed attempts, want 3", n)
	}
}

func TestTimesAreThoseOfTheDatabasesClock(t *testing.T) {
	c := unstarted()
	c.Invalidate("alice")
	ahead := time.Now().Add(time.Hour)
	c.put(map[string]user.Observed{"alice": {Now: ahead, Row: &user.Row{LockedUntil: new(ahead.Add(time.Minute))}}}, c.stale)
	c.filled = true
	o, ok := c.get("alice")
	if left := o.LockLeft(); !ok || left > time.Minute || left < 50*time.Second {
		t.Errorf("%v of the lock is left, want a minute", left)
	}
}

func TestTheCacheCountsTheLoginsOfThisProcess(t *testing.T) {
	inWorld(t, 100, func(w *world) {
		w.Charged(store.Charge{Username: "alice", Verdict: store.Check, Failed: 3})
		if n := w.row("alice").FailedLoginAttempts; n != 3 {
			t.Errorf("%d failures, want 3", n)
		}
		w.Succeeded(store.Charge{Username: "alice"})
		if n := w.row("alice").FailedLoginAttempts; n != 0 {
			t.Errorf("%d failures after a success", n)
		}
	})
}

func TestTheCacheIsCompleteOnceAllRowsWereRead(t *testing.T) {
	c := unstarted()
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"one account", func() { c.Invalidate("alice") }, false},
		{"a page, which others may follow", func() { c.watched([]string{"alice", "bob"}) }, false},
		{"the end of the rows", func() { c.watched(nil) }, true},
	} {
		step.do()
		if err := c.refresh(t.Context()); err != nil || c.Complete() != step.want {
			t.Errorf("%s: %v, and complete is %t", step.name, err, c.Complete())
		}
	}
}
