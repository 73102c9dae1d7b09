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
func (s *Store) Merge(ctx context.Context, outage store.OfflineBatch, limits store.Limits) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if _, merged := s.merges[outage.ID]; merged {
		return nil
	}
	maps.DeleteFunc(s.merges, func(_ string, at time.Time) bool { return at.Before(now.AddDate(0, 0, -1)) })
	s.merges[outage.ID] = now
	for _, missed := range outage.Accounts {
		if row, exists := s.rows[missed.Username]; exists {
			row = copied(row)
			merge(&row, missed, s.limitsOf(missed.Username, limits), now)
			s.rows[missed.Username] = row
			s.tell(missed.Username)
		}
	}
	for _, r := range outage.Attempts {
		s.record(attempt{Record: r.Clean()})
	}
	return nil
}

// merge adds what was missed to a row. A lock that expired leaves a clean counter, here as there.
func merge(row *user.Row, missed store.OfflineActivity, limits store.Limits, now time.Time) {
	if missed.LockedUntil != nil && !missed.LockedUntil.After(now) {
		missed.Failures, missed.LockedUntil = 0, nil
	}
	if missed.Failures > 0 {
		clean(row, now)
		row.FailedLoginAttempts = min(max(0, row.FailedLoginAttempts)+missed.Failures, math.MaxInt32)
	}
	row.LockedUntil = latest(row.LockedUntil, missed.LockedUntil)
	if missed.Failures > 0 && row.LockedUntil == nil && row.FailedLoginAttempts >= limits.Attempts && !limits.Exempt {
		row.LockedUntil = new(now.Add(limits.Duration))
	}
	row.LastLogin = latest(row.LastLogin, missed.LastLogin)
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
	s.tell(username)
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
