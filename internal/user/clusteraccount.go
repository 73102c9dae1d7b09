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

// What resources and their statuses tell of accounts. Everywhere else the truth is read again each time, and nothing is
// concluded from a status. This is the exception, for when the truth is away or gone: a database that cannot be reached,
// or a store in memory whose process ended.

// Claimant is the one of some resources with the same username that has the account, as far as they tell; nil where none
// may have it. A resource is out of the question when it is being deleted, was refused the name, or was not permitted and
// shows nothing of an account that it had before. Of the others, one that shows that it owned the account goes first; then
// the oldest; then the first by namespace and name.
//
// Noted tells that the account counts as the resource's already: it shows so, or others claim the name too, who might
// else be quicker. Where it does not, nobody ever saw to the resource.
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
	switch readyReason(u) {
	case v1alpha1.ReasonUsernameTaken, v1alpha1.ReasonRowExists:
		return true
	case v1alpha1.ReasonNotPermitted:
		return !ShowsAccount(u)
	}
	return false
}

func rank(u *v1alpha1.ShardingUser) int {
	if ShowsAccount(u) {
		return 0
	}
	return 1
}

// ShowsAccount tells whether a status says what only an owner's can: something of an account, or that all is done but for
// the password.
func ShowsAccount(u *v1alpha1.ShardingUser) bool {
	s := u.Status
	if s.Locked || s.FailedLoginAttempts > 0 || s.LastLoginTime != nil || s.PasswordChangedTime != nil || s.LastHandledUnlock != "" ||
		s.PasswordSecretVersion != "" {
		return true
	}
	switch readyReason(u) {
	case v1alpha1.ReasonSynced, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonGenerationDisabled, v1alpha1.ReasonSecretKeyNotFound,
		v1alpha1.ReasonPasswordInvalid:
		return true
	}
	return false
}

func readyReason(u *v1alpha1.ShardingUser) string {
	if c := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// ClusterAccount is the account that a resource and its status tell of, as a database would that has applied the spec and what
// policies say of it. Of the password, Hash is in the row; it is noted as applied where there is a Version, else it has yet
// to be.
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
		Suspended:         d.Permission.Refusal != nil,
		Lockout:           d.Permission.Lockout,
	}
	note.Lockout.Exempt = note.Lockout.Exempt && d.Password.Managed && p.Hash != UnusablePassword // see lockout
	if p.Version != "" {
		note.PasswordHash = p.Hash
	}
	active, hash := d.Active && d.Permission.Refusal == nil, p.Hash
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

// reportedLock is the end of the lock that a status tells of. Of one that ran out it tells as well, but not when; it was no
// later than it was told. It matters, since the counter that is left from it gives a new budget.
func reportedLock(s v1alpha1.ShardingUserStatus, now time.Time) *time.Time {
	if s.Locked {
		return fromTime(s.LockedUntil)
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

// WithLock is a status that tells of the row's lock too, and otherwise says what it said; the very status where the lock
// is over, or where it tells of that one or a later one already. It is for locks of which the database knows nothing yet.
//
// Now is the clock that the lock goes by.
func WithLock(previous v1alpha1.ShardingUserStatus, row Row, now time.Time) v1alpha1.ShardingUserStatus {
	s := *previous.DeepCopy()
	until := toEnd(row.LockedUntil)
	if until == nil || !until.After(now) || (s.Locked && s.LockedUntil != nil && !s.LockedUntil.Before(until)) {
		return s
	}
	s.Locked, s.LockedUntil = true, until
	s.FailedLoginAttempts = attempts(row)
	c := lockedUntil(until.Time)
	c.ObservedGeneration = max(0, s.ObservedGeneration)
	c.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&s.Conditions, *c)
	return s
}

// fromTime is the time that toTime showed.
func fromTime(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}
