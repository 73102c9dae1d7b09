// SPDX-License-Identifier: Apache-2.0

// Package policies applies the cluster's ShardingUserPolicies: it says whether they permit a resource and on what terms, and
// writes their statuses. The decisions themselves are pure functions of internal/policy.
package policies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// ErrNamespaceUnknown reports that the cache has a user but not its namespace, on whose labels policies depend. Either it will
// come, or the namespace was deleted by force. Nothing may be concluded from it.
var ErrNamespaceUnknown = errors.New("the cache does not have the namespace yet")

// Policies are the cluster's ShardingUserPolicies, as the cache has them. A nil one, where policies are turned off, permits
// everything.
type Policies struct {
	cached client.Reader

	mu      sync.Mutex
	set     policy.Set
	current bool // set is what the cache has
}

// New begins to keep policies and the labels of namespaces in the cache, on every replica.
func New(ctx context.Context, mgr ctrl.Manager) (*Policies, error) {
	p := &Policies{cached: mgr.GetClient()}
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.ShardingUserPolicy{})
	if err != nil {
		return nil, fmt.Errorf("watch ShardingUserPolicies: %w", err)
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.Changed() },
		UpdateFunc: func(any, any) { p.Changed() },
		DeleteFunc: func(any) { p.Changed() },
	})
	if err != nil {
		return nil, fmt.Errorf("watch ShardingUserPolicies: %w", err)
	}
	if _, err := mgr.GetCache().GetInformer(ctx, Namespace()); err != nil {
		return nil, fmt.Errorf("watch namespaces: %w", err)
	}
	return p, nil
}

// Changed records that the cache has other policies than before. Call it before you act on the change.
func (p *Policies) Changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = false
}

// Permission returns what the policies say about a resource at a time by the database's clock; zero if that is not known. The
// error is the cache's, or ErrNamespaceUnknown.
func (p *Policies) Permission(ctx context.Context, u *v1alpha1.ShardingUser, now time.Time) (user.Permission, error) {
	if p == nil {
		return user.Permission{}, nil
	}
	set, err := p.all(ctx)
	if err != nil {
		return user.Permission{}, err
	}
	namespace := Namespace()
	switch err := p.cached.Get(ctx, client.ObjectKey{Name: u.Namespace}, namespace); {
	case apierrors.IsNotFound(err) && !u.DeletionTimestamp.IsZero():
		namespace = nil
	case apierrors.IsNotFound(err):
		return user.Permission{}, ErrNamespaceUnknown
	case err != nil:
		return user.Permission{}, fmt.Errorf("look up the namespace: %w", err)
	}
	return PermissionIn(set, namespace, u, now), nil
}

// PermissionIn returns what policies say about a resource in a namespace, which is nil if it does not exist any more.
func PermissionIn(set policy.Set, namespace *metav1.PartialObjectMetadata, u *v1alpha1.ShardingUser, now time.Time) user.Permission {
	if namespace == nil {
		return set.ForMissingNamespace().Permission(map[string]string{corev1.LabelMetadataName: u.Namespace}, u, now)
	}
	return set.Permission(Labels(namespace), u, now)
}

// JudgeHeldRow refuses a paused resource whose row has roles, or an end, that no policy permits: the pause keeps them, even if
// the resource asks for others.
func (p *Policies) JudgeHeldRow(ctx context.Context, u *v1alpha1.ShardingUser, d *user.Desired, o user.Observed) error {
	if p == nil || d.Permission.Refusal != nil || !d.HoldsRow(o) {
		return nil
	}
	held := u.DeepCopy()
	held.Spec.Roles = nil
	for _, role := range o.Row.Roles {
		held.Spec.Roles = append(held.Spec.Roles, v1alpha1.Role(role))
	}
	held.Spec.ValidUntil = nil
	if end := o.HeldEnd(); end != nil {
		held.Spec.ValidUntil = &metav1.Time{Time: *end}
	}
	permission, err := p.Permission(ctx, held, o.Now)
	if err != nil || permission.Refusal == nil {
		return err
	}
	d.Permission = permission
	d.Permission.Refusal.Message += " The row keeps its roles and its end while the resource is paused."
	return nil
}

// Labels returns the labels of a namespace. The label with its name is set here: tenants with all rights in a namespace may
// change the others.
func Labels(namespace client.Object) map[string]string {
	labels := maps.Clone(namespace.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = namespace.GetName()
	return labels
}

// Lifts reports whether a change lifts a suspension.
func Lifts(change user.Change, o user.Observed) bool {
	return change.Verb == user.Update && !change.Suspended && o.Ownership != nil && o.Ownership.Suspended
}

// Judge decides again by the database's clock, if the decision depends on it.
func (p *Policies) Judge(ctx context.Context, u *v1alpha1.ShardingUser, d *user.Desired, o user.Observed) (err error) {
	if !d.Permission.Changes.IsZero() {
		d.Permission, err = p.Permission(ctx, u, o.Now)
	}
	if err != nil {
		return err
	}
	return p.JudgeHeldRow(ctx, u, d, o)
}

// Confirm checks by an uncached read that the policies still permit a resource on the same terms. So a former leader that
// resumes lifts no suspension by old policies. Otherwise it returns store.ErrConflict.
func (p *Policies) Confirm(
	ctx context.Context, live client.Reader, u *v1alpha1.ShardingUser, permission user.Permission, now time.Time,
) error {
	if p == nil {
		return nil
	}
	var list v1alpha1.ShardingUserPolicyList
	if err := live.List(ctx, &list); err != nil {
		return fmt.Errorf("confirm that the policies are as in the cache: %w", err)
	}
	namespace := Namespace()
	if err := live.Get(ctx, client.ObjectKey{Name: u.Namespace}, namespace); err != nil {
		return fmt.Errorf("confirm that the namespace is as in the cache: %w", err)
	}
	if policy.New(list.Items).Permission(Labels(namespace), u, now) != permission {
		return fmt.Errorf("the cache has other policies: %w", store.ErrConflict)
	}
	return nil
}

func (p *Policies) all(ctx context.Context) (policy.Set, error) {
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

// list returns the cached policies. The caller must not change them.
func (p *Policies) list(ctx context.Context) ([]v1alpha1.ShardingUserPolicy, error) {
	var list v1alpha1.ShardingUserPolicyList
	if err := p.cached.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ShardingUserPolicies from the cache: %w", err)
	}
	return list.Items, nil
}

// Namespace returns an empty object for the metadata of a namespace, all that the cache has of it.
func Namespace() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// Edits passes all changes of policies but those of statuses.
func Edits() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return IsEdit(e.ObjectOld, e.ObjectNew) }}
}

// IsEdit reports whether a policy says something else than before. A policy that was deleted and created again while nothing
// watched comes as an update from generation 1 to generation 1.
func IsEdit(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID()
}

// HasOtherLabels reports whether the labels of a namespace changed.
func HasOtherLabels(before, after client.Object) bool {
	return !maps.Equal(before.GetLabels(), after.GetLabels())
}

// Namespaces returns the namespaces that at least one of the policies selects.
func Namespaces(ctx context.Context, cached client.Reader, policies ...*v1alpha1.ShardingUserPolicy) ([]string, error) {
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := cached.List(ctx, namespaces); err != nil {
		return nil, fmt.Errorf("list the namespaces from the cache: %w", err)
	}
	var selected []string
	for i := range namespaces.Items {
		labels := Labels(&namespaces.Items[i])
		if slices.ContainsFunc(policies, func(p *v1alpha1.ShardingUserPolicy) bool { return policy.Selects(p, labels) }) {
			selected = append(selected, namespaces.Items[i].Name)
		}
	}
	return selected, nil
}
