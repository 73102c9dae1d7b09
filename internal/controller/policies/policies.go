// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// errNamespaceUnknown says that the cache has a user and not its namespace, of whose labels policies make something: not yet,
// or not any more, where somebody took the namespace away by force. Nothing may be concluded from that.
var errNamespaceUnknown = errors.New("the cache does not have the namespace yet")

// policies is what the cluster's ShardingUserPolicies say, as the cache has them. A nil one, where policies are turned off,
// permits everything.
type policies struct {
	cached client.Reader

	mu      sync.Mutex
	set     policy.Set
	current bool // set is of what the cache has
}

// newPolicies begins to keep policies and the labels of namespaces in the cache, on every replica.
func newPolicies(ctx context.Context, mgr ctrl.Manager) (*policies, error) {
	p := &policies{cached: mgr.GetClient()}
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.ShardingUserPolicy{})
	if err != nil {
		return nil, fmt.Errorf("watch ShardingUserPolicies: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.changed() },
		UpdateFunc: func(any, any) { p.changed() },
		DeleteFunc: func(any) { p.changed() },
	})
	if err != nil {
		return nil, fmt.Errorf("watch ShardingUserPolicies: %w", err)
	}
	if _, err := mgr.GetCache().GetInformer(ctx, namespaceMetadata()); err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	return p, nil
}

// changed notes that the cache has other policies than before. Whoever does something because of that calls it first.
func (p *policies) changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = false
}

// permission is what the policies say of a resource. The error is the cache's, or errNamespaceUnknown.
func (p *policies) permission(ctx context.Context, u *v1alpha1.ShardingUser) (user.Permission, error) {
	if p == nil {
		return user.Permission{}, nil
	}
	set, err := p.all(ctx)
	if err != nil {
		return user.Permission{}, err
	}
	namespace := namespaceMetadata()
	switch err := p.cached.Get(ctx, client.ObjectKey{Name: u.Namespace}, namespace); {
	case apierrors.IsNotFound(err) && !u.DeletionTimestamp.IsZero():
		namespace = nil
	case apierrors.IsNotFound(err):
		return user.Permission{}, errNamespaceUnknown
	case err != nil:
		return user.Permission{}, fmt.Errorf("look up the namespace: %w", err)
	}
	return permissionIn(set, namespace, u), nil
}

// permissionIn is what policies say of a resource in a namespace; nil where the namespace does not exist any more.
func permissionIn(set policy.Set, namespace *metav1.PartialObjectMetadata, u *v1alpha1.ShardingUser) user.Permission {
	if namespace == nil {
		return set.OfMissing().Permission(map[string]string{corev1.LabelMetadataName: u.Namespace}, u)
	}
	return set.Permission(labelsOf(namespace), u)
}

// judgeHeldRow refuses a paused resource whose row has roles that no policy permits: the pause keeps them, whatever the resource
// asks for meanwhile.
func (p *policies) judgeHeldRow(ctx context.Context, u *v1alpha1.ShardingUser, d *user.Desired, o user.Observed) error {
	if p == nil || d.Permission.Refusal != nil || !d.HoldsRow(o) {
		return nil
	}
	held := u.DeepCopy()
	held.Spec.Roles = nil
	for _, role := range o.Row.Roles {
		held.Spec.Roles = append(held.Spec.Roles, v1alpha1.Role(role))
	}
	permission, err := p.permission(ctx, held)
	if err != nil || permission.Refusal == nil {
		return err
	}
	d.Permission = permission
	d.Permission.Refusal.Message += " These are the row's: it keeps them while the resource is paused."
	return nil
}

// labelsOf is the labels of a namespace. The one with its name is the API server's, and cannot be another one's; whoever has
// all rights in a namespace may change the others.
func labelsOf(namespace client.Object) map[string]string {
	labels := maps.Clone(namespace.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = namespace.GetName()
	return labels
}

// lifts tells whether a change lifts a suspension.
func lifts(change user.Change, o user.Observed) bool {
	return change.Verb == user.Update && !change.Suspended && o.Ownership != nil && o.Ownership.Suspended
}

// confirm makes sure, past the cache, that the policies still permit a resource, so that a former leader that wakes up lifts no
// suspension by those that it remembers. It fails by store.ErrConflict where they do not, or on other terms.
func (p *policies) confirm(ctx context.Context, live client.Reader, u *v1alpha1.ShardingUser, permission user.Permission) error {
	if p == nil {
		return nil
	}
	var list v1alpha1.ShardingUserPolicyList
	if err := live.List(ctx, &list); err != nil {
		return fmt.Errorf("confirm that the policies are as in the cache: %w", err)
	}
	namespace := namespaceMetadata()
	if err := live.Get(ctx, client.ObjectKey{Name: u.Namespace}, namespace); err != nil {
		return fmt.Errorf("confirm that the namespace is as in the cache: %w", err)
	}
	if policy.New(list.Items).Permission(labelsOf(namespace), u) != permission {
		return fmt.Errorf("the cache has other policies: %w", store.ErrConflict)
	}
	return nil
}

func (p *policies) all(ctx context.Context) (policy.Set, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current {
		return p.set, nil
	}
	list, err := p.list(ctx)
	if err != nil {
		return policy.Set{}, err
	}
	p.set, p.current = policy.New(list), true
	return p.set, nil
}

// list is the policies that the cache has; they must not be changed.
func (p *policies) list(ctx context.Context) ([]v1alpha1.ShardingUserPolicy, error) {
	var list v1alpha1.ShardingUserPolicyList
	if err := p.cached.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ShardingUserPolicies from the cache: %w", err)
	}
	return list.Items, nil
}

func namespaceMetadata() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// policyChanges looks at whom a policy may concern: all when one comes or goes, since without any policy everything is
// permitted; else those of the namespaces that it is for, or was.
func (r *Reconciler) policyChanges() handler.EventHandler {
	all := func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		r.policies.changed()
		addEdited(queue, cache.Requests(ctx, r.client))
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if !e.IsInInitialList { // at the start all users are looked at anyway
				all(ctx, queue)
			}
		},
		DeleteFunc: func(ctx context.Context, _ event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			all(ctx, queue)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, isPolicy := e.ObjectOld.(*v1alpha1.ShardingUserPolicy)
			after, stillIs := e.ObjectNew.(*v1alpha1.ShardingUserPolicy)
			if !isPolicy || !stillIs {
				return
			}
			r.policies.changed()
			addEdited(queue, r.usersOf(ctx, before, after))
		},
	}
}

// policyEdits passes all changes of policies but those of statuses.
func policyEdits() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return isPolicyEdit(e.ObjectOld, e.ObjectNew)
	}}
}

// usersOf is the users of all namespaces that one of the policies is for.
func (r *Reconciler) usersOf(ctx context.Context, policies ...*v1alpha1.ShardingUserPolicy) []reconcile.Request {
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.client.List(ctx, namespaces); err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the ShardingUsers that a policy affects")
		return nil
	}
	var concerned []reconcile.Request
	for i := range namespaces.Items {
		for _, p := range policies {
			if policy.Selects(p, labelsOf(&namespaces.Items[i])) {
				concerned = append(concerned, cache.Requests(ctx, r.client, client.InNamespace(namespaces.Items[i].Name))...)
				break
			}
		}
	}
	return concerned
}

// namespaceChanges looks at the users of a namespace that got other labels.
func (r *Reconciler) namespaceChanges() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if hasOtherLabels(e.ObjectOld, e.ObjectNew) {
			addEdited(queue, cache.Requests(ctx, r.client, client.InNamespace(e.ObjectNew.GetName())))
		}
	}}
}
