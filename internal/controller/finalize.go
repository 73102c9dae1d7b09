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
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// ensureFinalizer adds the finalizer before anything is written that it has to clean up.
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
	r.staleness.Wrote(u)
	r.orphans.added(u)
	return nil
}

// withoutFinalizer returns why the finalizer could not be added. A user that no policy permits is still suspended, which needs
// no finalizer: otherwise a tenant could make its resource too large for the finalizer, and keep the account.
func (r *Reconciler) withoutFinalizer(ctx context.Context, u *v1alpha1.ShardingUser, cause error) error {
	if queue.IsConflict(cause) {
		return cause
	}
	observed, err := r.store.Observe(ctx, user.Username(u)) // for the database's clock
	if err != nil {
		return cause
	}
	permission, err := r.policies.Permission(ctx, u, observed.Now)
	if err != nil || permission.Refusal == nil {
		return cause
	}
	if _, err = r.synchronise(ctx, u, r.confirmUnchanged); queue.IsConflict(err) {
		return cause // the next reconcile suspends it
	}
	return errors.Join(cause, err)
}

// finish releases a resource that is being deleted and has nothing to wait for. IsOrphaned reports that its row has not been
// handled yet.
func (r *Reconciler) finish(ctx context.Context, u *v1alpha1.ShardingUser, isOrphaned bool) error {
	if isOrphaned {
		r.orphans.release(u)
	} else {
		r.orphans.remove(u)
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

// finalizeOrphan handles the row of a resource that is gone; see possibleOrphans. IsKept reports that the row has to stay until
// another user holds its role, or until the database lets it go.
func (r *Reconciler) finalizeOrphan(ctx context.Context, orphan *v1alpha1.ShardingUser) (isKept bool, err error) {
	if err := r.confirmGone(ctx, orphan); err != nil {
		return false, err
	}
	orphan.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	found, err := r.synchronise(ctx, orphan, r.confirmGone)
	switch {
	case err != nil:
		return false, err
	case found.isLastHolder, found.retry > 0: // or the database does not let the row go
		r.orphans.release(orphan)
		return true, nil
	}
	r.orphans.remove(orphan)
	r.forget(orphan)
	return false, nil
}

// forget drops all that is known about a resource that is gone.
func (r *Reconciler) forget(u *v1alpha1.ShardingUser) {
	r.users.Forget(u.UID)
	r.store.Succeed(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(u)})
}

// newResourceTime is longer than the API server takes for a deletion that began before the finalizer was added.
const newResourceTime = time.Minute

// possibleOrphans remembers resources whose rows may have to be handled although the resources are gone.
type possibleOrphans struct {
	// fresh are those that just got the finalizer. The API server decides whether a deletion waits before it deletes: a
	// deletion that began before the finalizer was added ignores it.
	fresh *memory.Map[client.ObjectKey, *v1alpha1.ShardingUser]

	// released are those that were released while the database was unavailable, as the policy Retain asks, or whose rows the
	// database does not let go. They stay until their rows are handled.
	released *memory.Map[client.ObjectKey, *v1alpha1.ShardingUser]
}

func newPossibleOrphans(now func() time.Time) *possibleOrphans {
	return &possibleOrphans{
		fresh:    memory.NewMap[client.ObjectKey, *v1alpha1.ShardingUser](now, newResourceTime),
		released: memory.NewMap[client.ObjectKey, *v1alpha1.ShardingUser](now, 0),
	}
}

// added remembers a resource that got the finalizer.
func (o *possibleOrphans) added(u *v1alpha1.ShardingUser) {
	o.remove(u)
	o.fresh.Put(client.ObjectKeyFromObject(u), u.DeepCopy())
}

// release remembers a resource whose row was not handled.
func (o *possibleOrphans) release(u *v1alpha1.ShardingUser) {
	o.remove(u)
	o.released.Put(client.ObjectKeyFromObject(u), u.DeepCopy())
}

// refresh replaces the copy of a remembered resource.
func (o *possibleOrphans) refresh(u *v1alpha1.ShardingUser) {
	refresh := func(old *v1alpha1.ShardingUser) *v1alpha1.ShardingUser {
		if old.UID != u.UID {
			return old
		}
		return u.DeepCopy()
	}
	o.fresh.Change(client.ObjectKeyFromObject(u), refresh)
	o.released.Change(client.ObjectKeyFromObject(u), refresh)
}

// get returns a copy of the resource that is remembered under a name, or nil.
func (o *possibleOrphans) get(key client.ObjectKey) *v1alpha1.ShardingUser {
	if u, ok := o.released.Get(key); ok {
		return u.DeepCopy()
	}
	u, _ := o.fresh.Get(key)
	return u.DeepCopy() // the copy of nil is nil
}

// remove drops a resource.
func (o *possibleOrphans) remove(u *v1alpha1.ShardingUser) {
	o.fresh.Remove(client.ObjectKeyFromObject(u))
	o.released.Remove(client.ObjectKeyFromObject(u))
}
