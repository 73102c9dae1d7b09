// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// mostAttempts is how many attempts are kept: an attacker must not fill the memory.
const mostAttempts = 8192

// attempt is one row of the audit trail.
type attempt struct {
	store.Record
	account     string     // the username as it is, where there was such an account
	lockedUntil *time.Time // the lock that it wrote
	familiar    bool       // it was charged to the familiar budget
}

// wrote reports whether the attempt wrote this lock.
func (a *attempt) wrote(lock *time.Time) bool {
	return lock != nil && a.lockedUntil != nil && a.lockedUntil.Equal(*lock)
}

// Charge charges an attempt, or rejects it. The only error is that of the context.
func (s *Store) Charge(ctx context.Context, a store.Attempt, limits store.Limits) (store.Charge, error) {
	if err := ctx.Err(); err != nil {
		return store.Charge{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	row, exists := s.rows[a.Username]
	own, isFamiliar := s.familiarTo(a, limits, now)
	if isFamiliar {
		row.FailedLoginAttempts, row.LockedUntil = own.failed, own.lockedUntil
	}
	charged := store.Charge{Username: a.Username, Verdict: s.verdict(a.Username, row, exists, now)}
	entry := attempt{Record: a.Record(exists)}
	entry.Time, entry.Outcome = now, charged.Verdict.Outcome()
	if exists {
		entry.account = a.Username
	}
	if charged.Verdict == store.Check {
		row = copied(row)
		charged.PasswordHash, charged.Roles = row.PasswordHash, slices.Clone(row.Roles)
		if record, recorded := s.ownership[a.Username]; recorded {
			charged.SignedOutAt = copyOf(user.Observed{Ownership: &record}.SignedOutAt())
		}
		if !limits.CommonOnly && s.splits(a.Username) {
			charged.Network = a.Network()
		}
		limits = s.limitsOf(a.Username, limits)
		charged.Exempt, charged.Familiar, entry.familiar = limits.Exempt, isFamiliar, isFamiliar
		entry.lockedUntil = charge(&row, limits, now, func() int { return s.locksBefore(a.Username, isFamiliar, now) })
		charged.Failed = row.FailedLoginAttempts
		if entry.lockedUntil != nil {
			charged.Locks, charged.Until = true, *entry.lockedUntil
		}
		if isFamiliar {
			own.failed, own.lockedUntil = row.FailedLoginAttempts, row.LockedUntil
			s.familiar[a.Username] = own
		} else {
			s.rows[a.Username] = row
		}
		s.notify(a.Username)
	}
	charged.ID = s.record(entry)
	return charged, nil
}

// verdict judges an attempt by the row, whose counter and lock are those of the budget that the attempt is charged to.
func (s *Store) verdict(username string, row user.Row, exists bool, now time.Time) store.Verdict {
	switch {
	case !exists:
		return store.Unknown
	case !row.Active || s.ended(username, now):
		return store.Inactive
	case row.LockedUntil != nil && row.LockedUntil.After(now):
		return store.Locked
	}
	return store.Check
}

// ended reports whether the recorded end of an account has passed.
func (s *Store) ended(username string, now time.Time) bool {
	note, recorded := s.ownership[username]
	return recorded && user.Observed{Now: now, Ownership: &note}.Ended()
}

// limitsOf is the limits of an account: a policy's come first.
func (s *Store) limitsOf(username string, limits store.Limits) store.Limits {
	if note, recorded := s.ownership[username]; recorded {
		return limits.For(user.Observed{Ownership: &note}.Lockout())
	}
	return limits.For(user.Lockout{})
}

// locksBefore is how many locks make the next one of a budget longer.
func (s *Store) locksBefore(username string, isFamiliar bool, now time.Time) (locks int) {
	for _, a := range slices.Backward(s.attempts) {
		if !a.Time.After(now.Add(-store.GrowthPeriod)) {
			break
		}
		if a.account == username && a.familiar == isFamiliar && a.lockedUntil != nil && a.Outcome != store.Succeeded {
			locks++
		}
	}
	return locks
}

// charge takes one attempt off a row's budget, and returns the lock where that was the last. Before is how many locks
// preceded it.
func charge(row *user.Row, limits store.Limits, now time.Time, before func() int) (lock *time.Time) {
	if row.LockedUntil != nil { // it expired
		row.FailedLoginAttempts, row.LockedUntil = 0, nil
	}
	row.FailedLoginAttempts = max(0, row.FailedLoginAttempts) + 1
	if row.FailedLoginAttempts >= limits.Attempts && !limits.Exempt {
		row.LockedUntil = new(now.Add(limits.Lock(before())))
	}
	return copyOf(row.LockedUntil)
}

// Settle settles a charged attempt, and reports whether it is an accepted success. The only error is that of the context.
func (s *Store) Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.attempt(charged.ID)
	if entry == nil || charged.Verdict != store.Check {
		return false, nil
	}
	row, exists := s.rows[charged.Username]
	accepted = success && exists && row.Active && !s.ended(charged.Username, s.now()) && s.samePassword(charged.Username, charged.PasswordHash, row)
	if entry.Outcome != store.Pending {
		return accepted && entry.Outcome == store.Succeeded, nil
	}

	entry.Outcome = store.Failed
	if accepted {
		entry.Outcome = store.Succeeded
		now := s.now()
		row = copied(row)
		row.LastLogin = &now
		s.remember(charged, *entry, now)
		if lock := row.LockedUntil; !entry.familiar && (lock == nil || !lock.After(now) || entry.wrote(lock)) {
			row.FailedLoginAttempts, row.LockedUntil = 0, nil
		}
		s.rows[charged.Username] = row
	}
	s.notify(charged.Username)
	return accepted, nil
}

// pendingUntil is how long a lock may wait for the attempt that wrote it to be settled; nil where it waits for none.
func (s *Store) pendingUntil(username string, lock *time.Time, now time.Time) *time.Time {
	if lock == nil || !lock.After(now) {
		return nil
	}
	for _, a := range slices.Backward(s.attempts) {
		until := a.Time.Add(store.PendingTime)
		if !until.After(now) {
			return nil
		}
		if a.account == username && !a.familiar && a.wrote(lock) && a.Outcome == store.Pending {
			return &until
		}
	}
	return nil
}

// PurgeAttempts deletes attempts older than this, at most one batch, and returns how many. The only error is that of the
// context.
func (s *Store) PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, purged := s.now(), 0
	before, grows := now.Add(-olderThan), now.Add(-store.GrowthPeriod)
	s.attempts = slices.DeleteFunc(s.attempts, func(a attempt) bool {
		old := purged < batch && a.Time.Before(before) && (a.lockedUntil == nil || a.Time.Before(grows))
		if old {
			purged++
		}
		return old
	})
	return purged, nil
}

// Attempts is the audit trail, the latest attempt last. Of very many it has the last ones only.
func (s *Store) Attempts() []store.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []store.Record
	for _, a := range s.attempts {
		records = append(records, a.Record)
	}
	return records
}

// record records an attempt and returns its ID, which is one more than that of the last one.
func (s *Store) record(a attempt) int64 {
	if len(s.attempts) == mostAttempts {
		s.makeRoom(mostAttempts / 4)
	}
	s.lastAttempt++
	a.ID = s.lastAttempt
	s.attempts = append(s.attempts, a)
	return a.ID
}

// makeRoom drops so many attempts: the oldest of those that were rejected without a check, since an attacker can make any number
// of them, and then the oldest of the others.
func (s *Store) makeRoom(room int) {
	forget := func(of func(attempt) bool) {
		s.attempts = slices.DeleteFunc(s.attempts, func(a attempt) bool {
			goes := room > 0 && of(a)
			if goes {
				room--
			}
			return goes
		})
	}
	forget(func(a attempt) bool {
		return a.Outcome == store.RefusedUnknown || a.Outcome == store.RefusedLocked || a.Outcome == store.RefusedInactive
	})
	forget(func(attempt) bool { return true })
}

// attempt returns the attempt of this ID; nil where it is no longer kept.
func (s *Store) attempt(id int64) *attempt {
	i, found := slices.BinarySearchFunc(s.attempts, id, func(a attempt, id int64) int { return cmp.Compare(a.ID, id) })
	if !found {
		return nil
	}
	return &s.attempts[i]
}
