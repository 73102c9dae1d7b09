// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"maps"
	"math"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Merge merges what happened while the fallback decided. The only error is that of the context.
func (s *Store) Merge(ctx context.Context, batch store.OfflineBatch, limits store.Limits) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if _, merged := s.merges[batch.ID]; merged {
		return nil
	}
	maps.DeleteFunc(s.merges, func(_ string, at time.Time) bool { return at.Before(now.AddDate(0, 0, -1)) })
	s.merges[batch.ID] = now
	for _, activity := range batch.Accounts {
		if row, exists := s.rows[activity.Username]; exists {
			row = copied(row)
			merge(&row, activity, s.limitsOf(activity.Username, limits), now)
			s.rows[activity.Username] = row
			s.notify(activity.Username)
		}
	}
	for _, r := range batch.Attempts {
		s.record(attempt{Record: r.Clean()})
	}
	return nil
}

// merge adds the activity to a row. An expired lock leaves a clean counter, in the row and in the activity.
func merge(row *user.Row, activity store.OfflineActivity, limits store.Limits, now time.Time) {
	if activity.LockedUntil != nil && !activity.LockedUntil.After(now) {
		activity.Failures, activity.LockedUntil = 0, nil
	}
	if activity.Failures > 0 {
		clean(row, now)
		row.FailedLoginAttempts = min(max(0, row.FailedLoginAttempts)+activity.Failures, math.MaxInt32)
	}
	row.LockedUntil = latest(row.LockedUntil, activity.LockedUntil)
	if activity.Failures > 0 && row.LockedUntil == nil && row.FailedLoginAttempts >= limits.Attempts && !limits.Exempt {
		row.LockedUntil = new(now.Add(limits.Duration))
	}
	row.LastLogin = latest(row.LastLogin, activity.LastLogin)
}

// Raise makes an account's counter and lock at least these, where it has a row. A lock that expired leaves a clean counter.
func (s *Store) Raise(username string, failed int, lock *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, exists := s.rows[username]
	if !exists {
		return
	}
	row = copied(row)
	clean(&row, s.now())
	row.FailedLoginAttempts = max(row.FailedLoginAttempts, failed)
	row.LockedUntil = latest(row.LockedUntil, lock)
	s.rows[username] = row
	s.notify(username)
}

// clean takes a lock that expired from a row, and the counter that led to it.
func clean(row *user.Row, now time.Time) {
	if row.LockedUntil != nil && !row.LockedUntil.After(now) {
		row.FailedLoginAttempts, row.LockedUntil = 0, nil
	}
}

// latest is the later of two times; nil is before all.
func latest(a, b *time.Time) *time.Time {
	if a == nil || (b != nil && b.After(*a)) {
		return copyOf(b)
	}
	return a
}
