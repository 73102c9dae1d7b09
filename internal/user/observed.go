// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Observed is what the database says of one username at one moment.
type Observed struct {
	Now       time.Time  // the database's clock
	Row       *Row       // nil where the table has no such row
	Ownership *Ownership // nil where nothing was ever noted of the name
}

// Row is one row of the table users.
type Row struct {
	PasswordHash        string // "" where it is NULL; as DisabledHash returns it where the row is inactive
	Roles               []string
	RolesMalformed      bool // the column holds something other than an array of strings
	Active              bool
	FailedLoginAttempts int
	LockedUntil         *time.Time
	LastLogin           *time.Time

	// LockPendingUntil is how long the lock may wait for the log-in that wrote it to be settled; nil where it waits for
	// none.
	LockPendingUntil *time.Time
}

// OwnershipState says whether a row has an owner now, or had one.
type OwnershipState string

const (
	// Owned: the row belongs to the owner.
	Owned OwnershipState = "owned"

	// Released: the owner was deleted and left the row behind, by Deactivate or Retain. It is remembered, so that a
	// resource of the same place can take the row up again.
	Released OwnershipState = "released"

	// Deleted: the owner was deleted, and the row with it. It is remembered for a while, so that a former leader that
	// still believes in the owner cannot bring the row back.
	Deleted OwnershipState = "deleted"
)

// Ownership is what the operator noted about a username: who owns its row and what was last written into it.
type Ownership struct {
	Owner      Owner
	State      OwnershipState
	Generation int64 // the owner's generation that was last applied
	Revision   int64 // grows by one with each note, and so tells whether a plan still rests on what is there
	Deletion   v1alpha1.DeletionPolicy

	PasswordVersion   string     // Password.Version of the password that was last applied; "" where none was
	PasswordHash      string     // the hash that was last applied; "" where none was
	PasswordWeak      bool       // that password is one that attackers try first
	PasswordSuspicion Suspicions // why that password is most likely not the one that was meant
	PasswordUnchecked bool       // an operator that knew no suspicions applied it
	PasswordChangedAt *time.Time // when another password was last written
	UnlockHandled     string     // the last request to unlock that was acted upon

	Suspended bool    // the row was deactivated, since no policy permitted the owner
	Lockout   Lockout // of the policy that permitted the owner last
}

// OwnedBy reports whether the row belongs to owner.
func (o Observed) OwnedBy(owner Owner) bool {
	return o.Ownership != nil && o.Ownership.State == Owned && o.Ownership.Owner == owner
}

// Lockout is what a policy says of the account's locks: the one that permitted its owner last.
func (o Observed) Lockout() Lockout {
	if o.Ownership == nil || o.Ownership.State != Owned {
		return Lockout{}
	}
	return o.Ownership.Lockout
}

// Locked reports whether the row's lock lies in the future, by the database's clock: log-ins are refused.
func (o Observed) Locked() bool { return o.LockLeft() > 0 }

// LockPending reports whether the lock is one that nobody is to be told of yet: it was written ahead of the last try of
// a log-in, whose password may still turn out to be right.
func (o Observed) LockPending() bool { return o.Locked() && o.left(o.Row.LockPendingUntil) > 0 }

// LockLeft is the time until the row's lock runs out; zero where there is none. A time too long for a time.Duration is
// the longest that there is.
func (o Observed) LockLeft() time.Duration {
	if o.Row == nil {
		return 0
	}
	return o.left(o.Row.LockedUntil)
}

// NextLockChange is the time until the lock will be another by itself: until it runs out, or may be told of; zero where there
// is none.
func (o Observed) NextLockChange() time.Duration {
	if o.LockPending() {
		return min(o.LockLeft(), o.left(o.Row.LockPendingUntil))
	}
	return o.LockLeft()
}

// left is the time until then; zero where it is over.
func (o Observed) left(until *time.Time) time.Duration {
	if until == nil {
		return 0
	}
	return max(0, until.Sub(o.Now))
}

// PasswordVersion is the Password.Version that owner applied last; "" where it did not.
func (o Observed) PasswordVersion(owner Owner) string {
	if !o.OwnedBy(owner) {
		return ""
	}
	return o.Ownership.PasswordVersion
}

// passwordUnchecked reports whether owner's password was applied by an operator that knew no suspicions.
func (o Observed) passwordUnchecked(owner Owner) bool {
	return o.OwnedBy(owner) && o.Ownership.PasswordUnchecked
}

// PasswordInForce is the hash that a new value of the Secret is to be compared with: the one that owner applied last
// or, where there is none, the one that the row has.
func (o Observed) PasswordInForce(owner Owner) string {
	switch {
	case o.OwnedBy(owner) && o.Ownership.PasswordHash != "":
		return o.Ownership.PasswordHash
	case o.Row != nil:
		return o.Row.hashFor(true)
	}
	return ""
}

// passwordWeak reports whether the password of an owned account is one that attackers try first: as noted when it was applied,
// or by the hash that the row has now, which is not ours where the resource names no password.
func (o Observed) passwordWeak() bool {
	return o.Ownership.PasswordWeak || o.Row != nil && DefaultHash(o.Row.PasswordHash)
}

// sameRoles compares roles as sets.
func sameRoles(a, b []string) bool {
	set := func(s []string) []string {
		s = slices.Clone(s)
		slices.Sort(s)
		return slices.Compact(s)
	}
	return slices.Equal(set(a), set(b))
}
