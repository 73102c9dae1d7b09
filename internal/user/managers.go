// SPDX-License-Identifier: Apache-2.0

package user

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Managers are the field managers of a resource that wrote latest what an account depends on; "" if Kubernetes does not know.
type Managers struct {
	Spec   string // of the spec
	Unlock string // of the unlock request
}

// managersOf returns the field managers of a resource.
func managersOf(u *v1alpha1.ShardingUser) Managers {
	spec, unlock := latestManagers(u.ManagedFields)
	var m Managers
	if spec != nil {
		m.Spec = spec.Manager
	}
	if unlock != nil {
		m.Unlock = unlock.Manager
	}
	return m
}

// The fields of the entries that BriefManagedFields returns. All resources share them.
var (
	briefSpec   = metav1.NewFieldsV1(`{"f:spec":{}}`)
	briefUnlock = metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + v1alpha1.AnnotationUnlockRequestedAt + `":{}}}}`)
)

// BriefManagedFields returns the part of a resource's managed fields that FromResource reads. A cache keeps it for each resource.
func BriefManagedFields(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	spec, unlock := latestManagers(entries)
	var brief []metav1.ManagedFieldsEntry
	if spec != nil {
		brief = append(brief, metav1.ManagedFieldsEntry{Manager: spec.Manager, FieldsV1: briefSpec})
	}
	if unlock != nil {
		brief = append(brief, metav1.ManagedFieldsEntry{Manager: unlock.Manager, FieldsV1: briefUnlock})
	}
	return brief
}

// latestManagers returns the latest entries that own a part of the spec, and the unlock request; nil if there are none. Of
// entries of the same second, the last one counts.
func latestManagers(entries []metav1.ManagedFieldsEntry) (spec, unlock *metav1.ManagedFieldsEntry) {
	for i := range entries {
		entry := &entries[i]
		if entry.FieldsV1 == nil {
			continue
		}
		var owned struct {
			Spec     json.RawMessage `json:"f:spec"`
			Metadata struct {
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		if owned.Spec != nil && isLater(entry, spec) {
			spec = entry
		}
		if _, ok := owned.Metadata.Annotations["f:"+v1alpha1.AnnotationUnlockRequestedAt]; ok && isLater(entry, unlock) {
			unlock = entry
		}
	}
	return spec, unlock
}

// isLater reports whether an entry is not older than the other one, which may be nil.
func isLater(entry, other *metav1.ManagedFieldsEntry) bool {
	return other == nil || other.Time == nil || entry.Time != nil && !entry.Time.Before(other.Time)
}
