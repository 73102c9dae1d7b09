// SPDX-License-Identifier: Apache-2.0

package user

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// UnusablePassword is the value of the column password_hash when no password may match. It is not a bcrypt hash, so
// every comparison fails, here and in the sharding manager.
const UnusablePassword = "!"

// Verb is what a Change does to the row.
type Verb string

const (
	// Nothing changes nothing.
	Nothing Verb = "nothing"

	// Create inserts the row and records its owner. It fails if a row or another owner exists by then.
	Create Verb = "create"

	// Adopt takes over an existing row and records its owner.
	Adopt Verb = "adopt"

	// Update changes an owned row, or only its ownership record.
	Update Verb = "update"

	// Delete deletes an owned row.
	Delete Verb = "delete"

	// Deactivate sets active to false in an owned row and releases it.
	Deactivate Verb = "deactivate"

	// Release releases an owned row without changing it.
	Release Verb = "release"

	// Suspend sets active to false in a row whose owner is gone, and records the suspension. The row may be owned or
	// released. The rest of the ownership record stays, so that a resource of the same namespace and name can reclaim
	// the row.
	Suspend Verb = "suspend"

	// Bury records that an owner is gone that never owned the row, so that a concurrent Create or Adopt fails. A
	// username without a record, or with a tombstone, gets the owner's tombstone. In the record of a released row, only
	// the revision changes. The row stays as it is.
	Bury Verb = "bury"
)

// Field is a column of the table users that the operator writes, or the whole row.
type Field string

// The fields that can drift.
const (
	FieldPasswordHash Field = "password_hash"
	FieldRoles        Field = "roles"
	FieldActive       Field = "active"
	FieldRow          Field = "row"
)

// Change is one atomic change of the database. A store applies it only if Revision is still the recorded one,
// Generation is not older than the recorded one, and the owner has no tombstone. Otherwise another writer was faster,
// and the caller plans again.
type Change struct {
	Verb       Verb
	Username   string
	Owner      Owner
	Generation int64
	Revision   int64 // of the Ownership that was planned on; 0 if there was none
	Deletion   v1alpha1.DeletionPolicy

	// Confirmed reports that the resource was read from the API server after the account was observed. An older
	// generation, or a tombstone of the same owner, then means that the API server was restored from a backup. Without
	// Confirmed it means that the cache is out of date.
	Confirmed bool

	// Write lists the columns that Update changes; if it is empty, the row stays as it is. Create writes all columns.
	// Adopt writes all columns except a password that it does not have. FieldPasswordHash without a hash in Password
	// disables or enables the row's own hash.
	Write  []Field
	Roles  []string
	Active bool

	// Password is the change of the password. With nil, the password stays, and Update keeps what is recorded about it.
	// Create and Adopt start a new record without a former owner's password.
	Password *PasswordChange

	// KeepHash leaves the hash of an inactive row usable, because the database rejects a disabled one. Without it, a
	// change that leaves the row inactive disables the hash, and one that activates the row enables it. See HashAfter.
	KeepHash bool

	// ClearLockout clears the lock and the failed-attempt counter.
	ClearLockout bool

	// Unlock is the unlock request to record as handled; "" records none.
	Unlock string

	// SignOut is the sign-out request to record as handled, with its time; "" records none.
	SignOut string

	// Suspended is recorded: the row is inactive because no policy permits the owner. Lockout is recorded too.
	Suspended bool
	Lockout   Lockout

	// ValidUntil and Withheld are recorded too: when the account ends, and why it is inactive although the resource asks
	// for an active one.
	ValidUntil *time.Time
	Withheld   Withholding

	// Origin is why the change is made. It is recorded.
	Origin Origin

	// Endangered are the roles that the change takes from the user. The store makes the change only if another active
	// user holds each of them.
	Endangered []string
}

// PasswordChange is what a Change writes and records about a password. The zero PasswordChange records that the
// operator does not manage the password.
type PasswordChange struct {
	Hash    string // the column after the change; disabled if the row is inactive
	Version string // recorded together with Hash; "" records that the row has no password of the operator
	Weak    bool
	New     bool // the password differs from the one before; its time is recorded

	Suspicion Suspicions
	Unchecked bool // recorded by a version that did not look for suspicions

	// Digest is a keyed digest of Hash and its password. It shows later, without bcrypt, that the Secret still has this
	// password. It is "" without a key.
	Digest string

	// Replaces is the stand-in hash of the same password that a store in memory has instead of Hash; otherwise "". A
	// login that was checked against it is valid for Hash too.
	Replaces string
}
