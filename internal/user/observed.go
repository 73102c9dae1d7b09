// SPDX-License-Identifier: Apache-2.0

package user

import (
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Observed is what the database holds about one username at one moment.
type Observed struct {
	Now       time.Time  // the database's clock
	Row       *Row       // nil if there is none
	Ownership *Ownership // the ownership record; nil if there is none
}

// Row is one row of the table users.
type Row struct {
	PasswordHash        string // "" for NULL; disabled if the row is inactive
	Roles               []string
	RolesMalformed      bool // the column is not an array of strings
	Active              bool
	FailedLoginAttempts int
	LockedUntil         *time.Time
	LastLogin           *time.Time

	// LockPendingUntil is when a pending lock takes effect at the latest; nil if no lock is pending. A lock is pending
	// until the login that wrote it is settled.
	LockPendingUntil *time.Time

	// FamiliarLockedUntil is the lock of the familiar addresses' own budget, which is not in the table users; nil if there is
	// none, or if the account has no such budget.
	FamiliarLockedUntil *time.Time
}

// OwnershipState is whether a row has an owner, or had one.
type OwnershipState string

const (
	// Owned: the row belongs to the owner.
	Owned OwnershipState = "owned"

	// Released: the owner was deleted with Deactivate or Retain, and its row stays. A resource of the same namespace
	// and name can reclaim the row.
	Released OwnershipState = "released"

	// Deleted: the owner was deleted, and the row with it. This tombstone is kept for a day, so that a former leader
	// with an old copy of the resource cannot create the row again.
	Deleted OwnershipState = "deleted"
)

// Ownership is the ownership record of a username: the owner of the row, and what the operator last wrote into it.
type Ownership struct {
	Owner      Owner
	State      OwnershipState
	Generation int64 // the owner's generation that was last applied
	Revision   int64 // grows by one with each write, and guards changes
	Deletion   v1alpha1.DeletionPolicy

	PasswordVersion   string     // Password.Version that was last applied; "" if none was
	PasswordHash      string     // the hash that was last applied; "" if none was
	PasswordWeak      bool       // attackers try that password first
	PasswordSuspicion Suspicions // why that password is probably not the intended one
	PasswordUnchecked bool       // a version that did not look for suspicions applied it
	PasswordDigest    string     // a keyed digest of PasswordHash and its password; "" if there is none
	PasswordChangedAt *time.Time // when the password last changed
	UnlockHandled     string     // the last unlock request that was handled

	Suspended bool    // the row is inactive because no policy permits the owner
	Lockout   Lockout // from the policy that last permitted the owner

	SignOutHandled string     // the last sign-out request that was handled
	SignedOutAt    *time.Time // when it was, in full seconds; later than any before. Tokens issued before are refused

	ValidUntil *time.Time  // when logins of the owner's account end; nil for never
	Withheld   Withholding // why the row is inactive although the resource asks for an active one
}

// OwnedBy reports whether the row belongs to owner.
func (o Observed) OwnedBy(owner Owner) bool {
	return o.Ownership != nil && o.Ownership.State == Owned && o.Ownership.Owner.Is(owner)
}

// Lockout returns the lockout terms of the policy that last permitted the owner.
func (o Observed) Lockout() Lockout {
	if o.Ownership == nil || o.Ownership.State != Owned {
		return Lockout{}
	}
	return o.Ownership.Lockout
}

// SignedOutAt returns when the owner's tokens were last revoked by request; nil for never.
func (o Observed) SignedOutAt() *time.Time {
	if o.Ownership == nil || o.Ownership.State != Owned {
		return nil
	}
	return o.Ownership.SignedOutAt
}

// Locked reports whether the row's lock ends in the future, by the database's clock. Logins are then refused.
func (o Observed) Locked() bool { return o.LockLeft() > 0 }

// LockPending reports whether the lock is not to be reported yet. It was written before the last allowed attempt, whose
// password can still be right.
func (o Observed) LockPending() bool { return o.Locked() && o.left(o.Row.LockPendingUntil) > 0 }

// LockLeft returns the time until the row's lock expires; zero if there is none. It is limited to the longest
// time.Duration.
func (o Observed) LockLeft() time.Duration {
	if o.Row == nil {
		return 0
	}
	return o.left(o.Row.LockedUntil)
}

// FamiliarLocked reports whether logins from familiar addresses are refused.
func (o Observed) FamiliarLocked() bool { return o.Row != nil && o.left(o.Row.FamiliarLockedUntil) > 0 }

// NextLockChange returns the time until a lock expires or stops being pending; zero if there is none.
func (o Observed) NextLockChange() time.Duration {
	next := o.LockLeft()
	if o.LockPending() {
		next = min(next, o.left(o.Row.LockPendingUntil))
	}
	if o.FamiliarLocked() && (next == 0 || o.left(o.Row.FamiliarLockedUntil) < next) {
		next = o.left(o.Row.FamiliarLockedUntil)
	}
	return next
}

// left returns the time until then, at least zero.
func (o Observed) left(until *time.Time) time.Duration {
	if until == nil {
		return 0
	}
	return max(0, until.Sub(o.Now))
}

// PasswordVersion returns the Password.Version that owner applied last; "" if it applied none.
func (o Observed) PasswordVersion(owner Owner) string {
	if !o.OwnedBy(owner) {
		return ""
	}
	return o.Ownership.PasswordVersion
}

// passwordUnchecked reports whether a version that did not look for suspicions applied owner's password.
func (o Observed) passwordUnchecked(owner Owner) bool {
	return o.OwnedBy(owner) && o.Ownership.PasswordUnchecked
}

// PasswordInForce returns the hash to compare a new value of the Secret with: the one that owner applied last or,
// without one, the row's.
func (o Observed) PasswordInForce(owner Owner) string {
	switch {
	case o.OwnedBy(owner) && o.Ownership.PasswordHash != "":
		return o.Ownership.PasswordHash
	case o.Row != nil:
		return o.Row.hashFor(true)
	}
	return ""
}

// passwordWeak reports whether attackers try the password of an owned account first. The ownership record says so, or
// the row's hash, which matters if the operator does not manage the password.
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
