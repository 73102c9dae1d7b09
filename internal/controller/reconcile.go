// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// attempts is how often a plan is made anew within one reconcile when somebody else was there first.
	attempts = 3

	// staleRetry is how long the cache is given to catch up with our own last write.
	staleRetry = 50 * time.Millisecond

	// lockMargin is added to the time until a lock changes by itself, so that by then it has.
	lockMargin = 50 * time.Millisecond

	// longestWait is after what time a lock is looked at again, however long it lasts: somebody may have set it to the
	// end of time.
	longestWait = 24 * time.Hour

	// slowLook is after what time a name that belongs to somebody else is looked at again.
	slowLook = 5 * time.Minute

	// sparedLook is after what time it is looked again whether somebody else holds a role that would be taken away.
	sparedLook = 5 * time.Second

	// unsettledRetry is after what time a change is tried again that came too late at each of several reconciles.
	unsettledRetry = 5 * time.Second

	// retainTimeout is how long a deletion with the policy Retain gives the database to note it.
	retainTimeout = 2 * time.Second
)

// Reconcile brings one account and one resource together.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	ctx, span := begin(ctx, "reconcile", attribute.String("k8s.namespace.name", req.Namespace), attribute.String("shardinguser.name", req.Name))
	defer func() { end(span, err) }() // also where it panics
	result, err = r.reconcile(ctx, req)
	return r.late.startOver(ctx, req, result, err)
}

func (r *Reconciler) reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if r.options.Restored != nil {
		if err := r.options.Restored(ctx); err != nil {
			return ctrl.Result{}, fmt.Errorf("wait until the store is restored: %w", err)
		}
	}
	u := &v1alpha1.ShardingUser{}
	if err := r.client.Get(ctx, req.NamespacedName, u); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read the resource: %w", err)
	}
	if former := r.unfinished.get(req.NamespacedName); former != nil && former.UID != u.UID {
		spared, err := r.seeToVanished(ctx, former)
		if err != nil {
			return r.report(ctx, req, u, outcome{desired: user.FromResource("", u)}, err)
		}
		if spared && u.UID == "" {
			return ctrl.Result{RequeueAfter: sparedLook}, nil
		}
	}
	if u.UID == "" {
		return ctrl.Result{}, nil // there is none
	}
	return r.reconcileThere(ctx, req, u)
}

// reconcileThere reconciles a resource that exists.
func (r *Reconciler) reconcileThere(ctx context.Context, req ctrl.Request, u *v1alpha1.ShardingUser) (ctrl.Result, error) {
	if r.stale.isOlder(u) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	deleting := !u.DeletionTimestamp.IsZero()
	if deleting && !controllerutil.ContainsFinalizer(u, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if !deleting {
		if err := r.ensureFinalizer(ctx, u); err != nil {
			return ctrl.Result{}, r.withoutFinalizer(ctx, u, err)
		}
		r.unfinished.refresh(u)
	}

	found, err := r.synchronise(ctx, u, r.confirmThere)
	if errors.Is(err, store.ErrConflict) && r.retries.conflict(u.UID) {
		found.problem, found.retry, err = user.Unsettled(deleting), unsettledRetry, nil
	}
	if errors.Is(err, errNamespaceUnknown) {
		return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // with backoff: it may never come
	}
	if deleting && found.done(err) {
		return ctrl.Result{}, r.finish(ctx, u, err != nil)
	}
	if found.again && err == nil {
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	}
	return r.report(ctx, req, u, found, err)
}

// outcome is what a reconcile came to know and to do.
type outcome struct {
	desired  user.Desired
	observed *user.Observed // nil where the database could not be asked
	problem  *user.Problem
	again    bool // there is a next step to take at once
	spared   bool // the change would have taken a role from its last holder, and was not made
	locked   bool // another transaction holds a lock on the row

	// retry is after what time a write is made again that the database refused or did not keep; 0 where there is none.
	retry time.Duration
}

// done tells whether a resource that is being deleted has nothing left to wait for. Retain does not need the database:
// that the row has no owner any more can be noted later. It does where the row must not stay active.
func (o outcome) done(err error) bool {
	noAnswer := errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	if o.desired.Deletion == v1alpha1.DeletionRetain && o.desired.Permission.Refusal == nil && noAnswer {
		return true
	}
	return err == nil && o.problem == nil
}

// isOutage tells whether it came to nothing because of the database.
func (o outcome) isOutage() bool {
	return o.problem != nil && o.problem.Reason == v1alpha1.ReasonDatabaseUnavailable && !o.locked
}

// confirmation makes sure, past the cache, that a resource is still as in our copy. It fails by store.ErrConflict where it
// is not.
type confirmation func(ctx context.Context, u *v1alpha1.ShardingUser) error

// confirmThere is the confirmation of a resource that exists. Its generation stands for its spec; annotations have none.
func (r *Reconciler) confirmThere(ctx context.Context, u *v1alpha1.ShardingUser) error {
	var there v1alpha1.ShardingUser
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(u), &there); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("the resource is gone: %w", store.ErrConflict)
		}
		return fmt.Errorf("confirm that the resource is as in the cache: %w", err)
	}
	same := there.UID == u.UID && there.Generation == u.Generation &&
		there.DeletionTimestamp.IsZero() == u.DeletionTimestamp.IsZero() && sameRequests(&there, u)
	if !same {
		return fmt.Errorf("the cache is behind: %w", store.ErrConflict)
	}
	return nil
}

// confirmGone is the confirmation of a resource that does not exist any more.
func (r *Reconciler) confirmGone(ctx context.Context, u *v1alpha1.ShardingUser) error {
	var there v1alpha1.ShardingUser
	err := r.live.Get(ctx, client.ObjectKeyFromObject(u), &there)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("confirm that the resource is gone: %w", err)
	case there.UID == u.UID:
		return fmt.Errorf("the cache is behind: %w", store.ErrConflict)
	}
	return nil
}

// ensureFinalizer puts the finalizer on before anything is written that it would have to clean up.
func (r *Reconciler) ensureFinalizer(ctx context.Context, u *v1alpha1.ShardingUser) error {
	before := u.DeepCopy()
	if !controllerutil.AddFinalizer(u, v1alpha1.Finalizer) {
		return nil
	}
	err := r.client.Patch(ctx, u, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("add the finalizer: the resource is gone: %w", store.ErrConflict)
	case err != nil:
		return fmt.Errorf("add the finalizer: %w", err)
	}
	r.stale.wrote(u)
	r.unfinished.add(u, newcomerTime)
	return nil
}

// withoutFinalizer returns why the finalizer could not be added. What no policy permits is suspended all the same, which needs no
// finalizer: a tenant can make its resource too large for another one.
func (r *Reconciler) withoutFinalizer(ctx context.Context, u *v1alpha1.ShardingUser, cause error) error {
	if isLate(cause) {
		return cause
	}
	permission, err := r.policies.permission(ctx, u)
	if err != nil || permission.Refusal == nil {
		return cause
	}
	if _, err = r.synchronise(ctx, u, r.confirmThere); isLate(err) {
		return cause // the next reconcile suspends it
	}
	return errors.Join(cause, err)
}

// seeToVanished deals with the row of a resource that was gone before it was seen to; see unfinished. WithoutRoleLoss tells that the row
// has to stay until somebody else holds its role, or until the database lets it go.
func (r *Reconciler) seeToVanished(ctx context.Context, former *v1alpha1.ShardingUser) (spared bool, err error) {
	if err := r.confirmGone(ctx, former); err != nil {
		return false, err
	}
	former.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	found, err := r.synchronise(ctx, former, r.confirmGone)
	switch {
	case err != nil:
		return false, err
	case found.spared, found.retry > 0: // or the database refuses to let the row go
		r.unfinished.add(former, 0)
		return true, nil
	}
	r.unfinished.forget(former)
	r.forget(former)
	return false, nil
}

// finish lets go of a resource that is being deleted and has nothing to wait for. Owing tells that its row has not been
// seen to for all that.
func (r *Reconciler) finish(ctx context.Context, u *v1alpha1.ShardingUser, owing bool) error {
	if owing {
		r.unfinished.add(u, 0)
	} else {
		r.unfinished.forget(u)
	}
	before := u.DeepCopy()
	controllerutil.RemoveFinalizer(u, v1alpha1.Finalizer)
	err := r.client.Patch(ctx, u, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	r.forget(u)
	return nil
}

// forget drops what is known of a resource that is gone.
func (r *Reconciler) forget(u *v1alpha1.ShardingUser) {
	r.stale.forget(u.UID)
	r.secrets.forget(u.UID)
	r.hashing.forget(u.UID)
	r.reports.forget(u.UID)
	r.retries.forget(u.UID)
	r.accounts.gotThrough(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(u)})
}

// retry leaves what failed to the queue's backoff, or to the end of the outage. A database that does not answer is told of
// once, by the store and in the statuses, and not by each retry of each user. Awaited tells that somebody asked for something.
func (r *Reconciler) retry(req ctrl.Request, err error, awaited bool) (ctrl.Result, error) {
	switch {
	case isHeldBack(err):
		r.accounts.hold(req, err, awaited)
		return ctrl.Result{}, nil
	case errors.Is(err, store.ErrUnavailable):
		r.accounts.failedItself(req, awaited)
		return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // the only way to the backoff without an error in the log
	}
	return ctrl.Result{}, err
}

// report writes the status, and says when to look again.
func (r *Reconciler) report(ctx context.Context, req ctrl.Request, u *v1alpha1.ShardingUser, found outcome, err error) (ctrl.Result, error) {
	if errors.Is(err, store.ErrUnavailable) {
		var unavailableErr *store.UnavailableError
		found.locked = errors.As(err, &unavailableErr) && unavailableErr.Locked
		found.observed = nil
		found.problem = unavailable(err, found.desired.Deleting)
	} else if err != nil {
		return ctrl.Result{}, err
	}
	if u.UID == "" {
		return r.retry(req, err, true) // there is nobody to report to
	}
	awaited := isAwaited(u) // before the status tells of it
	wait, wrote, reportErr := r.reports.report(ctx, u, found)
	r.lag.settle(found.desired.Username, wrote, wait > 0)
	if reportErr != nil {
		return ctrl.Result{}, reportErr
	}
	if err != nil {
		result, err := r.retry(req, err, awaited)
		if err == nil && !result.Requeue { //nolint:staticcheck // as above
			result.RequeueAfter = wait // held back, and yet to be told of
		}
		return result, err
	}
	r.accounts.gotThrough(req)
	again := earliest(wait, found.retry, lockChange(found), nameFreed(found), roleShared(found), passwordExpiry(found), secretPermitted(u, found))
	return ctrl.Result{RequeueAfter: again}, nil
}

// unavailable tells of a database that did not answer.
func unavailable(err error, deleting bool) *user.Problem {
	message := "The database is not available: " + err.Error()
	if deleting {
		message = "The deletion waits for the database: " + err.Error()
	}
	return &user.Problem{Reason: v1alpha1.ReasonDatabaseUnavailable, Message: message}
}
