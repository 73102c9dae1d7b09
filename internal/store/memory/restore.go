// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"maps"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Restore adds rows and ownership records of usernames that have neither. Each record gets a revision of this store.
func (s *Store) Restore(accounts map[string]user.Observed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for username, observed := range accounts {
		_, exists := s.rows[username]
		_, recorded := s.ownership[username]
		if exists || recorded {
			continue
		}
		s.put(username, observed)
	}
}

// replacement is a hash that replaced the stand-in hash of a restored row, of the same password.
type replacement struct {
	former, hash string
	at           time.Time
}

// recordReplaced records such a change of a row, for attempts that are checked against the former value.
func (s *Store) recordReplaced(change user.Change, before user.Row) {
	p := change.Password
	if p == nil || p.Replaces == "" || p.Replaces != before.PasswordHash {
		return
	}
	now := s.now()
	maps.DeleteFunc(s.replaced, func(_ string, r replacement) bool { return now.Sub(r.at) > store.PendingTime })
	s.replaced[change.Username] = replacement{former: p.Replaces, hash: p.Hash, at: now}
}

// samePassword reports whether the row has the password that an attempt was checked against: the hash itself, or the stand-in
// hash that it replaced.
func (s *Store) samePassword(username, checked string, row user.Row) bool {
	r := s.replaced[username]
	return row.PasswordHash == checked || (checked != "" && r.former == checked && r.hash == row.PasswordHash)
}

// Restate replaces a restored account, whose counter and lock stay. An account without row and record is removed.
func (s *Store) Restate(username string, account user.Observed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, existed := s.rows[username]
	delete(s.rows, username)
	delete(s.ownership, username)
	s.put(username, account)
	if row, exists := s.rows[username]; exists && existed {
		row.FailedLoginAttempts, row.LockedUntil, row.LastLogin = before.FailedLoginAttempts, before.LockedUntil, before.LastLogin
		s.rows[username] = row
	}
}

// put is called with the lock held.
func (s *Store) put(username string, account user.Observed) {
	if account.Row != nil {
		row := copied(*account.Row)
		row.LockPendingUntil = nil // no attempt of this store wrote the lock
		s.rows[username] = row
	}
	if account.Ownership != nil {
		s.revision++
		record := *account.Ownership
		record.Revision, record.PasswordChangedAt = s.revision, copyOf(record.PasswordChangedAt)
		record.ValidUntil, record.SignedOutAt = copyOf(record.ValidUntil), copyOf(record.SignedOutAt)
		s.ownership[username] = record
	}
	s.notify(username)
}
