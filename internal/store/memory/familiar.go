// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"maps"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// familiar are the familiar addresses of an account, and the budget that they share. Its map is never changed.
type familiar struct {
	failed      int
	lockedUntil *time.Time
	logins      map[string]time.Time // the last accepted success, by network
}

// familiarTo returns the familiar budget of the account, and whether the attempt is charged to it.
func (s *Store) familiarTo(a store.Attempt, limits store.Limits, now time.Time) (familiar, bool) {
	own := s.familiar[a.Username]
	login, known := own.logins[a.Network()]
	return own, known && !limits.CommonOnly && login.After(now.Add(-store.FamiliarFor)) && s.splits(a.Username)
}

// splits reports whether the policy gives familiar addresses a budget of their own.
func (s *Store) splits(username string) bool {
	record, recorded := s.ownership[username]
	return recorded && user.Observed{Ownership: &record}.Lockout().Familiar
}

// familiarLock returns the lock of the familiar budget; nil where there is none, or no such budget.
func (s *Store) familiarLock(username string) *time.Time {
	if !s.splits(username) {
		return nil
	}
	return copyOf(s.familiar[username].lockedUntil)
}

// remember makes the address of an accepted success familiar, and clears the budget that the attempt was charged to.
func (s *Store) remember(charged store.Charge, entry attempt, now time.Time) {
	if charged.Network == "" || !s.splits(charged.Username) {
		return
	}
	own := s.familiar[charged.Username]
	own.logins = maps.Clone(own.logins)
	maps.DeleteFunc(own.logins, func(_ string, login time.Time) bool { return !login.After(now.Add(-store.FamiliarFor)) })
	if own.logins == nil {
		own.logins = map[string]time.Time{}
	}
	own.logins[charged.Network] = now
	for len(own.logins) > store.MostFamiliar {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(own.logins)), func(a, b string) int { return own.logins[a].Compare(own.logins[b]) })
		delete(own.logins, oldest)
	}
	if lock := own.lockedUntil; entry.familiar && (lock == nil || !lock.After(now) || entry.wrote(lock)) {
		own.failed, own.lockedUntil = 0, nil
	}
	s.familiar[charged.Username] = own
}

// changeFamiliar does what a change does to the familiar addresses and their budget.
func (s *Store) changeFamiliar(change user.Change) {
	switch change.Verb {
	case user.Create, user.Adopt, user.Delete, user.Deactivate, user.Release:
		delete(s.familiar, change.Username)
	case user.Update:
		if own, exists := s.familiar[change.Username]; exists && change.ClearLockout {
			own.failed, own.lockedUntil = 0, nil
			s.familiar[change.Username] = own
		}
	case user.Suspend, user.Bury, user.Nothing:
	}
}
