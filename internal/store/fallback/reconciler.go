// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"cmp"
	"context"
	"sync"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Store is the database as the reconciler knows it.
type Store interface {
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
	Watch(ctx context.Context, changed func(usernames []string), recovered func())
	Health() store.Health
}

// Reconciler is the database for who reconciles it, beside a Mirror of it. The copy follows at once what is changed here.
// And an outage is over, for him too, when what happened in it was merged: before that the rows do not know of its locks,
// and he would take them out of the statuses.
type Reconciler struct {
	store  Store
	mirror *Mirror
}

// ForReconciler returns the database, beside its mirror.
func (m *Mirror) ForReconciler(s Store) *Reconciler { return &Reconciler{store: s, mirror: m} }

var errNotMerged = &store.UnavailableError{
	Sentence: "The database is back, but what happened at log-in time while it was away is not merged into it yet.", Unsent: true,
}

// Observe is Snapshot for one username.
func (r *Reconciler) Observe(ctx context.Context, username string) (user.Observed, error) {
	observed, err := r.Snapshot(ctx, []string{username})
	return observed[username], err
}

// Snapshot is the database's, but that it fails in an outage, though a standby may be read.
func (r *Reconciler) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	active := r.mirror.Active() // before the rows are read: what was merged since then may not be in them
	observed, err := r.store.Snapshot(ctx, usernames)
	if err != nil || !active {
		return observed, err
	}
	return nil, r.outage()
}

// outage is why there is one. The two may be one database by two roles, of which only that for log-ins fails.
func (r *Reconciler) outage() error {
	return cmp.Or(r.store.Health().Writing, r.mirror.Primary.Health().Writing, error(errNotMerged))
}

// Health returns that of the database. In an outage each call fails.
func (r *Reconciler) Health() store.Health {
	health := r.store.Health()
	if r.mirror.Active() {
		outage := r.outage()
		health.Reading, health.Writing = outage, outage
	}
	return health
}

// Apply is the database's.
func (r *Reconciler) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	defer r.mirror.Cache.Invalidate(change.Username)
	return r.store.Apply(ctx, change)
}

// Watch is the database's, but that recovered is called when an outage is over.
func (r *Reconciler) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	w := &watcher{over: make(chan struct{}, 1)}
	r.mirror.join(w)
	defer r.mirror.leave(w)

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
	told := func(usernames []string) {
		one.Lock()
		defer one.Unlock()
		changed(usernames)
	}
	r.store.Watch(ctx, told, func() {
		if !r.mirror.Active() {
			w.wake()
		}
	})
}

// watcher waits for the end of outages.
type watcher struct{ over chan struct{} }

func (w *watcher) wake() {
	select {
	case w.over <- struct{}{}:
	default: // it has not yet looked at the last one
	}
}

func (m *Mirror) join(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
}

func (m *Mirror) leave(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, w)
}
