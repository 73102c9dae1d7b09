// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The login side of a store. One attempt is charged before anything is checked, and settled after:
//
//   - Charge takes one attempt off the account's budget and writes the audit row, in one transaction that is committed
//     when it returns. The charge that reaches the limit writes the lock. So no number of parallel callers, replicas,
//     restarts or crashes gets more checks against the real hash than the limit for each lock. An error may leave one
//     attempt charged, never more: whoever tries again charges another one.
//   - A locked account is not charged, and its lock is not prolonged. A lock that expired leaves a clean counter: the
//     next charge is the first of a new budget, and takes the old lock out of the row.
//   - Settle of a success clears the counter and notes the login, but only while the row still has the hash that was
//     verified and is still active; otherwise the success does not stand, and counts as a failure. It clears all that
//     was charged until then, also the failures of attempts that were charged after it: a success is one at the moment
//     when it is settled.
//   - Of locks it lifts the one that its own charge wrote. One that another attempt wrote meanwhile, or another
//     program, stays in force, and the counter under it.
//   - Settle of a failure changes nothing but the audit row. Whoever never settles has used up one attempt. To settle
//     again changes nothing, and answers the same.
//   - Until it is settled, and at most for PendingTime, a charge that reached the limit is pending: the lock it wrote is
//     in force for everybody, but Observe reports it as pending, since a right password on the last try is to be a
//     success that nobody is notified of as a lock. When it is settled, observers are told to look again.
//   - Other programs' columns and rules hold: their counters and locks are read as they are. A counter that is at the
//     limit or beyond without a lock, as the sharding manager leaves it when it dies between its two statements, has one
//     attempt left: the next charge locks, as its own next failure would. A counter below zero is zero.
//   - The limits are the caller's, but for an account whose note has a policy's: those come first. An account that is exempt
//     is charged and never locked by it. Where locks grow, each one lasts twice as long as the one before, as far as that was
//     written within GrowthPeriod by charges of this store whose attempts did not succeed.
//   - PurgeAttempts deletes attempts that are older than this, no more than a batch of them at once, and tells how many. Those
//     by which locks grow stay for that long.

// PendingTime is how long a charge that nobody settled may keep a lock from being told of.
const PendingTime = 10 * time.Second

// GrowthPeriod is how long a lock makes the next ones longer, where locks grow.
const GrowthPeriod = 24 * time.Hour

// Limits says when an account is locked, and for how long.
type Limits struct {
	Attempts int           // failed attempts that lock; less than 1 is 1
	Duration time.Duration // more than 0
	Longest  time.Duration // to which locks grow; 0, or less than Duration, where all of them last equally long
	Exempt   bool          // no attempt locks

	// Most is how many failed attempts lock at the latest, whatever a policy says; 0 leaves that to it.
	Most int
}

// For is the limits of an account for which a policy says this.
func (l Limits) For(terms user.Lockout) Limits {
	if terms.Attempts > 0 {
		l.Attempts = terms.Attempts
	}
	if terms.Duration > 0 {
		l.Duration = terms.Duration
	}
	if l.Most > 0 {
		l.Attempts = min(l.Attempts, l.Most)
	}
	l.Longest, l.Exempt = terms.Longest, terms.Exempt
	return l
}

// Lock is how long a lock lasts that was preceded by so many within GrowthPeriod.
func (l Limits) Lock(before int) time.Duration {
	grown := float64(l.Duration) * math.Exp2(float64(before))
	return max(l.Duration, time.Duration(min(grown, float64(l.Longest))))
}

// Attempt is one try to log in. Its texts may be of any length and hold anything: see Record.
type Attempt struct {
	Username  string // as it was sent
	Alias     string // stands for Username in the audit trail where there is no such account
	Source    string // the client's address
	UserAgent string
}

// Verdict says what is to be done about an attempt.
type Verdict string

const (
	// Check: the attempt was charged; the password is to be compared with Charge.PasswordHash.
	Check Verdict = "check"

	// Unknown: there is no such account.
	Unknown Verdict = "unknown"

	// Locked: the account is locked; nothing was charged.
	Locked Verdict = "locked"

	// Inactive: the account is not active, and perhaps locked besides; nothing was charged.
	Inactive Verdict = "inactive"
)

// Outcome is what the attempt is on record with until it is settled.
func (v Verdict) Outcome() Outcome {
	if v == Check {
		return Pending
	}
	return Outcome(v)
}

// Charge is an attempt that was charged, or refused without a charge.
type Charge struct {
	ID           int64 // of the audit row
	Username     string
	Verdict      Verdict
	PasswordHash string   // as the row has it, "" where it is NULL; only with Check
	Roles        []string // none where the column is malformed; only with Check

	// Failed is the account's counter with this charge; only with Check.
	Failed int

	// Exempt tells that a policy exempts the account from lockout; only with Check.
	Exempt bool

	// Locks tells that this charge reached the limit and wrote the lock, which stays unless the attempt is a success. Until is
	// when it expires, by the store's clock.
	Locks bool
	Until time.Time

	// Fallback is true where the fallback decides the attempt, since the database is unavailable.
	Fallback bool
}
