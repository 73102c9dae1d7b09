// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"
)

// The log-in side of a store. One attempt is charged before anything is checked, and settled after:
//
//   - Charge takes one attempt off the account's budget and writes the audit row, in one transaction that is committed
//     when it returns. The charge that reaches the limit writes the lock. So no number of parallel callers, replicas,
//     restarts or crashes gets more checks against the real hash than the limit for each lock.
//   - A locked account is not charged, and its lock is not prolonged. A lock that ran out leaves a clean counter: the
//     next charge is the first of a new budget.
//   - Settle of a success clears the counter and the lock, and notes the log-in, but only while the row still has the
//     hash that was verified and is still active; otherwise the success does not stand. Settle of a failure changes
//     nothing but the audit row. Whoever never settles has used up one attempt.
//   - Until it is settled, and at most for PendingTime, a charge that reached the limit is pending: the lock it wrote is
//     in force for everybody, but Observe reports it as pending, since a right password on the last try is to be a
//     success that nobody is told of as a lock.
//   - Other programs' columns and rules hold: their counters and locks are read as they are.

// PendingTime is how long a charge that nobody settled may keep a lock from being told of.
const PendingTime = 10 * time.Second

// Limits says when an account is locked, and for how long.
type Limits struct {
	Attempts int // failed attempts that lock, 1 or more
	Duration time.Duration
}

// Attempt is one try to log in.
type Attempt struct {
	Username  string // as it was sent
	Alias     string // stands for Username in the audit trail where there is no such account
	Source    string // the client's address
	UserAgent string // cut to 255 characters by the store
}

// Verdict says what is to be done about an attempt.
type Verdict string

const (
	// Check: the attempt was charged; the password is to be compared with Charged.PasswordHash.
	Check Verdict = "check"

	// Unknown: there is no such account.
	Unknown Verdict = "unknown"

	// Locked: the account is locked; nothing was charged.
	Locked Verdict = "locked"

	// Inactive: the account is not active; nothing was charged.
	Inactive Verdict = "inactive"
)

// Charged is an attempt that was charged, or refused without a charge.
type Charged struct {
	ID           int64 // of the audit row
	Username     string
	Verdict      Verdict
	PasswordHash string // as the row has it, "" where it is NULL; only with Check
	Roles        []string
}
