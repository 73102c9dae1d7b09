// SPDX-License-Identifier: Apache-2.0

package store

import (
	"math"
	"net/netip"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A store charges an attempt before its password is checked, and settles it after:
//
//   - Charge takes one attempt off the account's budget and writes the audit row, in one transaction that is committed when it
//     returns. The charge that reaches the limit writes the lock. So no number of parallel callers, replicas, restarts or
//     crashes gets more checks against the hash than the limit for each lock. A charge that returns an error may have charged
//     one attempt, never more; a retry charges another one.
//   - A locked account is not charged, and its lock is not prolonged. An expired lock leaves a clean counter: the next charge is
//     the first of a new budget, and clears the old lock in the row.
//   - An account whose record has an end that has passed is inactive, by the store's clock, also while its row is still active.
//   - Settle of a success clears the counter and records the login, but only while the row still has the hash that was verified
//     and is still active and has not ended. Otherwise the success is not accepted, and counts as a failure. It clears all that
//     was charged until then, also failures of attempts that were charged after it: the moment of the success is when it is
//     settled.
//   - Of locks it clears the one that its own charge wrote. A lock of another attempt or program stays, with its counter.
//   - Settle of a failure changes nothing but the audit row. An attempt that is never settled has used up one of the budget.
//     Settling again changes nothing and returns the same.
//   - Until it is settled, and at most for PendingTime, a charge that reached the limit is pending. Its lock is in force, but
//     Observe reports it as pending: a right password on the last attempt is a success, and must not be reported as a lock.
//     Observers are notified when it is settled.
//   - Columns and rules of other programs hold: their counters and locks are read as they are. A counter at or above the limit
//     without a lock, as the sharding manager leaves it when it dies between its two statements, has one attempt left: the next
//     charge locks, as its own next failure would. A counter below zero is zero.
//   - The limits are those of the caller, unless the ownership record has limits of a policy. An exempt account is charged and
//     never locked by a charge. Where locks grow, each lasts twice as long as the one before. Only locks count that charges of
//     this store wrote within GrowthPeriod and whose attempts did not succeed.
//   - Where a policy says so (Lockout.Familiar), an account has two budgets. The familiar one is for all familiar addresses
//     together: those of which a success was accepted within FamiliarFor, at most MostFamiliar of them, the latest. The common
//     one, in the row, is for all others. Each has its counter and its lock, and the limits apply to each alike. An attempt is
//     charged to one of them, and the lock of the other does not refuse it. A success clears the budget that its attempt was
//     charged to, never the other one, and makes its address familiar. An unlock and a new password clear both. Of the familiar
//     budget other programs know nothing: their locks are common ones.
//   - An account that gets an owner, or loses it, has no familiar addresses.
//   - PurgeAttempts deletes attempts older than a time, at most one batch at once, and returns how many. Attempts by which locks
//     grow are kept for GrowthPeriod.

// PendingTime is how long an unsettled charge may keep a lock from being reported.
const PendingTime = 10 * time.Second

// GrowthPeriod is how long a lock makes the next ones longer, where locks grow.
const GrowthPeriod = 24 * time.Hour

// FamiliarFor is how long after an accepted success an address is familiar, and MostFamiliar is how many an account has at most.
const (
	FamiliarFor  = 30 * 24 * time.Hour
	MostFamiliar = 10
)

// Limits are when an account is locked, and for how long.
type Limits struct {
	Attempts int           // failed attempts that lock; less than 1 is 1
	Duration time.Duration // more than 0
	Longest  time.Duration // to which locks grow; 0, or less than Duration, where all of them last equally long
	Exempt   bool          // no attempt locks

	// Most is how many failed attempts lock at the latest, whatever a policy says; 0 leaves that to it.
	Most int

	// CommonOnly charges every attempt to the common budget, and makes no address familiar.
	CommonOnly bool
}

// For returns the limits of an account with these terms of a policy.
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

// Lock returns how long a lock lasts after so many others within GrowthPeriod.
func (l Limits) Lock(before int) time.Duration {
	grown := float64(l.Duration) * math.Exp2(float64(before))
	return max(l.Duration, time.Duration(min(grown, float64(l.Longest))))
}

// Attempt is one attempt to log in. Its texts may have any length and any characters: see Record.
type Attempt struct {
	Username  string // as it was sent
	Alias     string // stands for Username in the audit trail where there is no such account
	Source    string // the client's address
	UserAgent string
}

// Network returns what stands for the source's address where addresses are compared: the address or, of IPv6, the network of one
// client ([fair.SourceOf]). It is "" for a source that is no address.
func (a Attempt) Network() string {
	address, err := netip.ParseAddr(a.Source)
	if err != nil {
		return ""
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return address.String()
	}
	return fair.SourceOf(address).String()
}

// Verdict is what to do about an attempt.
type Verdict string

const (
	// Check: the attempt was charged; the password is to be compared with Charge.PasswordHash.
	Check Verdict = "check"

	// Unknown: there is no such account.
	Unknown Verdict = "unknown"

	// Locked: the account is locked; nothing was charged.
	Locked Verdict = "locked"

	// Inactive: the account is not active or has ended, and is perhaps locked besides; nothing was charged.
	Inactive Verdict = "inactive"
)

// Outcome is the recorded outcome of the attempt until it is settled.
func (v Verdict) Outcome() Outcome {
	if v == Check {
		return Pending
	}
	return Outcome(v)
}

// Charge is an attempt that was charged, or rejected without a charge.
type Charge struct {
	ID           int64 // of the audit row
	Username     string
	Verdict      Verdict
	PasswordHash string   // as the row has it, "" where it is NULL; only with Check
	Roles        []string // none where the column is malformed; only with Check

	// Failed is the account's counter with this charge; only with Check.
	Failed int

	// Exempt is true where a policy exempts the account from lockout; only with Check.
	Exempt bool

	// Locks is true where this charge reached the limit and wrote the lock, which stays unless the attempt succeeds. Until is
	// when it expires, by the store's clock.
	Locks bool
	Until time.Time

	// SignedOutAt is when the account's tokens were last revoked by request; nil for never.
	SignedOutAt *time.Time

	// Familiar is true where the attempt was charged to the familiar budget, whose counter and lock Failed, Locks and Until then
	// are. Network becomes familiar if the attempt succeeds; "" where none does.
	Familiar bool
	Network  string

	// Fallback is true where the fallback decides the attempt, since the database is unavailable.
	Fallback bool
}
