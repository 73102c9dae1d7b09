// SPDX-License-Identifier: Apache-2.0

// Package store defines what a store of accounts promises. The packages below it keep the promises, and the one suite in
// storetest checks them for each:
//
//   - An account is one row of the table users, which other programs read and write as well, and one ownership record: which
//     resource owns the row, and what was last written into it.
//   - Observe reads the row, the ownership record and the store's clock at one moment. It never changes anything. Snapshot is
//     Observe for many usernames. It has an entry for each, whether there is such an account or could be.
//   - Fresh reports whether the store never had an account: it has no row, no ownership record, and never had a record. If
//     that cannot be known, the answer is no.
//   - Owned lists the ownership records of one cluster and system, page by page, in a stable order of usernames.
//   - Released lists, in the same way, the ownership records that are released and whose rows are active.
//   - Apply makes a change as a whole or not at all, and only while its plan still holds: the ownership record has the revision
//     that was observed and, unless the change is confirmed, no newer generation of the same owner. Otherwise it returns
//     ErrConflict and has changed nothing. Of any number of callers that plan from the same observation, one succeeds.
//   - Apply returns the account as it is after the change: the row and the record, read back once the change is committed. A
//     nil error says that the database accepted the statement, not that it kept the values: a trigger, a rule, row-level
//     security or the type of a column may keep, change or undo them. The caller plans again on the returned account.
//   - An ownership record never says more than the row does: it is not deleted while the row exists, nor deactivated while the
//     row is active, nor unlocked while the row is locked.
//   - If the database rejects a change because of one row (a constraint, a trigger of another program, row-level security), the
//     error is ErrRejected. It says nothing of other rows or of the database.
//   - A change that endangers roles is made only while another active user holds each of them, also if several changes take
//     them at once. Otherwise Apply returns ErrLastHolder and has changed nothing.
//   - Apply writes the columns of the operator, and of the login columns only those that a change asks to clear. Other columns
//     keep their values.
//   - A subscriber of Watch first gets the usernames of all rows, then those that Apply or other programs change. A
//     notification only means "read again". Several subscribers do not delay each other.
//   - Once a store can be reached again, calls succeed again without a restart.
package store

import (
	"errors"
)

// Sentinel errors, for errors.Is. Any other error of a store is a defect, or that of the caller's context.
var (
	// ErrConflict: another change came first. Nothing was changed; observe and plan again.
	ErrConflict = errors.New("the account changed meanwhile")

	// ErrLastHolder: no other active user holds a role that the change takes away. Nothing was changed.
	ErrLastHolder = errors.New("no other active user holds the role")

	// ErrUnavailable: the database could not be reached, or rejected the call. Nothing is known to have been changed. The
	// error is an *UnavailableError, whose text is a sentence for administrators.
	ErrUnavailable = errors.New("the database is unavailable")

	// ErrRejected: the database rejects this row or this change, and works otherwise. Nothing was changed. The error is a
	// *RejectedError, whose text is a sentence for administrators.
	ErrRejected = errors.New("the database rejects the row")
)

// RejectedError is an ErrRejected with a sentence for administrators: what the database rejects, why, and what to do. The
// sentence names constraints, columns, triggers and policies, and never a value of a row. Err is the driver's error. It is
// for errors.Is and errors.As only and is never printed.
type RejectedError struct {
	Sentence string
	Err      error
}

func (e *RejectedError) Error() string { return e.Sentence }

// Is makes the error an ErrRejected.
func (e *RejectedError) Is(target error) bool { return target == ErrRejected }

func (e *RejectedError) Unwrap() error { return e.Err }

// UnavailableError is an ErrUnavailable with a sentence for administrators: what failed and what to do. The sentence never
// holds a credential, a secret parameter or a value of a row. Err is the driver's error. It is for errors.Is and errors.As
// only and is never printed. Unsent is true if the database cannot have received the call, so that nothing was changed.
type UnavailableError struct {
	Sentence string
	Err      error
	Unsent   bool
	Locked   bool // another transaction holds a lock on the row, and nothing is wrong with the database
}

func (e *UnavailableError) Error() string { return e.Sentence }

// Is makes the error an ErrUnavailable.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

func (e *UnavailableError) Unwrap() error { return e.Err }
