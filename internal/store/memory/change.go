// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"slices"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// holds tells whether the plan behind a change still holds: it rests on the note that is there, the note's owner may
// be followed by the change's, and the row is there or not as the verb needs it.
func holds(change user.Change, exists bool, note user.Ownership, noted bool) bool {
	if noted != (change.Revision != 0) || (noted && note.Revision != change.Revision) {
		return false
	}
	switch change.Verb {
	case user.Create, user.Adopt:
		return exists == (change.Verb == user.Adopt) && (!noted || mayFollow(change, note))
	case user.Update:
		return ownedBy(change, note) && current(change, note) && (exists || !touchesRow(change))
	case user.Delete, user.Deactivate, user.Release:
		return ownedBy(change, note) && current(change, note)
	case user.Suspend:
		return exists && noted && isLeft(change, note)
	case user.Bury:
		return !noted || (note.State != user.Owned && current(change, note))
	case user.Nothing:
	}
	return false
}

// isLeft tells whether the record is of the owner that is gone.
func isLeft(change user.Change, note user.Ownership) bool {
	return note.State != user.Deleted && note.Owner.UID == change.Owner.UID
}

func ownedBy(change user.Change, note user.Ownership) bool {
	return note.State == user.Owned && note.Owner.UID == change.Owner.UID
}

// current tells whether the change is not older than what the same owner applied last.
func current(change user.Change, note user.Ownership) bool {
	return change.Confirmed || note.Owner.UID != change.Owner.UID || note.Generation <= change.Generation
}

// mayFollow tells whether a name whose last owner is noted may be taken over: an owned one only in the owner's own
// place, and one that was deleted not by the owner that was deleted, unless that one is confirmed.
func mayFollow(change user.Change, note user.Ownership) bool {
	switch note.State {
	case user.Owned:
		samePlace := note.Owner
		samePlace.UID = change.Owner.UID
		return samePlace == change.Owner && current(change, note)
	case user.Deleted:
		return change.Confirmed || note.Owner.UID != change.Owner.UID
	case user.Released:
	}
	return current(change, note)
}

// touchesRow tells whether an Update writes a column of the row.
func touchesRow(change user.Change) bool {
	return len(change.Write) > 0 || change.ClearLockout
}

// written is the row after Create, Adopt or Update.
func written(change user.Change, row user.Row) user.Row {
	writes := func(f user.Field) bool { return change.Verb != user.Update || slices.Contains(change.Write, f) }
	before := row
	if change.Verb == user.Create {
		row = user.Row{}
	}
	if writes(user.FieldRoles) {
		row.Roles, row.RolesMalformed = slices.Clone(change.Roles), false
	}
	if writes(user.FieldActive) {
		row.Active = change.Active
	}
	if change.WritesHash() {
		row.PasswordHash = change.HashAfter(before)
	}
	if change.ClearLockout {
		row.FailedLoginAttempts, row.LockedUntil = 0, nil
	}
	return row
}

// note is what is noted after a change, with a new revision.
func (s *Store) note(change user.Change, before user.Ownership) user.Ownership {
	after := before
	after.Revision = s.revision
	switch change.Verb {
	case user.Create, user.Adopt:
		after = user.Ownership{Owner: change.Owner, Revision: s.revision}
		if before.Owner.UID == change.Owner.UID {
			after.UnlockHandled = before.UnlockHandled
			after.PasswordChangedAt = before.PasswordChangedAt
		}
		password := user.PasswordChange{}
		if change.Password != nil {
			password = *change.Password
		}
		s.notePassword(&after, password)
	case user.Update:
		if change.Password != nil {
			s.notePassword(&after, *change.Password)
		}
	case user.Suspend:
		after.Suspended = true
		return after
	case user.Deactivate, user.Release:
		after.State = user.Released
		after.Generation = change.Generation
		after.PasswordHash = "" // a hash is kept only as long as it is of use
		return after
	case user.Delete:
		return user.Ownership{
			Owner: before.Owner, State: user.Deleted, Generation: before.Generation, Revision: s.revision,
			Deletion: before.Deletion,
		}
	case user.Bury:
		if before.State == user.Released {
			return after
		}
		return user.Ownership{
			Owner: change.Owner, State: user.Deleted, Generation: change.Generation, Revision: s.revision,
			Deletion: change.Deletion,
		}
	case user.Nothing:
	}
	after.State = user.Owned
	after.Generation = change.Generation
	after.Deletion = change.Deletion
	after.Suspended, after.Lockout = change.Suspended, change.Lockout
	if change.Unlock != "" {
		after.UnlockHandled = change.Unlock
	}
	return after
}

// notePassword notes a password. The time stays where it is the same password as before.
func (s *Store) notePassword(note *user.Ownership, p user.PasswordChange) {
	note.PasswordVersion, note.PasswordHash, note.PasswordWeak = p.Version, p.Hash, p.Weak
	note.PasswordSuspicion, note.PasswordUnchecked = p.Suspicion, p.Unchecked
	switch {
	case p.New:
		note.PasswordChangedAt = new(s.now())
	case p.Version == "":
		note.PasswordChangedAt = nil
	}
	if p.Version == "" {
		note.PasswordHash, note.PasswordWeak = "", false
		note.PasswordSuspicion, note.PasswordUnchecked = "", false
	}
}
