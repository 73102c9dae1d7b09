// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/controller")

// Reconcile brings one account and one resource together.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	ctx, span := tracer.Start(ctx, "reconcile", trace.WithAttributes(
		attribute.String("k8s.namespace.name", req.Namespace), attribute.String("shardinguser.name", req.Name)))
	defer func() { // also if it panics
		if err != nil {
			span.SetStatus(codes.Error, err.Error()) // no error of ours holds a secret
		}
		span.End()
	}()
	result, err = r.reconcile(ctx, req)
	return r.conflicts.Requeue(ctx, req, result, err)
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
	if orphan := r.orphans.get(req.NamespacedName); orphan != nil && orphan.UID != u.UID {
		isKept, err := r.finalizeOrphan(ctx, orphan)
		if err != nil {
			return r.report(ctx, req, u, outcome{Outcome: status.Outcome{Desired: user.FromResource("", u)}}, err)
		}
		if isKept && u.UID == "" {
			return ctrl.Result{RequeueAfter: lastHolderRetry}, nil
		}
	}
	if u.UID == "" {
		return ctrl.Result{}, nil // it does not exist
	}
	return r.reconcileExisting(ctx, req, u)
}

// reconcileExisting reconciles a resource that exists.
func (r *Reconciler) reconcileExisting(ctx context.Context, req ctrl.Request, u *v1alpha1.ShardingUser) (ctrl.Result, error) {
	if r.staleness.IsStale(u) {
		return ctrl.Result{RequeueAfter: status.RetryDelay}, nil
	}
	deleting := !u.DeletionTimestamp.IsZero()
	if deleting && !controllerutil.ContainsFinalizer(u, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if !deleting {
		if err := r.ensureFinalizer(ctx, u); err != nil {
			return ctrl.Result{}, r.withoutFinalizer(ctx, u, err)
		}
		r.orphans.refresh(u)
	}

	found, err := r.synchronise(ctx, u, r.confirmUnchanged)
	if errors.Is(err, store.ErrConflict) && r.retries.Conflict(u.UID) {
		found.Problem, found.retry, err = user.Unsettled(deleting), conflictRetry, nil
	}
	if errors.Is(err, policies.ErrNamespaceUnknown) {
		return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // with backoff: it may never come
	}
	if deleting && found.isDeleted(err) {
		return ctrl.Result{}, r.finish(ctx, u, err != nil)
	}
	if found.isUnchanged && err == nil {
		return queue.AfterOthers(queue.Unchanged), nil // users with another password do not wait for this record
	}
	if found.again && err == nil {
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	}
	return r.report(ctx, req, u, found, err)
}

// report writes the status, and returns when to reconcile again.
func (r *Reconciler) report(ctx context.Context, req ctrl.Request, u *v1alpha1.ShardingUser, found outcome, err error) (ctrl.Result, error) {
	if errors.Is(err, store.ErrUnavailable) {
		var unavailableErr *store.UnavailableError
		found.Locked = errors.As(err, &unavailableErr) && unavailableErr.Locked
		found.Observed = nil
		found.Problem = unavailable(err, found.Desired.Deleting)
	} else if err != nil {
		return ctrl.Result{}, err
	}
	if u.UID == "" {
		return r.retry(req, err, true) // there is no status to write
	}
	isPending := queue.HasPendingChange(u) // before the status reports it
	wait, wrote, reportErr := r.statuses.Report(ctx, u, found.Outcome)
	r.lag.Reconciled(found.Desired.Username, wrote, wait > 0)
	if reportErr != nil {
		return ctrl.Result{}, reportErr
	}
	if err != nil {
		result, err := r.retry(req, err, isPending)
		if err == nil && !result.Requeue { //nolint:staticcheck // as above
			result.RequeueAfter = wait // it waits for the outage to end, and its status is not written yet
		}
		return result, err
	}
	r.store.Succeed(req)
	return ctrl.Result{RequeueAfter: found.next(u, wait)}, nil
}

// unavailable returns the problem of a database that did not answer.
func unavailable(err error, deleting bool) *user.Problem {
	message := "The database is unavailable: " + err.Error()
	if deleting {
		message = "The deletion waits for the database: " + err.Error()
	}
	return &user.Problem{Reason: v1alpha1.ReasonDatabaseUnavailable, Message: message}
}

// confirmation checks by an uncached read that a resource is still as in the cached copy. If not, it returns
// store.ErrConflict.
type confirmation func(ctx context.Context, u *v1alpha1.ShardingUser) error

// confirmUnchanged is the confirmation of a resource that exists. Its generation stands for its spec, but not for annotations.
func (r *Reconciler) confirmUnchanged(ctx context.Context, u *v1alpha1.ShardingUser) error {
	var current v1alpha1.ShardingUser
	if err := r.uncached.Get(ctx, client.ObjectKeyFromObject(u), &current); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("the resource is gone: %w", store.ErrConflict)
		}
		return fmt.Errorf("confirm that the resource is as in the cache: %w", err)
	}
	same := current.UID == u.UID && current.Generation == u.Generation &&
		current.DeletionTimestamp.IsZero() == u.DeletionTimestamp.IsZero() && sameRequests(&current, u)
	if !same {
		return fmt.Errorf("the cache is behind: %w", store.ErrConflict)
	}
	return nil
}

// confirmGone is the confirmation of a resource that does not exist any more.
func (r *Reconciler) confirmGone(ctx context.Context, u *v1alpha1.ShardingUser) error {
	var current v1alpha1.ShardingUser
	err := r.uncached.Get(ctx, client.ObjectKeyFromObject(u), &current)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("confirm that the resource is gone: %w", err)
	case current.UID == u.UID:
		return fmt.Errorf("the cache is behind: %w", store.ErrConflict)
	}
	return nil
}
