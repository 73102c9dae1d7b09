// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// mostChanges is how many changes are kept. The oldest go first.
const mostChanges = 8192

// rowOf returns a copy of a row; nil if there is none.
func (s *Store) rowOf(username string) *user.Row {
	row, exists := s.rows[username]
	if !exists {
		return nil
	}
	row = copied(row)
	return &row
}

// recordChange records a change that was made of a row. It is called with the lock held.
func (s *Store) recordChange(change user.Change, before *user.Row) {
	entry, after := change.Entry(), s.rowOf(change.Username)
	if entry.Action == "" || change.Verb == user.Update && !differs(change, before, after) {
		return
	}
	s.lastChange++
	record := store.AccountChange{
		ID: s.lastChange, Time: s.now(), Username: store.Attempt{Username: change.Username}.Record(true).Username, Action: entry.Action,
		Owner: change.Owner, Generation: change.Generation,
		Manager: store.PrintableReason(entry.Manager), Reason: store.PrintableReason(entry.Reason),
		PasswordChanged: after != nil && password(before) != password(after),
	}
	if before != nil {
		record.OldRoles, record.OldActive = rolesOf(before), &before.Active
	}
	if after != nil {
		record.NewRoles, record.NewActive = rolesOf(after), &after.Active
	}
	if len(s.changes) == mostChanges {
		s.changes = slices.Delete(s.changes, 0, mostChanges/4)
	}
	s.changes = append(s.changes, record)
	s.changed(record)
}

// differs reports whether an Update changed more than the ownership record.
func differs(change user.Change, before, after *user.Row) bool {
	isRequest := change.Unlock != "" && change.ClearLockout || change.SignOut != ""
	return isRequest || before == nil || after == nil || before.Active != after.Active || before.RolesMalformed != after.RolesMalformed ||
		!slices.Equal(before.Roles, after.Roles) || password(before) != password(after)
}

// password returns the hash of a row without its first character, which differs if the hash is disabled.
func password(row *user.Row) string {
	if row == nil || row.PasswordHash == "" {
		return ""
	}
	return row.PasswordHash[1:]
}

// rolesOf returns the roles of a row; nil if the column is malformed.
func rolesOf(row *user.Row) []string {
	if row.RolesMalformed {
		return nil
	}
	return append([]string{}, row.Roles...)
}

// Changes reads recorded changes, the latest first. The only error is that of the context.
func (s *Store) Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	username := store.Attempt{Username: query.Username}.Record(true).Username
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []store.AccountChange
	for _, c := range slices.Backward(s.changes) {
		switch {
		case query.Limit > 0 && len(found) == query.Limit:
			return found, nil
		case query.Username != "" && c.Username != username,
			query.Before > 0 && c.ID >= query.Before,
			query.Since > 0 && !c.Time.After(s.now().Add(-query.Since)),
			len(query.Actions) > 0 && !slices.Contains(query.Actions, c.Action):
		default:
			found = append(found, c)
		}
	}
	return found, nil
}

// ReadAttempts reads the audit trail of an account or of all, the latest attempt first. The only error is that of the context.
func (s *Store) ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	username := store.Attempt{Username: trail.Username}.Record(true).Username
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []store.CountedRecord
	for _, a := range slices.Backward(s.attempts) {
		switch {
		case trail.Limit > 0 && len(found) == trail.Limit:
			return found, nil
		case trail.Username != "" && a.Username != username,
			trail.Before > 0 && a.ID >= trail.Before,
			trail.Since > 0 && !a.Time.After(s.now().Add(-trail.Since)),
			len(trail.Outcomes) > 0 && !slices.Contains(trail.Outcomes, a.Outcome):
		default:
			found = append(found, store.CountedRecord{Record: a.Record, Attempts: 1})
		}
	}
	return found, nil
}

// PurgeChanges deletes changes older than a time, at most one batch, and returns how many. The only error is that of the context.
func (s *Store) PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, purged := s.now().Add(-olderThan), 0
	s.changes = slices.DeleteFunc(s.changes, func(c store.AccountChange) bool {
		isOld := purged < batch && c.Time.Before(before)
		if isOld {
			purged++
		}
		return isOld
	})
	return purged, nil
}
