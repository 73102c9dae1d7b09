// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
)

// requests is the queue as event handlers get it.
type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]

// edits enqueues existing resources that people change.
func edits() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, q requests) {
		queue.Add(q, queue.Edited, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)})
	}}
}

// relevantEdits keeps status writes, labels and the like from causing reconciles. It passes changes of the spec, a deletion,
// the annotations that are requests, and the removal of the finalizer.
func relevantEdits() predicate.Predicate {
	others := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !sameRequests(e.ObjectOld, e.ObjectNew) || !controllerutil.ContainsFinalizer(e.ObjectNew, v1alpha1.Finalizer)
	}}
	return predicate.Or(predicate.GenerationChangedPredicate{}, others)
}

// sameRequests reports whether two copies of a resource have the same requests in annotations.
func sameRequests(a, b client.Object) bool {
	for _, name := range []string{
		v1alpha1.AnnotationPaused, v1alpha1.AnnotationUnlockRequestedAt, v1alpha1.AnnotationSignOutRequestedAt,
		v1alpha1.AnnotationAllowLastAdministrator,
	} {
		if a.GetAnnotations()[name] != b.GetAnnotations()[name] {
			return false
		}
	}
	return true
}

// secretChanges enqueues the users of a Secret that was created, deleted or changed.
func (r *Reconciler) secretChanges() handler.EventHandler {
	all := handler.EnqueueRequestsFromMapFunc(r.usersOfSecret)
	update := func(ctx context.Context, e event.UpdateEvent, q requests) {
		cause := queue.InputEdited
		if e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() { // a resync of the cache
			cause = queue.Listed
		}
		queue.Add(q, cause, r.usersOfSecret(ctx, e.ObjectNew)...)
	}
	return handler.Funcs{CreateFunc: all.Create, UpdateFunc: update, DeleteFunc: all.Delete}
}

// usersOfSecret returns the users whose passwords are in the Secret.
func (r *Reconciler) usersOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return cache.Requests(ctx, r.client, client.InNamespace(secret.GetNamespace()), cache.WithSecret(secret.GetName()))
}

// policyChanges enqueues the users that a policy may concern: all users when one is created or deleted, since without any
// policy everything is permitted; otherwise those of the namespaces that it selects, or selected.
func (r *Reconciler) policyChanges() handler.EventHandler {
	all := func(ctx context.Context, q requests) {
		r.policies.Changed()
		queue.Add(q, queue.InputEdited, cache.Requests(ctx, r.client)...)
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q requests) {
			if !e.IsInInitialList { // all users are enqueued at the start anyway
				all(ctx, q)
			}
		},
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, q requests) { all(ctx, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q requests) {
			before, isPolicy := e.ObjectOld.(*v1alpha1.ShardingUserPolicy)
			after, stillIs := e.ObjectNew.(*v1alpha1.ShardingUserPolicy)
			if !isPolicy || !stillIs {
				return
			}
			r.policies.Changed()
			queue.Add(q, queue.InputEdited, r.usersOf(ctx, before, after)...)
		},
	}
}

// usersOf returns the users of all namespaces that at least one of the policies selects.
func (r *Reconciler) usersOf(ctx context.Context, selecting ...*v1alpha1.ShardingUserPolicy) []reconcile.Request {
	namespaces, err := policies.Namespaces(ctx, r.client, selecting...)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the ShardingUsers that a policy affects")
	}
	var concerned []reconcile.Request
	for _, namespace := range namespaces {
		concerned = append(concerned, cache.Requests(ctx, r.client, client.InNamespace(namespace))...)
	}
	return concerned
}

// namespaceChanges enqueues the users of a namespace whose labels changed.
func (r *Reconciler) namespaceChanges() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q requests) {
		if policies.HasOtherLabels(e.ObjectOld, e.ObjectNew) {
			queue.Add(q, queue.InputEdited, cache.Requests(ctx, r.client, client.InNamespace(e.ObjectNew.GetName()))...)
		}
	}}
}
