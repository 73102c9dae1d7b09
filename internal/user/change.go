// SPDX-License-Identifier: Apache-2.0

package user

import (
	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// UnusablePassword stands in the column password_hash where no password may match: it is no bcrypt hash, so that no
// comparison with it can succeed, here or in the sharding manager.
const UnusablePassword = "!"

// Verb says what a Change does to the row.
type Verb string

const (
	// Nothing leaves everything as it is.
	Nothing Verb = "nothing"

	// Create inserts the row and notes its owner. It fails when there is a row or another owner by then.
	Create Verb = "create"

	// Adopt takes over a row that exists, and notes its owner.
	Adopt Verb = "adopt"

	// Update changes an owned row, or only what is noted about it.
	Update Verb = "update"

	// Delete removes an owned row.
	Delete Verb = "delete"

	// Deactivate sets active to false in an owned row and releases it.
	Deactivate Verb = "deactivate"

	// Release lets go of an owned row without changing it.
	Release Verb = "release"

	// Suspend sets active to false in a row whose owner is gone, whether the row is owned or released, and notes the
	// suspension. The record stays as it is otherwise: a resource of the same place takes the row up again.
	Suspend Verb = "suspend"

	// Bury notes that an owner is gone that never owned the row, so that a Create or Adopt of it that is still under
	// way comes too late. A name that was never noted, or whose last owner was deleted, gets the owner's tombstone; of
	// a released one only the revision changes. The row is not touched.
	Bury Verb = "bury"
)

// Field is a column of the table users that the operator writes, or the row as a whole.
type Field string

// The fields that can drift.
const (
	FieldPasswordHash Field = "password_hash"
	FieldRoles        Field = "roles"
	FieldActive       Field = "active"
	FieldRow          Field = "row"
)

// Change is one change of the database, to be made as a whole or not at all. A store makes it only while Revision is
// still the one that is noted, and Generation is not older than the one that is noted, nor the owner one that was
// deleted: otherwise somebody else was there first, and the plan has to be made again.
type Change struct {
	Verb       Verb
	Username   string
	Owner      Owner
	Generation int64
	Revision   int64 // of the Ownership that the plan rests on; 0 where there was none
	Deletion   v1alpha1.DeletionPolicy

	// Confirmed tells that the resource was read from the API server after the account was observed. A generation
	// that is older than the noted one, or a tombstone of the very owner, then is no sign of a copy that is out of
	// date, but of an API server that was restored from a backup, and does not hold the change up.
	Confirmed bool

	// Write is what the verb Update writes into the row; where it is empty, the row is not touched. Create writes
	// everything, and Adopt too, but for the password where there is none to write. FieldPasswordHash without a hash in Password
	// disables or enables the row's own hash.
	Write  []Field
	Roles  []string
	Active bool

	// Password is what becomes of the password; nil leaves the password as it is, and with the verb Update the notes about
	// it too. Create and Adopt begin a new note, in which nothing is left of a former owner's password.
	Password *PasswordChange

	// KeepHash leaves an inactive row's hash usable: the database refuses a disabled one. Without it, every change that leaves the row
	// inactive disables the hash that it writes, or that the row has, and one that activates the row enables it. See HashAfter.
	KeepHash bool

	// ClearLockout clears the lock and the counter of failed attempts.
	ClearLockout bool

	// Unlock is the request to unlock that is noted as handled; "" notes nothing.
	Unlock string

	// Suspended is noted: the row is, or stays, deactivated because no policy permits the owner. Lockout is noted as well.
	Suspended bool
	Lockout   Lockout

	// Endangered are roles that the change takes from the user. It is not made unless another active user holds each of
	// them.
	Endangered []string
}

// PasswordChange is what is written, and noted, about a password. The zero PasswordChange notes that the password is
// not, or no longer, ours.
type PasswordChange struct {
	Hash    string // is in the column after the change, disabled where the row is inactive
	Version string // is noted, and Hash with it; "" notes that no password of ours is in the row
	Weak    bool
	New     bool // it is another password than before: the time is noted

	Suspicion Suspicions
	Unchecked bool // nobody looked for suspicions

	// Replaces is what the row of a store in memory has by now in place of a hash, of the very same password; "" in all
	// other cases. A log-in that was checked against it is good against Hash too.
	Replaces string
}
