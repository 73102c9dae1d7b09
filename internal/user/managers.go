// SPDX-License-Identifier: Apache-2.0

package user

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Managers are the field managers of a resource that wrote latest what an account depends on; "" if Kubernetes does not know.
type Managers struct {
	Spec    string // of the spec
	Unlock  string // of the unlock request
	SignOut string // of the sign-out request
}

// managersOf returns the field managers of a resource.
func managersOf(u *v1alpha1.ShardingUser) Managers {
	latest := latestManagers(u.ManagedFields)
	name := func(part managedPart) string {
		if latest[part] == nil {
			return ""
		}
		return latest[part].Manager
	}
	return Managers{Spec: name(managedSpec), Unlock: name(managedUnlock), SignOut: name(managedSignOut)}
}

// managedPart is a part of a resource that has a manager.
type managedPart int

const (
	managedSpec managedPart = iota
	managedUnlock
	managedSignOut
	managedParts
)

// briefFields are the fields of the entries that BriefManagedFields returns. All resources share them.
var briefFields = [managedParts]*metav1.FieldsV1{
	metav1.NewFieldsV1(`{"f:spec":{}}`),
	metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + v1alpha1.AnnotationUnlockRequestedAt + `":{}}}}`),
	metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + v1alpha1.AnnotationSignOutRequestedAt + `":{}}}}`),
}

// BriefManagedFields returns the part of a resource's managed fields that FromResource reads. A cache keeps it for each resource.
func BriefManagedFields(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var brief []metav1.ManagedFieldsEntry
	for part, entry := range latestManagers(entries) {
		if entry != nil {
			brief = append(brief, metav1.ManagedFieldsEntry{Manager: entry.Manager, FieldsV1: briefFields[part]})
		}
	}
	return brief
}

// latestManagers returns the latest entry that owns each part; nil if there is none. Of entries of the same second, the last one
// counts.
func latestManagers(entries []metav1.ManagedFieldsEntry) (latest [managedParts]*metav1.ManagedFieldsEntry) {
	for i := range entries {
		entry := &entries[i]
		for part, isOwned := range ownedParts(entry) {
			if isOwned && isLater(entry, latest[part]) {
				latest[part] = entry
			}
		}
	}
	return latest
}

// ownedParts reports which parts an entry owns.
func ownedParts(entry *metav1.ManagedFieldsEntry) (parts [managedParts]bool) {
	var owned struct {
		Spec     json.RawMessage `json:"f:spec"`
		Metadata struct {
			Annotations map[string]json.RawMessage `json:"f:annotations"`
		} `json:"f:metadata"`
	}
	if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
		return parts
	}
	parts[managedSpec] = owned.Spec != nil
	_, parts[managedUnlock] = owned.Metadata.Annotations["f:"+v1alpha1.AnnotationUnlockRequestedAt]
	_, parts[managedSignOut] = owned.Metadata.Annotations["f:"+v1alpha1.AnnotationSignOutRequestedAt]
	return parts
}

// isLater reports whether an entry is not older than the other one, which may be nil.
func isLater(entry, other *metav1.ManagedFieldsEntry) bool {
	return other == nil || other.Time == nil || entry.Time != nil && !entry.Time.Before(other.Time)
}
