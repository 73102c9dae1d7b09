// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Withholding is why the row of an account is inactive although its resource asks for an active one. See
// docs/adr/0021-an-end-is-a-time-in-the-record.md.
type Withholding string

const (
	// Withheld by nothing: the row is as spec.active says.
	NotWithheld Withholding = ""

	// WithheldExpired: spec.validUntil has passed.
	WithheldExpired Withholding = "expired"

	// WithheldLocked: spec.lock is present and has not ended.
	WithheldLocked Withholding = "locked"
)

// StandingLock is a lock that an administrator set in the resource.
type StandingLock struct {
	Until  *time.Time // nil for no end
	Reason string     // of one line; "" if none was given
}

// standingLock returns the lock of a resource; nil if it has none.
func standingLock(lock *v1alpha1.StandingLock) *StandingLock {
	if lock == nil {
		return nil
	}
	return &StandingLock{Until: pointInTime(lock.Until), Reason: withoutNUL(lock.Reason)}
}

// The first and the last time that RFC 3339 can write, and that every database keeps.
var (
	EarliestTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	LatestTime   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// pointInTime returns a time of a resource: UTC, in full seconds, and within what a database keeps. Otherwise the record
// would never equal the resource.
func pointInTime(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC().Truncate(time.Second)
	switch {
	case at.Before(EarliestTime):
		at = EarliestTime
	case at.After(LatestTime):
		at = LatestTime
	}
	return &at
}

// Withheld returns why the account is inactive at a time although the resource asks for an active one. An inactive
// resource has nothing to withhold.
func (d Desired) Withheld(now time.Time) Withholding {
	switch {
	case !d.Active:
		return NotWithheld
	case d.expired(now):
		return WithheldExpired
	case d.lockedByRequest(now):
		return WithheldLocked
	}
	return NotWithheld
}

// ActiveAt reports whether the row is to be active at a time by the database's clock.
func (d Desired) ActiveAt(now time.Time) bool {
	return d.Active && d.Withheld(now) == NotWithheld
}

// expired reports whether the end of the account has passed.
func (d Desired) expired(now time.Time) bool { return d.ValidUntil != nil && !d.ValidUntil.After(now) }

// lockedByRequest reports whether the resource has a lock that has not ended.
func (d Desired) lockedByRequest(now time.Time) bool {
	return d.Lock != nil && (d.Lock.Until == nil || d.Lock.Until.After(now))
}

// NextEnd returns the time until the account ends or its standing lock does; 0 if neither is to come. The recorded end is another
// one while the resource is paused.
func (o Observed) NextEnd(d Desired) (next time.Duration) {
	ends := []*time.Time{d.ValidUntil}
	if d.Lock != nil {
		ends = append(ends, d.Lock.Until)
	}
	if o.Ownership != nil {
		ends = append(ends, o.Ownership.ValidUntil)
	}
	for _, end := range ends {
		if left := o.left(end); left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	return next
}

// Ended reports whether the recorded end of the account has passed, by the database's clock. Logins are then refused,
// also while the row is still active.
func (o Observed) Ended() bool {
	return o.Ownership != nil && o.Ownership.State == Owned && o.Ownership.endedAt(o.Now)
}

func (own *Ownership) endedAt(now time.Time) bool {
	return own.ValidUntil != nil && !own.ValidUntil.After(now)
}

// applied reports whether the row was active after the operator applied this generation of the resource. If the row
// differs from it, another program changed it.
func (own *Ownership) applied(d Desired) bool { return d.Active && own.Withheld == NotWithheld }

// sameTime compares times of which nil is none.
func sameTime(a, b *time.Time) bool {
	return a == b || (a != nil && b != nil && a.Equal(*b))
}

// expiredCondition says that the account has ended. If the row is still active, another condition says why.
func expiredCondition(d Desired, o Observed) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionExpired, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonValidUntilPassed}
	if d.ValidUntil == nil {
		return c
	}
	c.Message = fmt.Sprintf("The account ended at %s; to make it work again, set spec.validUntil to a later time.",
		d.ValidUntil.Format(time.RFC3339))
	if o.Row != nil && o.Row.Active {
		c.Message = fmt.Sprintf("spec.validUntil passed at %s, but the row is still active; the condition Ready says why.",
			d.ValidUntil.Format(time.RFC3339))
	}
	return c
}

// standsLocked reports whether a standing lock keeps the account out. It does not if the row stays active, for example
// because the user is the last holder of a protected role.
func (d Desired) standsLocked(o Observed) bool {
	return d.lockedByRequest(o.Now) && o.OwnedBy(d.Owner) && o.Row != nil && !o.Row.Active
}

// lockedByRequestCondition reports a standing lock.
func lockedByRequestCondition(lock StandingLock) *metav1.Condition {
	until, reason := "", ""
	if lock.Until != nil {
		until = " until " + lock.Until.Format(time.RFC3339)
	}
	if lock.Reason != "" {
		reason = fmt.Sprintf(" The reason is: %s.", strings.TrimRight(lock.Reason, ". "))
	}
	return &metav1.Condition{
		Type:    v1alpha1.ConditionLocked,
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonLockedByRequest,
		Message: fmt.Sprintf("Logins are refused%s, as spec.lock asks; to unlock now, remove spec.lock.%s", until, reason),
	}
}
