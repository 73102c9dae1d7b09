// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

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

	// retainTimeout is how long a deletion with the policy Retain gives the database to note it.
	retainTimeout = 2 * time.Second
)

// Reconcile brings one account and one resource together.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	u := &v1alpha1.ShardingUser{}
	if err := r.client.Get(ctx, req.NamespacedName, u); err != nil {
		if apierrors.IsNotFound(err) {
			err = r.seeToVanished(ctx, req.NamespacedName)
		}
		return ctrl.Result{}, err
	}
	if r.stale.isOlder(u) {
		return ctrl.Result{RequeueAfter: staleRetry}, nil
	}
	deleting := !u.DeletionTimestamp.IsZero()
	if deleting && !controllerutil.ContainsFinalizer(u, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if !deleting {
		if err := r.ensureFinalizer(ctx, u); err != nil {
			return ctrl.Result{}, err
		}
	}

	found, err := r.synchronise(ctx, u)
	if deleting && found.done(err) {
		return ctrl.Result{}, r.finish(ctx, u)
	}
	if found.again && err == nil {
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	}
	return r.report(ctx, u, found, err)
}

// outcome is what a reconcile came to know and to do.
type outcome struct {
	desired  user.Desired
	observed *user.Observed // nil where the database could not be asked
	problem  *user.Problem
	again    bool // there is a next step to take at once
}

// done tells whether a resource that is being deleted has nothing left to wait for. Retain does not need the database:
// it asks for nothing to be done there, and what was noted about the owner earlier tells its successor as much.
func (o outcome) done(err error) bool {
	noAnswer := errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	if o.desired.Deletion == v1alpha1.DeletionRetain && noAnswer {
		return true
	}
	return err == nil && o.problem == nil
}

// synchronise observes, decides and applies. When somebody else was there first, it starts over.
func (r *Reconciler) synchronise(ctx context.Context, u *v1alpha1.ShardingUser) (outcome, error) {
	if !u.DeletionTimestamp.IsZero() && u.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retainTimeout)
		defer cancel()
	}
	var found outcome
	err := store.ErrConflict
	for try := 0; try < attempts && errors.Is(err, store.ErrConflict); try++ {
		found, err = r.attempt(ctx, u)
	}
	return found, err
}

func (r *Reconciler) attempt(ctx context.Context, u *v1alpha1.ShardingUser) (outcome, error) {
	found := outcome{desired: user.FromResource(r.options.Cluster, u)}
	d := &found.desired
	observed, err := r.accounts.Observe(ctx, d.Username)
	if err != nil {
		return found, err
	}
	found.observed = &observed

	secret, err := r.secrets.read(ctx, u, observed.PasswordVersion(d.Owner))
	if err != nil {
		return found, err
	}
	d.Password = secret.Password

	decision := user.Plan(*d, observed)
	found.problem, found.again = decision.Problem, decision.Again
	if decision.Stale {
		return found, fmt.Errorf("the cache is behind: %w", store.ErrConflict)
	}
	if decision.Change.Verb == user.Nothing {
		return found, nil
	}
	change, err := r.prepare(ctx, u, decision, secret, observed)
	if err != nil {
		return found, err
	}
	if err := r.accounts.Apply(ctx, change); err != nil {
		return found, err
	}
	r.tell(u, change, decision.Drift)

	// What is reported is what is there now, not what was asked for.
	observed, err = r.accounts.Observe(ctx, d.Username)
	if err != nil {
		found.observed = nil
		return found, err
	}
	found.observed = &observed
	return found, nil
}

// prepare does what a plan asks of its caller before the change can be made.
func (r *Reconciler) prepare(ctx context.Context, u *v1alpha1.ShardingUser, decision user.Decision, secret secretValue, o user.Observed) (user.Change, error) {
	if decision.TakesOver {
		if err := r.confirm(ctx, u); err != nil {
			return user.Change{}, err
		}
	}
	if !decision.TakePassword {
		return decision.Change, nil
	}
	taken, err := r.hashing.take(ctx, decision.Change.Owner, secret, o)
	if err != nil {
		return user.Change{}, fmt.Errorf("take the password from the Secret: %w", err)
	}
	return decision.WithPassword(taken, o), nil
}

// confirm makes sure, past the cache, that the resource is the one that has its place now.
func (r *Reconciler) confirm(ctx context.Context, u *v1alpha1.ShardingUser) error {
	var there v1alpha1.ShardingUser
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(u), &there); err != nil {
		return fmt.Errorf("confirm that the resource is still there: %w", err)
	}
	if there.UID != u.UID || !there.DeletionTimestamp.IsZero() {
		return fmt.Errorf("the resource was deleted meanwhile: %w", store.ErrConflict)
	}
	return nil
}

// ensureFinalizer puts the finalizer on before anything is written that it would have to clean up.
func (r *Reconciler) ensureFinalizer(ctx context.Context, u *v1alpha1.ShardingUser) error {
	before := u.DeepCopy()
	if !controllerutil.AddFinalizer(u, v1alpha1.Finalizer) {
		return nil
	}
	if err := r.client.Patch(ctx, u, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	r.stale.wrote(u)
	r.newcomers.add(u)
	return nil
}

// seeToVanished deals with the row of a resource that is gone although it had its finalizer; see newcomers.
func (r *Reconciler) seeToVanished(ctx context.Context, key client.ObjectKey) error {
	u := r.newcomers.get(key)
	if u == nil {
		return nil
	}
	if err := r.live.Get(ctx, key, &v1alpha1.ShardingUser{}); !apierrors.IsNotFound(err) {
		return err // where it is there, its own events bring us back
	}
	u.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	found, err := r.synchronise(ctx, u)
	if err == nil || found.done(err) {
		r.forget(u)
		return nil
	}
	return err
}

// forget drops what is known of a resource that is gone.
func (r *Reconciler) forget(u *v1alpha1.ShardingUser) {
	r.newcomers.forget(client.ObjectKeyFromObject(u))
	r.stale.forget(u.UID)
	r.hashing.forget(u.UID)
	r.reports.pace.forget(u.UID)
}

// finish lets go of a resource that is being deleted and whose row has been dealt with.
func (r *Reconciler) finish(ctx context.Context, u *v1alpha1.ShardingUser) error {
	before := u.DeepCopy()
	controllerutil.RemoveFinalizer(u, v1alpha1.Finalizer)
	err := r.client.Patch(ctx, u, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the finalizer: %w", err)
	}
	r.forget(u)
	return nil
}

// report writes the status, and says when to look again.
func (r *Reconciler) report(ctx context.Context, u *v1alpha1.ShardingUser, found outcome, err error) (ctrl.Result, error) {
	if errors.Is(err, store.ErrUnavailable) {
		found.observed = nil
		found.problem = unavailable(err, found.desired.Deleting)
	} else if err != nil {
		return ctrl.Result{}, err
	}
	wait, wrote, reportErr := r.reports.report(ctx, u, found)
	r.lag.settle(found.desired.Username, wrote, wait > 0)
	if reportErr != nil {
		return ctrl.Result{}, reportErr
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: earliest(wait, lockChange(found))}, nil
}

// unavailable tells of a database that did not answer.
func unavailable(err error, deleting bool) *user.Problem {
	message := "The database is not available: " + err.Error()
	if deleting {
		message = "The deletion waits for the database: " + err.Error()
	}
	return &user.Problem{Reason: v1alpha1.ReasonDatabaseUnavailable, Message: message}
}

// lockChange is when to look again because a lock will have run out, or may be told of; zero where there is none. It
// comes from the database's clock, as a length of time, so that the clock here does not matter.
func lockChange(found outcome) time.Duration {
	if found.observed == nil || !found.observed.OwnedBy(found.desired.Owner) || !found.observed.Locked() {
		return 0
	}
	return found.observed.LookAgain() + lockMargin
}

// earliest is the shorter of two waits, of which zero is none.
func earliest(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
