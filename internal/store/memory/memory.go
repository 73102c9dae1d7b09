// SPDX-License-Identifier: Apache-2.0

// Package memory keeps the promises of package store in memory: for a manager without a database, and for tests.
// Nothing outlives the process; the resources rebuild it.
package memory

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Store is a store in memory. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	mu        sync.Mutex
	revision  int64 // of the latest ownership record, so that each is unique
	rows      map[string]user.Row
	ownership map[string]user.Ownership
	merges    map[string]time.Time // when each batch was merged
	watchers  map[*watcher]struct{}
	replaced  map[string]replacement // by username, those of late
	familiar  map[string]familiar    // by username

	attempts    []attempt // the last ones, in the order of their IDs
	lastAttempt int64     // the ID of the latest one ever

	changes    []store.AccountChange // the last ones, in the order of their IDs
	lastChange int64                 // the ID of the latest one ever
	changed    func(store.AccountChange)
}

// New returns an empty store whose clock is now.
func New(now func() time.Time) *Store {
	return &Store{
		now:       now,
		rows:      map[string]user.Row{},
		ownership: map[string]user.Ownership{},
		merges:    map[string]time.Time{},
		watchers:  map[*watcher]struct{}{},
		replaced:  map[string]replacement{},
		familiar:  map[string]familiar{},
		changed:   func(store.AccountChange) {},
	}
}

// OnChange has a function called for each recorded change. It is called before the store is used, and the function does not call
// the store.
func (s *Store) OnChange(changed func(store.AccountChange)) { s.changed = changed }

// Observe reads what there is of a username. The only error is the context's.
func (s *Store) Observe(ctx context.Context, username string) (user.Observed, error) {
	observed, err := s.Snapshot(ctx, []string{username})
	return observed[username], err
}

// Snapshot is Observe for many usernames in one moment. It has an entry for each. The only error is the context's.
func (s *Store) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	list := make(map[string]user.Observed, len(usernames))
	for _, username := range usernames {
		list[username] = s.observe(username, now)
	}
	return list, nil
}

// observe is called with the lock held.
func (s *Store) observe(username string, now time.Time) user.Observed {
	observed := user.Observed{Now: now}
	if row, ok := s.rows[username]; ok {
		row = copied(row)
		row.LockPendingUntil = s.pendingUntil(username, row.LockedUntil, now)
		row.FamiliarLockedUntil = s.familiarLock(username)
		observed.Row = &row
	}
	if record, ok := s.ownership[username]; ok {
		record.PasswordChangedAt = copyOf(record.PasswordChangedAt)
		record.ValidUntil, record.SignedOutAt = copyOf(record.ValidUntil), copyOf(record.SignedOutAt)
		observed.Ownership = &record
	}
	return observed
}

// Apply makes a change and returns the account after it. Its errors are store.ErrConflict, store.ErrLastHolder, and the
// context's.
func (s *Store) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	if err := ctx.Err(); err != nil {
		return user.Observed{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if change.Verb == user.Nothing {
		return s.observe(change.Username, s.now()), nil
	}
	row, exists := s.rows[change.Username]
	record, recorded := s.ownership[change.Username]
	if !holds(change, exists, record, recorded) {
		return user.Observed{}, store.ErrConflict
	}
	if !s.othersHold(change) {
		return user.Observed{}, store.ErrLastHolder
	}

	before := s.rowOf(change.Username)
	s.revision++
	s.ownership[change.Username] = s.recordAfter(change, record)
	s.changeFamiliar(change)
	switch change.Verb {
	case user.Create, user.Adopt, user.Update:
		s.recordReplaced(change, row)
		s.rows[change.Username] = written(change, row)
	case user.Delete:
		delete(s.rows, change.Username)
	case user.Deactivate, user.Suspend:
		if exists {
			row.Active, row.PasswordHash = false, change.HashAfter(row)
			s.rows[change.Username] = row
		}
	case user.Release, user.Bury, user.Nothing:
	}
	s.recordChange(change, before)
	s.notify(change.Username)
	return s.observe(change.Username, s.now()), nil
}

// othersHold reports whether other active users hold the roles that a change endangers.
func (s *Store) othersHold(change user.Change) bool {
	held := func(role string) bool {
		for username, row := range s.rows {
			if username != change.Username && row.Active && slices.Contains(row.Roles, role) {
				return true
			}
		}
		return false
	}
	return !slices.ContainsFunc(change.Endangered, func(role string) bool { return !held(role) })
}

// Edit changes a row as another program does, whatever resource owns it. Edit gets a copy of the row, or nil where there is
// none, and returns the new row, or nil for none.
func (s *Store) Edit(username string, edit func(row *user.Row) *user.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var before *user.Row
	if row, ok := s.rows[username]; ok {
		row = copied(row)
		before = &row
	}
	if after := edit(before); after != nil {
		s.rows[username] = copied(*after)
	} else {
		delete(s.rows, username)
	}
	s.notify(username)
}

// Watch calls changed with the usernames of all rows, once without any, and from then on with those whose row or
// ownership record changed. It returns when ctx ends. A store in memory is never unavailable, so recovered is not called.
func (s *Store) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	_ = recovered
	w := &watcher{pending: map[string]struct{}{}, some: make(chan struct{}, 1)}
	s.mu.Lock()
	s.watchers[w] = struct{}{}
	for username := range s.rows {
		w.add(username)
	}
	w.wake()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}()

	for isFirst := true; ; {
		select {
		case <-ctx.Done():
			return
		case <-w.some:
			s.mu.Lock()
			usernames := slices.Collect(maps.Keys(w.pending))
			clear(w.pending)
			s.mu.Unlock()
			if len(usernames) > 0 {
				changed(usernames)
			}
			if isFirst {
				isFirst = false
				changed(nil) // these were all
			}
		}
	}
}

// notify is called with the lock held.
func (s *Store) notify(username string) {
	for w := range s.watchers {
		w.add(username)
	}
}

// watcher is what one Watch has yet to report. It is guarded by the store's lock.
type watcher struct {
	pending map[string]struct{}
	some    chan struct{} // holds one when pending is not empty
}

func (w *watcher) add(username string) {
	w.pending[username] = struct{}{}
	w.wake()
}

func (w *watcher) wake() {
	select {
	case w.some <- struct{}{}:
	default:
	}
}

func copied(row user.Row) user.Row {
	row.Roles = slices.Clone(row.Roles)
	row.LockedUntil = copyOf(row.LockedUntil)
	row.LastLogin = copyOf(row.LastLogin)
	return row
}

func copyOf(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(*t)
}
