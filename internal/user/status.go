// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Status returns the status that reports the observed account and the problem, if any. A nil observed means that the
// database could not be read; the account's last known state then stays.
//
// Now is the transition time of conditions that change. It affects no decision.
func Status(previous v1alpha1.ShardingUserStatus, d Desired, o *Observed, p *Problem, now time.Time) v1alpha1.ShardingUserStatus {
	s := *previous.DeepCopy()
	s.ObservedGeneration = d.Generation
	s.Username = d.Username
	if o != nil || d.Permission != (Permission{}) && d.Permission.Changes.IsZero() { // else it was not determined
		s.PermittedBy = d.Permission.By
	}

	set := func(c *metav1.Condition) {
		c.ObservedGeneration = d.Generation
		c.LastTransitionTime = metav1.NewTime(now)
		meta.SetStatusCondition(&s.Conditions, *c)
	}
	setWhere := func(holds bool, c *metav1.Condition) { // for conditions that are absent unless True
		if holds {
			set(c)
		} else {
			meta.RemoveStatusCondition(&s.Conditions, c.Type)
		}
	}
	if o != nil {
		reportAccount(&s, d, *o)
		setWhere(s.Expired, expiredCondition(d, *o))
		set(lockedCondition(d, *o))
		setWhere(o.OwnedBy(d.Owner) && o.passwordWeak(), weakPasswordCondition(d))
		setWhere(o.OwnedBy(d.Owner) && o.Ownership.PasswordSuspicion.Reason() != "", suspiciousCondition(*o))
		setWhere(passwordExpired(d, *o), passwordExpiredCondition(d))
	}
	set(readyCondition(p))
	setWhere(p != nil && OfReady(p.Reason).Stalls, stalledCondition(p))
	return s
}

// reportAccount writes the figures of the account. It reports nothing about a row with another owner.
func reportAccount(s *v1alpha1.ShardingUserStatus, d Desired, o Observed) {
	s.Locked, s.Expired, s.FailedLoginAttempts = false, false, 0
	s.LockedUntil, s.LastLoginTime, s.PasswordChangedTime = nil, nil, nil
	s.LastHandledUnlock, s.PasswordSecretVersion = "", ""
	s.LastHandledSignOut, s.SignedOutTime = "", nil
	if !o.OwnedBy(d.Owner) {
		return
	}
	s.PasswordChangedTime = toTime(o.Ownership.PasswordChangedAt)
	s.LastHandledUnlock = o.Ownership.UnlockHandled
	s.LastHandledSignOut, s.SignedOutTime = o.Ownership.SignOutHandled, toTime(o.Ownership.SignedOutAt)
	s.PasswordSecretVersion = secretVersion(o)
	s.Expired = d.expired(o.Now)
	if o.Row == nil {
		return
	}
	s.FailedLoginAttempts = attempts(*o.Row)
	s.LastLoginTime = toTime(o.Row.LastLogin)
	switch s.Locked = o.Locked() && !o.LockPending(); {
	case d.standsLocked(o):
		s.Locked, s.LockedUntil = true, toEnd(d.Lock.Until)
	case s.Locked:
		s.LockedUntil = toEnd(o.Row.LockedUntil)
	}
}

// attempts returns the counter within the range of the API.
func attempts(row Row) int32 {
	return int32(min(row.FailedLoginAttempts, 1<<31-1)) //nolint:gosec // the minimum fits
}

// lockedCondition reports the row's current lock, whatever an earlier status said. A pending lock is not reported.
func lockedCondition(d Desired, o Observed) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionLocked, Status: metav1.ConditionFalse}
	owned := o.OwnedBy(d.Owner) && o.Row != nil
	tells := owned && o.Row.LockedUntil != nil && !o.LockPending()
	switch {
	case d.standsLocked(o):
		return lockedByRequestCondition(*d.Lock)
	case tells && o.Locked():
		c = lockedUntil(*o.Row.LockedUntil)
	case tells:
		c.Reason = v1alpha1.ReasonLockExpired
		c.Message = "The last lock expired; logins are checked again."
	case owned && o.Ownership.UnlockHandled != "":
		c.Reason = v1alpha1.ReasonUnlocked
		c.Message = "The account is not locked; the last unlock request was applied."
	default:
		c.Reason = v1alpha1.ReasonNotLocked
		c.Message = "The account is not locked."
	}
	if owned {
		c.Message += familiarMessage(o)
	}
	return c
}

// familiarMessage returns what the lock of the other addresses does not say about familiar ones, with a space before it; "" for
// nothing.
func familiarMessage(o Observed) string {
	switch {
	case !o.Lockout().Familiar:
	case o.FamiliarLocked():
		return fmt.Sprintf(" Logins from familiar addresses are refused until %s because of failed attempts from such addresses.",
			toEnd(o.Row.FamiliarLockedUntil).Format(time.RFC3339))
	case o.Locked() && !o.LockPending() && o.Row.Active:
		return " Logins from addresses that the account logged in from lately are still checked."
	}
	return ""
}

func lockedUntil(until time.Time) *metav1.Condition {
	return &metav1.Condition{
		Type:   v1alpha1.ConditionLocked,
		Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonTooManyFailedAttempts,
		Message: fmt.Sprintf("Logins are refused until %s because of failed attempts; to unlock now, set the annotation %s to a new value.",
			toEnd(&until).Format(time.RFC3339), v1alpha1.AnnotationUnlockRequestedAt),
	}
}

func weakPasswordCondition(d Desired) *metav1.Condition {
	c := &metav1.Condition{
		Type:    v1alpha1.ConditionWeakPassword,
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonWellKnown,
		Message: "The password works, but attackers try it first. Put another password into the Secret.",
	}
	if !d.Password.Managed {
		c.Message = "The password works, but it is a well-known default of the sharding manager. Add spec.password " +
			"with a Secret, or change the password in the sharding manager."
	}
	return c
}

func suspiciousCondition(o Observed) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionPasswordSuspicious, Status: metav1.ConditionTrue}
	if own := o.Ownership; own != nil {
		c.Reason = own.PasswordSuspicion.Reason()
		c.Message = fmt.Sprintf("The password works, but is probably not the intended one: it %v. If so, put the "+
			"intended password into the Secret.", own.PasswordSuspicion)
	}
	return c
}

func passwordExpiredCondition(d Desired) *metav1.Condition {
	longest, by := maxPasswordAge(d), "spec.password.maxAge"
	if longest != d.Password.MaxAge {
		by = fmt.Sprintf("ShardingUserPolicy %q", d.Permission.By)
	}
	return &metav1.Condition{
		Type:   v1alpha1.ConditionPasswordExpired,
		Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonMaxAgeExceeded,
		Message: fmt.Sprintf("The password works, but is older than the %s that %s allows.%s Put another password into the Secret.",
			longest, by, space(d.Password.NotReplaced)),
	}
}

func stalledCondition(p *Problem) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}
	if p != nil {
		c.Reason, c.Message = p.Reason, p.Message
	}
	return c
}

func readyCondition(p *Problem) *metav1.Condition {
	c := &metav1.Condition{
		Type:    v1alpha1.ConditionReady,
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonSynced,
		Message: "The row matches the spec.",
	}
	if p != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, p.Reason, p.Message
		if p.Reason == v1alpha1.ReasonPaused {
			c.Status = metav1.ConditionUnknown
		}
	}
	return c
}

// Same reports whether two statuses are equal.
func Same(a, b v1alpha1.ShardingUserStatus) bool { return equality.Semantic.DeepEqual(a, b) }

// Urgent reports whether the difference between two statuses has to be written at once. The counter, the last login and
// the end of a longer lock can wait: under attack they change many times a second.
func Urgent(from, to v1alpha1.ShardingUserStatus) bool {
	if from.Locked != to.Locked {
		return true
	}
	return !Same(withoutCounters(from), withoutCounters(to))
}

func withoutCounters(s v1alpha1.ShardingUserStatus) v1alpha1.ShardingUserStatus {
	s = *s.DeepCopy()
	s.FailedLoginAttempts, s.LastLoginTime, s.LockedUntil = 0, nil, nil
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked); c != nil {
		c.Message = ""
	}
	return s
}

// AboutAccount reports whether two statuses differ only in lock, counter and last login. Logins cause such differences,
// at any rate that an attacker chooses.
func AboutAccount(from, to v1alpha1.ShardingUserStatus) bool {
	strip := func(s v1alpha1.ShardingUserStatus) v1alpha1.ShardingUserStatus {
		s = withoutCounters(s)
		s.Locked = false
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionLocked)
		return s
	}
	return Same(strip(from), strip(to))
}

// toEnd is toTime for an end, rounded up to a full second. While the database is unavailable, a starting replica uses
// this time and must not unlock early.
func toEnd(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return toTime(new(t.Add(time.Second - 1)))
}

// toTime converts a database time for the API: UTC, full seconds.
func toTime(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return &metav1.Time{Time: t.UTC().Truncate(time.Second)}
}
