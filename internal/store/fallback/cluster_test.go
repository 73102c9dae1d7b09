// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"errors"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The cluster answers after the database has become available again.
func TestClusterAccountsStartNoFallbackForARecoveredDatabase(t *testing.T) {
	inWorld(t, true, func(o *Options, _ *cache.Options) {
		o.Cluster.(*cluster).asked = func() {
			o.Database.(*database).unavailable.Store(false)
			time.Sleep(2 * time.Second) //nolint:forbidigo // The bubble's clock: nobody waits.
		}
	}, func(w *world) {
		if w.Active() || len(w.announce) != 0 {
			t.Error("the fallback decides")
		}
	})
}

func TestAReplicaThatCountsAloneLocksEarlier(t *testing.T) {
	inWorld(t, false, func(o *Options, _ *cache.Options) { o.Attempts = 2 }, func(w *world) {
		w.fails("alice", 1)
		w.goes()
		w.fails("alice", 2)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after two failures of the fallback: %s", got)
		}
		w.settle(w.charge("bob"), false)
		if got := w.charge("bob").Verdict; got != store.Check {
			t.Errorf("after one: %s", got)
		}
	})
	inWorld(t, false, func(o *Options, _ *cache.Options) { o.Attempts = 1 }, func(w *world) {
		w.fails("alice", 5)
		w.passes(limits.Duration) // it leaves a clean counter
		w.goes()
		w.fails("alice", 1)
		if got := w.charge("alice").Verdict; got != store.Locked {
			t.Errorf("after one failure of the fallback: %s", got)
		}
	})
}

func TestReplicasShareLocks(t *testing.T) {
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

func TestALockThatCannotBePublishedIsRetried(t *testing.T) {
	inWorld(t, false, nil, func(w *world) {
		w.goes()
		w.cluster.change(func(c *cluster) { c.refuse = errors.New("the API server is unavailable") })
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

// An account that the table does not have is unknown, whatever the resources declare.
func TestTheTableTakesPrecedenceOverTheCluster(t *testing.T) {
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

func TestAttemptsFailUntilDatabaseOrClusterAnswered(t *testing.T) {
	inWorld(t, true, func(o *Options, _ *cache.Options) { o.Cluster.(*cluster).refuse = errors.New("unavailable") }, func(w *world) {
		if _, err := w.Charge(w.t.Context(), store.Attempt{Username: "alice"}, limits); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
