// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// holds reports whether the plan of a change still holds: the ownership record is the one that was observed, the owner of the
// change may follow that of the record, and the row exists or not as the verb needs it.
func holds(change user.Change, exists bool, record user.Ownership, recorded bool) bool {
	if recorded != (change.Revision != 0) || (recorded && record.Revision != change.Revision) {
		return false
	}
	switch change.Verb {
	case user.Create, user.Adopt:
		return exists == (change.Verb == user.Adopt) && (!recorded || mayFollow(change, record))
	case user.Update:
		return ownedBy(change, record) && current(change, record) && (exists || !touchesRow(change))
	case user.Delete, user.Deactivate, user.Release:
		return ownedBy(change, record) && current(change, record)
	case user.Suspend:
		return exists && recorded && isLeft(change, record)
	case user.Bury:
		return !recorded || (record.State != user.Owned && current(change, record))
	case user.Nothing:
	}
	return false
}

// isLeft reports whether the record is of the owner that is gone.
func isLeft(change user.Change, record user.Ownership) bool {
	return record.State != user.Deleted && record.Owner.UID == change.Owner.UID
}

func ownedBy(change user.Change, record user.Ownership) bool {
	return record.State == user.Owned && record.Owner.UID == change.Owner.UID
}

// current reports whether the change is not older than what the same owner applied last.
func current(change user.Change, record user.Ownership) bool {
	return change.Confirmed || record.Owner.UID != change.Owner.UID || record.Generation <= change.Generation
}

// mayFollow reports whether a username may be taken over: an owned one only by a resource with the same cluster, system,
// namespace and name, and a deleted one not by the owner that was deleted, unless that is confirmed.
func mayFollow(change user.Change, record user.Ownership) bool {
	switch record.State {
	case user.Owned:
		samePlace := record.Owner
		samePlace.UID = change.Owner.UID
		return samePlace == change.Owner && current(change, record)
	case user.Deleted:
		return change.Confirmed || record.Owner.UID != change.Owner.UID
	case user.Released:
	}
	return current(change, record)
}

// touchesRow reports whether an Update writes a column of the row.
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

// recordAfter returns the ownership record after a change, with a new revision.
func (s *Store) recordAfter(change user.Change, before user.Ownership) user.Ownership {
	after := before
	after.Revision = s.revision
	switch change.Verb {
	case user.Create, user.Adopt:
		after = user.Ownership{Owner: change.Owner, Revision: s.revision, SignedOutAt: before.SignedOutAt}
		if before.Owner.UID == change.Owner.UID {
			after.UnlockHandled, after.SignOutHandled = before.UnlockHandled, before.SignOutHandled
			after.PasswordChangedAt = before.PasswordChangedAt
		}
		password := user.PasswordChange{}
		if change.Password != nil {
			password = *change.Password
		}
		s.recordPassword(&after, password)
	case user.Update:
		if change.Password != nil {
			s.recordPassword(&after, *change.Password)
		}
	case user.Suspend:
		after.Suspended = true
		return after
	case user.Deactivate, user.Release:
		after.State = user.Released
		after.Generation = change.Generation
		after.PasswordHash, after.PasswordDigest = "", "" // of no further use
		return after
	case user.Delete:
		return user.Ownership{
			Owner: before.Owner, State: user.Deleted, Generation: before.Generation, Revision: s.revision,
			Deletion: before.Deletion, SignedOutAt: before.SignedOutAt,
		}
	case user.Bury:
		if before.State == user.Released {
			return after
		}
		return user.Ownership{
			Owner: change.Owner, State: user.Deleted, Generation: change.Generation, Revision: s.revision,
			Deletion: change.Deletion, SignedOutAt: before.SignedOutAt,
		}
	case user.Nothing:
	}
	after.State = user.Owned
	after.Owner.System = change.Owner.System
	after.Generation = change.Generation
	after.Deletion = change.Deletion
	after.Suspended, after.Lockout = change.Suspended, change.Lockout
	after.ValidUntil, after.Withheld = copyOf(change.ValidUntil), change.Withheld
	if change.Unlock != "" {
		after.UnlockHandled = change.Unlock
	}
	if change.SignOut != "" {
		after.SignOutHandled, after.SignedOutAt = change.SignOut, new(s.signOutTime(before))
	}
	return after
}

// signOutTime returns the time of a sign-out: in full seconds, and later than the one before.
func (s *Store) signOutTime(before user.Ownership) time.Time {
	at := s.now().Truncate(time.Second)
	if last := before.SignedOutAt; last != nil && !at.After(*last) {
		return last.Add(time.Second)
	}
	return at
}

// recordPassword records a password. The time of an unchanged password stays.
func (s *Store) recordPassword(record *user.Ownership, p user.PasswordChange) {
	record.PasswordVersion, record.PasswordHash, record.PasswordWeak = p.Version, p.Hash, p.Weak
	record.PasswordSuspicion, record.PasswordUnchecked, record.PasswordDigest = p.Suspicion, p.Unchecked, p.Digest
	switch {
	case p.New:
		record.PasswordChangedAt = new(s.now())
	case p.Version == "":
		record.PasswordChangedAt = nil
	}
	if p.Version == "" {
		record.PasswordHash, record.PasswordWeak = "", false
		record.PasswordSuspicion, record.PasswordUnchecked, record.PasswordDigest = "", false, ""
	}
}
