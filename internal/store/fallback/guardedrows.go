// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"cmp"
	"context"
	"sync"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Rows is the database as the reconciler uses it. Package store describes the methods.
type Rows interface {
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
	Watch(ctx context.Context, changed func(usernames []string), recovered func())
	Health() store.Health
}

// GuardedRows is the database as the reconciler of a process that also serves logins may use it. A change invalidates the
// account in the cache. The database counts as unavailable until the fallback is merged: before that its rows have none of
// the locks of the fallback, and the reconciler would remove them from the statuses.
type GuardedRows struct {
	rows   Rows
	logins *Store
}

// ForReconciler returns the database as the reconciler may use it.
func (s *Store) ForReconciler(rows Rows) *GuardedRows { return &GuardedRows{rows: rows, logins: s} }

var errNotMerged = &store.UnavailableError{
	Sentence: "The database is available again, but the fallback logins are not merged into it yet.", Unsent: true,
}

// Observe is Snapshot for one username.
func (r *GuardedRows) Observe(ctx context.Context, username string) (user.Observed, error) {
	observed, err := r.Snapshot(ctx, []string{username})
	return observed[username], err
}

// Snapshot is that of the database. It fails while the fallback decides logins, although a standby may be readable.
func (r *GuardedRows) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	active := r.logins.Active() // before the rows are read: what was merged since then may not be in them
	observed, err := r.rows.Snapshot(ctx, usernames)
	if err != nil || !active {
		return observed, err
	}
	return nil, r.cause()
}

// cause returns why the fallback decides logins. With two roles, only that of the logins may be rejected.
func (r *GuardedRows) cause() error {
	return cmp.Or(r.rows.Health().Writing, r.logins.Database.Health().Writing, error(errNotMerged))
}

// Health is that of the database. While the fallback decides logins, every call is expected to fail.
func (r *GuardedRows) Health() store.Health {
	health := r.rows.Health()
	if r.logins.Active() {
		cause := r.cause()
		health.Reading, health.Writing = cause, cause
	}
	return health
}

// Apply is that of the database.
func (r *GuardedRows) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	defer r.logins.Cache.Invalidate(change.Username)
	return r.rows.Apply(ctx, change)
}

// Watch is that of the database, but recovered is called when the fallback has ended.
func (r *GuardedRows) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	w := &watcher{over: make(chan struct{}, 1)}
	r.logins.join(w)
	defer r.logins.leave(w)

	var one sync.Mutex // the two are never called at the same time
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.over:
				one.Lock()
				recovered()
				one.Unlock()
			}
		}
	})
	notify := func(usernames []string) {
		one.Lock()
		defer one.Unlock()
		changed(usernames)
	}
	r.rows.Watch(ctx, notify, func() {
		if !r.logins.Active() {
			w.wake()
		}
	})
}

// watcher waits for the end of the fallback.
type watcher struct{ over chan struct{} }

func (w *watcher) wake() {
	select {
	case w.over <- struct{}{}:
	default: // the last one is not handled yet
	}
}

func (s *Store) join(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = struct{}{}
}

func (s *Store) leave(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}
