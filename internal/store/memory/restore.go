// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"maps"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Restore puts rows and notes for usernames of which nothing is there yet; the others it leaves alone. Each note gets a
// revision of this store's.
func (s *Store) Restore(accounts map[string]user.Observed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for username, observed := range accounts {
		_, exists := s.rows[username]
		_, noted := s.notes[username]
		if exists || noted {
			continue
		}
		s.put(username, observed)
	}
}

// replacement is a hash that took the place of what a row was restored with, and is of the same password.
type replacement struct {
	former, hash string
	at           time.Time
}

// noteReplaced notes such a change of a row, for the attempts that are being checked against what the row had.
func (s *Store) noteReplaced(change user.Change, before user.Row) {
	p := change.Password
	if p == nil || p.Replaces == "" || p.Replaces != before.PasswordHash {
		return
	}
	now := s.now()
	maps.DeleteFunc(s.replaced, func(_ string, r replacement) bool { return now.Sub(r.at) > store.PendingTime })
	s.replaced[change.Username] = replacement{former: p.Replaces, hash: p.Hash, at: now}
}

// samePassword reports whether an attempt that was checked against a hash was checked against what the row has now: against
// the hash itself, or what stood for it.
func (s *Store) samePassword(username, checked string, row user.Row) bool {
	r := s.replaced[username]
	return row.PasswordHash == checked || (checked != "" && r.former == checked && r.hash == row.PasswordHash)
}

// Restate puts an account in the place of one that was restored, whose counter and lock stay; nothing, where it has
// neither row nor note.
func (s *Store) Restate(username string, account user.Observed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, existed := s.rows[username]
	delete(s.rows, username)
	delete(s.notes, username)
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
		note := *account.Ownership
		note.Revision, note.PasswordChangedAt = s.revision, copyOf(note.PasswordChangedAt)
		s.notes[username] = note
	}
	s.tell(username)
}
