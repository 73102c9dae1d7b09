// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
)

// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,verbs=create
// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,resourceNames=shardinguser-policies,verbs=get;patch

// IndexName is the name of the ConfigMap, in the manager's namespace, that tells the ValidatingAdmissionPolicy of
// config/admission what policies say. Nothing else reads it: the reconciler decides by the policies themselves.
const IndexName = "shardinguser-policies"

// statuses reports for each policy whether it is in force, and publishes all of them as the index.
type statuses struct {
	client    client.Client
	live      client.Reader
	policies  *Policies
	namespace string
	conflicts queue.Conflicts
}

// AddStatuses adds the controller of the policies' statuses to the manager, and of the index in the manager's own namespace.
// It also checks the index at start, since policies may have been deleted while no operator ran.
func AddStatuses(mgr ctrl.Manager, policies *Policies, namespace string) error {
	s := &statuses{client: mgr.GetClient(), live: mgr.GetAPIReader(), policies: policies, namespace: namespace}
	begin := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.Add(reconcile.Request{})
		return nil
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("shardinguserpolicy").
		For(&v1alpha1.ShardingUserPolicy{}, builder.WithPredicates(Edits())).
		WatchesRawSource(begin).
		Complete(s)
	if err != nil {
		return fmt.Errorf("set up the controller of policies: %w", err)
	}
	return nil
}

// Reconcile writes the status of a policy, if there is one of that name, and the index.
func (s *statuses) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &v1alpha1.ShardingUserPolicy{}
	switch err := s.client.Get(ctx, req.NamespacedName, p); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("read the policy: %w", err)
	default:
		if err := s.report(ctx, p); err != nil {
			return s.conflicts.Requeue(ctx, req, ctrl.Result{}, err)
		}
	}
	return s.conflicts.Requeue(ctx, req, ctrl.Result{}, s.publish(ctx))
}

// report writes the status where it differs.
func (s *statuses) report(ctx context.Context, p *v1alpha1.ShardingUserPolicy) error {
	before := p.DeepCopy()
	p.Status.ObservedGeneration = p.Generation
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted,
		Message: "Users are permitted by this policy.", ObservedGeneration: p.Generation,
	}
	if err := policy.Check(p); err != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v1alpha1.ReasonInvalid, "The policy permits nobody: "+err.Error()
		stalled := ready
		stalled.Type, stalled.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
		meta.SetStatusCondition(&p.Status.Conditions, stalled)
	} else {
		meta.RemoveStatusCondition(&p.Status.Conditions, v1alpha1.ConditionStalled)
	}
	meta.SetStatusCondition(&p.Status.Conditions, ready)
	if equality.Semantic.DeepEqual(before.Status, p.Status) {
		return nil
	}
	err := s.client.Status().Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write the policy's status: %w", err)
	}
	return nil
}

// publish writes the index if it differs. It only serves early errors, so a missing right or namespace is no error.
func (s *statuses) publish(ctx context.Context) error {
	list, err := s.policies.list(ctx)
	if err != nil {
		return err
	}
	index := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: s.namespace, Name: IndexName}
	data := policy.Index(list)
	if size(data) > mostIndex {
		logf.FromContext(ctx).Info("The policies are too large to be published for admission; the operator still enforces them")
		data = nil // an old one would reject what is permitted by now
	}
	switch err = s.live.Get(ctx, key, index); {
	case len(data) == 0 && (apierrors.IsNotFound(err) || apierrors.IsForbidden(err)):
		return nil // nothing to publish
	case apierrors.IsNotFound(err):
		index.ObjectMeta = metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
		index.Data = data
		if err = s.client.Create(ctx, index); apierrors.IsAlreadyExists(err) {
			return s.publish(ctx) // the manager of another system created it meanwhile
		}
	case err == nil && !maps.Equal(index.Data, data):
		before := index.DeepCopy()
		index.Data = data
		err = s.client.Patch(ctx, index, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		logf.FromContext(ctx).Info("Cannot publish the policies for admission; the operator still enforces them",
			"configMap", key.String(), "error", err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("publish the policies: %w", err)
	}
	return nil
}

// mostIndex is a number of bytes that a ConfigMap holds, including keys.
const mostIndex = 1_000_000

func size(data map[string]string) (bytes int) {
	for key, value := range data {
		bytes += len(key) + len(value)
	}
	return bytes
}

// checkTimeout bounds Check.
const checkTimeout = 10 * time.Second

// Check asks the API server for policies, as the manager will. The error says what to do if only people can fix it.
func Check(ctx context.Context, reader client.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := reader.List(ctx, &v1alpha1.ShardingUserPolicyList{}, client.Limit(1))
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("read ShardingUserPolicies: %w; apply config/rbac, which allows it, or set --policies=off", err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("read ShardingUserPolicies: %w; apply config/crd, or set --policies=off", err)
	case err != nil:
		return fmt.Errorf("read ShardingUserPolicies: %w", err)
	}
	return nil
}
