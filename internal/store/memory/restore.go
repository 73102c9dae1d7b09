// SPDX-License-Identifier: Apache-2.0

package memory

import "github.com/sharding-system/shardinguser-operator/internal/user"

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
		if observed.Row != nil {
			row := copied(*observed.Row)
			row.LockPendingUntil = nil // no attempt of this store wrote the lock
			s.rows[username] = row
		}
		if observed.Ownership != nil {
			s.revision++
			note := *observed.Ownership
			note.Revision, note.PasswordChangedAt = s.revision, copyOf(note.PasswordChangedAt)
			s.notes[username] = note
		}
		s.tell(username)
	}
}
