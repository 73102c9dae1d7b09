// SPDX-License-Identifier: Apache-2.0

package user

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// The cluster accounts: what resources and their statuses say about accounts. This is the only place that relies on a
// status. It is needed while the database is unavailable, and to restore a store in memory after a restart.

// Claimant returns the resource that owns the account among resources with the same username, according to their
// statuses. It returns nil if none may own it. These are excluded: resources that are being deleted, that were refused
// the username, and that are not permitted and never showed an account. Of the others, one that shows an account
// precedes; then the oldest; then the first by namespace and name.
//
// Noted reports that the account counts as the resource's own. Either its status shows the account, or other resources
// claim the username and could be reconciled first. Otherwise no operator has reconciled the resource.
func Claimant(claims []*v1alpha1.ShardingUser) (owner *v1alpha1.ShardingUser, noted bool) {
	possible := slices.DeleteFunc(slices.Clone(claims), isExcluded)
	if len(possible) == 0 {
		return nil, false
	}
	owner = slices.MinFunc(possible, func(a, b *v1alpha1.ShardingUser) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Name, b.Name),
		)
	})
	return owner, ShowsAccount(owner) || len(claims) > 1
}

func isExcluded(u *v1alpha1.ShardingUser) bool {
	if !u.DeletionTimestamp.IsZero() {
		return true
	}
	reason := readyReason(u)
	return OfReady(reason).NameTaken || reason == v1alpha1.ReasonNotPermitted && !ShowsAccount(u)
}

func rank(u *v1alpha1.ShardingUser) int {
	if ShowsAccount(u) {
		return 0
	}
	return 1
}

// ShowsAccount reports whether a status has what only an owner's status can have: data of an account, or a Ready reason
// that is only about the password.
func ShowsAccount(u *v1alpha1.ShardingUser) bool {
	s := u.Status
	if s.Locked || s.FailedLoginAttempts > 0 || s.LastLoginTime != nil || s.PasswordChangedTime != nil || s.LastHandledUnlock != "" ||
		s.LastHandledSignOut != "" ||
		s.PasswordSecretVersion != "" {
		return true
	}
	reason := readyReason(u)
	return reason == v1alpha1.ReasonSynced || OfReady(reason).PasswordOnly
}

func readyReason(u *v1alpha1.ShardingUser) string {
	if c := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// ClusterAccount returns the account that a resource and its status describe, as if a database had applied the spec and
// the policies. Hash of the password is in the row. It is recorded as applied if p has a Version; otherwise it has yet
// to be applied.
func ClusterAccount(d Desired, s v1alpha1.ShardingUserStatus, p PasswordChange, now time.Time) Observed {
	note := &Ownership{
		Owner:             d.Owner,
		State:             Owned,
		Generation:        max(0, s.ObservedGeneration),
		Deletion:          d.Deletion,
		PasswordVersion:   p.Version,
		PasswordWeak:      p.Weak,
		PasswordSuspicion: p.Suspicion,
		PasswordUnchecked: p.Unchecked,
		PasswordChangedAt: fromTime(s.PasswordChangedTime),
		UnlockHandled:     s.LastHandledUnlock,
		SignOutHandled:    s.LastHandledSignOut,
		SignedOutAt:       fromTime(s.SignedOutTime),
		Suspended:         d.Permission.Refusal != nil,
		Lockout:           d.Permission.Lockout,
		ValidUntil:        d.ValidUntil,
		Withheld:          d.Withheld(now),
	}
	if heldActive(s, d.Generation) { // see Decision.WithoutRoleLoss
		note.ValidUntil, note.Withheld = nil, NotWithheld
	}
	note.Lockout.Exempt = note.Lockout.Exempt && d.Password.Managed && p.Hash != UnusablePassword // see lockout
	if p.Version != "" {
		note.PasswordHash = p.Hash
	}
	active, hash := note.applied(d) && d.Permission.Refusal == nil, p.Hash
	if !active {
		hash = DisabledHash(hash)
	}
	return Observed{
		Now: now,
		Row: &Row{
			PasswordHash:        hash,
			Roles:               slices.Clone(d.Roles),
			Active:              active,
			FailedLoginAttempts: int(s.FailedLoginAttempts),
			LockedUntil:         reportedLock(s, now),
			LastLogin:           fromTime(s.LastLoginTime),
		},
		Ownership: note,
	}
}

// heldActive reports whether a status says that the account stays active as the last holder of a protected role.
func heldActive(s v1alpha1.ShardingUserStatus, generation int64) bool {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Reason == v1alpha1.ReasonLastAdministrator && c.ObservedGeneration == generation
}

// ReportedLock returns the end of the lock of failed attempts that a status reports; nil if there is none. A standing lock
// is not in the row.
func ReportedLock(s v1alpha1.ShardingUserStatus) *time.Time {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked)
	if !s.Locked || c != nil && c.Reason == v1alpha1.ReasonLockedByRequest {
		return nil
	}
	return fromTime(s.LockedUntil)
}

// reportedLock returns the end of the lock that a status reports. For an expired lock the status has only the time of
// the report, which is not before the end. The end matters: a counter from before it starts a new budget.
func reportedLock(s v1alpha1.ShardingUserStatus, now time.Time) *time.Time {
	if s.Locked {
		return ReportedLock(s)
	}
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked)
	if c == nil || c.Reason != v1alpha1.ReasonLockExpired {
		return nil
	}
	if c.LastTransitionTime.After(now) {
		return &now
	}
	return fromTime(&c.LastTransitionTime)
}

// WithLock returns a status that also reports the row's lock. It returns the same status if the lock is over, or if the
// status already reports this lock or a later one. It is for locks that the database does not have yet.
//
// Now is the clock that the lock uses.
func WithLock(previous v1alpha1.ShardingUserStatus, row Row, now time.Time) v1alpha1.ShardingUserStatus {
	s := *previous.DeepCopy()
	until := toEnd(row.LockedUntil)
	known := ReportedLock(s)
	if until == nil || !until.After(now) || (known != nil && !known.Before(until.Time)) || (s.Locked && known == nil) {
		return s // a standing lock stays reported
	}
	s.Locked, s.LockedUntil = true, until
	s.FailedLoginAttempts = attempts(row)
	c := lockedUntil(until.Time)
	c.ObservedGeneration = max(0, s.ObservedGeneration)
	c.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&s.Conditions, *c)
	return s
}

// fromTime is the inverse of toTime.
func fromTime(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}
