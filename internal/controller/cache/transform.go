// SPDX-License-Identifier: Apache-2.0

// Package cache decides what the manager's cache keeps and how it is searched: what is trimmed from each object, which
// kinds there are, and the indexes of ShardingUsers.
package cache

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Trim is a transform for the manager's cache. It drops fields that are never read, and shares equal texts of many
// resources. Of a Secret it keeps only name, version and controller: kubectl apply leaves a copy of the whole Secret in
// an annotation. Of a namespace it also keeps the labels.
func Trim(o any) (any, error) {
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		trimmed := &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: shared(o.APIVersion), Kind: shared(o.Kind)},
			ObjectMeta: metav1.ObjectMeta{
				Namespace:       shared(o.Namespace),
				Name:            o.Name,
				UID:             o.UID,
				ResourceVersion: o.ResourceVersion,
			},
		}
		if o.Kind == "Namespace" {
			trimmed.Labels = o.Labels
		}
		if owner := metav1.GetControllerOf(o); owner != nil && owner.Kind == "ShardingUser" {
			trimmed.OwnerReferences = []metav1.OwnerReference{{UID: owner.UID, Controller: owner.Controller}}
		}
		return trimmed, nil
	case *v1alpha1.ShardingUser:
		trimUser(o)
		return o, nil
	}
	return cache.TransformStripManagedFields()(o)
}

// trimUser trims a user in place. A patch sends only changed fields, so trimmed fields keep their value on the server.
func trimUser(u *v1alpha1.ShardingUser) {
	u.ManagedFields = user.BriefManagedFields(u.ManagedFields)
	for i := range u.ManagedFields {
		u.ManagedFields[i].Manager = shared(u.ManagedFields[i].Manager)
	}
	if delete(u.Annotations, corev1.LastAppliedConfigAnnotation); len(u.Annotations) == 0 {
		u.Annotations = nil
	}
	u.APIVersion, u.Kind, u.Namespace = shared(u.APIVersion), shared(u.Kind), shared(u.Namespace)
	share(u.Finalizers)
	share(u.Spec.Roles)
	u.Spec.System = shared(u.Spec.System)
	u.Spec.AdoptionPolicy, u.Spec.DeletionPolicy = shared(u.Spec.AdoptionPolicy), shared(u.Spec.DeletionPolicy)
	if p := u.Spec.Password; p != nil {
		p.SecretRef.Key, p.Format = shared(p.SecretRef.Key), shared(p.Format)
	}
	if u.Status.Username == u.Name {
		u.Status.Username = u.Name
	}
	for i := range u.Status.Conditions {
		c := &u.Status.Conditions[i]
		c.Type, c.Status, c.Reason, c.Message = shared(c.Type), shared(c.Status), shared(c.Reason), shared(c.Message)
	}
}

// shared returns an equal text whose memory all users of that text share.
func shared[T ~string](text T) T { return unique.Make(text).Value() }

func share[T ~string](texts []T) {
	for i, text := range texts {
		texts[i] = shared(text)
	}
}
