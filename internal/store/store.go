// SPDX-License-Identifier: Apache-2.0

// Package store says what a store of accounts promises. The promises are kept by the packages below it, and checked for
// each of them by the one suite in storetest:
//
//   - An account is one row of the table users, which other programs read and write as well, and one note of our own:
//     who owns the row, and what was last written into it.
//   - Observe reads the row, the note and the store's clock in one moment. It never changes anything. Snapshot is Observe
//     for many usernames, and has an entry for each, whether there is such an account or could be.
//   - Fresh reports whether nobody ever had an account in the store: it has no row, no note, and never had a note. What
//     cannot be known is no.
//   - Owned lists the ownership records of one cluster, page by page, in an order of usernames that stays the same.
//   - Released lists, in the same way, the ownership records that are released and whose rows are active.
//   - Apply makes a change as a whole or not at all, and only while the plan behind it still holds: the note must have
//     the revision that was observed and, unless the change is confirmed, no newer generation of the same owner.
//     Otherwise it answers ErrConflict and has changed nothing. Of any number of callers that plan from the same
//     observation, one succeeds.
//   - Apply returns the account as it is after the change: the row and the note, read back once the change is committed.
//     A nil error says that the database took the statement, and not that it kept what was written: a trigger, a rule,
//     row-level security or a column's type may keep, change or undo it. The caller plans again on what was read back.
//   - The note never says more than the row does: a row that is still there is not noted as deleted, nor one that is
//     still active as deactivated, nor a lock that is still there as lifted.
//   - What the database refuses for the sake of one row (a constraint, another program's trigger, row-level security) is
//     ErrRejected. It says nothing of other rows, nor of the database.
//   - A change that endangers roles is made only while another active user holds each of them, whoever else is about to take
//     them from that one: otherwise Apply answers ErrLastHolder and has changed nothing.
//   - Apply writes the columns that are the operator's, and of the login columns only what a change asks to clear.
//     Columns that it does not know keep their values.
//   - What Apply changed, and what other programs change, an observer of the store is notified of by username: of those of
//     all rows at first. Being told means only to look again. Several observers do not hold each other up.
//   - Once a store can be reached again after it could not, calls succeed again without a restart.
package store

import (
	"errors"
)

// Sentinel errors, told apart by errors.Is. Anything else that a store returns is a defect or the caller's context.
var (
	// ErrConflict: somebody else was there first. Nothing was changed; observe and plan again.
	ErrConflict = errors.New("the account changed meanwhile")

	// ErrLastHolder: nobody else would hold a role that the change takes away. Nothing was changed.
	ErrLastHolder = errors.New("no other active user holds the role")

	// ErrUnavailable: the database could not be reached, or refused. Nothing is known to have been changed. The error
	// is an *UnavailableError, whose text is a sentence fit for an operator.
	ErrUnavailable = errors.New("the database is unavailable")

	// ErrRejected: the database refuses this row or this change, and works otherwise. Nothing was changed. The error is
	// a *RejectedError, whose text is a sentence fit for an operator.
	ErrRejected = errors.New("the database rejects the row")
)

// RejectedError is an ErrRejected with a sentence for operators: what the database refuses, why, and what to do. The
// sentence names constraints, columns, triggers and policies, and never a value of a row. Err is what the driver said; it
// is for errors.Is and errors.As only and is never printed.
type RejectedError struct {
	Sentence string
	Err      error
}

func (e *RejectedError) Error() string { return e.Sentence }

// Is makes the error an ErrRejected.
func (e *RejectedError) Is(target error) bool { return target == ErrRejected }

func (e *RejectedError) Unwrap() error { return e.Err }

// UnavailableError is an ErrUnavailable with a sentence for operators: what is wrong and what to do about it. The
// sentence never holds a credential, a host's secret parameter or a value of a row. Err is what the driver said; it is
// for errors.Is and errors.As only and is never printed. Unsent tells that the database cannot have got the call, and so
// that nothing was changed.
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
