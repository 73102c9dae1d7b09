// SPDX-License-Identifier: Apache-2.0

package controller

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// Trim is a transform for the manager's cache: it keeps out what nobody reads. Of a Secret only its name and version are
// read, and the rest must not be kept: kubectl apply leaves a copy of the whole Secret in an annotation.
func Trim(o any) (any, error) {
	metadata, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return cache.TransformStripManagedFields()(o)
	}
	return &metav1.PartialObjectMetadata{
		TypeMeta: metadata.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       metadata.Namespace,
			Name:            metadata.Name,
			UID:             metadata.UID,
			ResourceVersion: metadata.ResourceVersion,
		},
	}, nil
}
