// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// lockMargin is added to the time until a lock changes by itself, so that it has changed by then.
	lockMargin = 50 * time.Millisecond

	// longestWait is the longest time until the next reconcile of a locked user: a lock may last until the end of time.
	longestWait = 24 * time.Hour

	// nameRetry is the time until a username of another owner is tried again.
	nameRetry = 5 * time.Minute

	// secretRetry is the time until the API server is asked again for a Secret that it does not let the operator write.
	secretRetry = 5 * time.Minute

	// lastHolderRetry is the time until a last holder is checked again for other holders of its role.
	lastHolderRetry = 5 * time.Second

	// conflictRetry is the time until a change with persistent conflicts is tried again.
	conflictRetry = 5 * time.Second
)

// outcome is what a reconcile found out and did.
type outcome struct {
	status.Outcome
	asked        string        // what the resource asked for; see user.Asked
	again        bool          // there is a next step, to be taken at once
	isUnchanged  bool          // only another version of the Secret is to be recorded, which can wait for other users
	isLastHolder bool          // the change would have taken a role from its last holder, and was not made
	retry        time.Duration // until a rejected or lost write is made again; 0 if there is none
}

// isDeleted reports whether a resource that is being deleted has nothing left to wait for. The policy Retain does not need the
// database: the row can be released later, unless it must not stay active.
func (o outcome) isDeleted(err error) bool {
	noAnswer := errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	if o.Desired.Deletion == v1alpha1.DeletionRetain && o.Desired.Permission.Refusal == nil && noAnswer {
		return true
	}
	return err == nil && o.Problem == nil
}

// next returns the time until the next reconcile that no event causes; 0 if there is none.
func (o outcome) next(u *v1alpha1.ShardingUser, statusDelay time.Duration) time.Duration {
	return earliest(statusDelay, o.retry, o.lockChange(), o.endChange(), o.permissionChange(), o.nameFreed(), o.roleShared(),
		o.passwordExpiry(), o.secretPermitted(u))
}

// lockChange is when a lock expires, or may be reported. It is a duration by the database's clock, so the clock here does not
// matter.
func (o outcome) lockChange() time.Duration {
	if o.Observed == nil || !o.Observed.OwnedBy(o.Desired.Owner) || !o.Observed.Locked() {
		return 0
	}
	return min(o.Observed.NextLockChange(), longestWait) + lockMargin
}

// endChange is when the account ends, or a standing lock does, by the database's clock. It is at once if that came during the
// change before.
func (o outcome) endChange() time.Duration {
	if o.Observed == nil || !o.Observed.OwnedBy(o.Desired.Owner) {
		return 0
	}
	settles := o.Problem == nil || user.OfReady(o.Problem.Reason).PasswordOnly
	if settles && o.Observed.Ownership.Withheld != o.Desired.Withheld(o.Observed.Now) {
		return lockMargin
	}
	if next := o.Observed.NextEnd(o.Desired); next > 0 {
		return min(next, longestWait) + lockMargin
	}
	return 0
}

// permissionChange is when time alone changes what policies say of the resource. It is at once if that came during the change
// before.
func (o outcome) permissionChange() time.Duration {
	changes := o.Desired.Permission.Changes
	if o.Observed == nil || changes.IsZero() {
		return 0
	}
	return min(max(0, changes.Sub(o.Observed.Now)), longestWait) + lockMargin
}

// nameFreed is when the username may be free. An event reports that, but not if it comes before the operator watches.
func (o outcome) nameFreed() time.Duration {
	if p := o.Problem; p != nil && user.OfReady(p.Reason).NameTaken {
		return nameRetry
	}
	return 0
}

// roleShared is when another user may hold the role of a last holder. No event reports that. Each protected role has one last
// holder at most, so few users ever wait.
func (o outcome) roleShared() time.Duration {
	if o.isLastHolder {
		return lastHolderRetry
	}
	return 0
}

// passwordExpiry is when the password expires.
func (o outcome) passwordExpiry() time.Duration {
	if o.Observed == nil {
		return 0
	}
	left, known := o.Observed.PasswordExpiry(o.Desired)
	if !known || left <= 0 {
		return 0
	}
	return min(left, longestWait) + lockMargin
}

// secretPermitted is when the operator may have the right to create or change a Secret.
func (o outcome) secretPermitted(u *v1alpha1.ShardingUser) time.Duration {
	if u.Spec.Password == nil || u.Spec.Password.Generate == nil || o.Observed == nil {
		return 0
	}
	left, known := o.Observed.PasswordExpiry(o.Desired)
	if secrets.IsGenerationRefused(u, o.Problem) || (known && left <= 0) {
		return secretRetry
	}
	return 0
}

// earliest returns the shortest wait, of which 0 is none.
func earliest(waits ...time.Duration) time.Duration {
	shortest := time.Duration(0)
	for _, wait := range waits {
		if wait != 0 && (shortest == 0 || wait < shortest) {
			shortest = wait
		}
	}
	return shortest
}

// retry leaves a failed request to the queue's backoff, or to the end of the outage. The store and the statuses report an
// unavailable database once, and not each retry of each user.
func (r *Reconciler) retry(req ctrl.Request, err error, hasPendingChange bool) (ctrl.Result, error) {
	switch {
	case rows.IsOpen(err):
		r.store.Hold(req, err, hasPendingChange)
		return ctrl.Result{}, nil
	case errors.Is(err, store.ErrUnavailable):
		r.store.Fail(req, hasPendingChange)
		return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // the only way to the backoff without an error in the log
	}
	return ctrl.Result{}, err
}
