// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestTheLatestFieldManagerOfTheSpecAndOfTheUnlockRequestIsKnown(t *testing.T) {
	t.Parallel()
	entry := func(manager string, second int, fields string) metav1.ManagedFieldsEntry {
		e := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "sharding.io/v1alpha1", FieldsType: "FieldsV1"}
		if second > 0 {
			e.Time = &metav1.Time{Time: time.Unix(int64(second), 0)}
		}
		if fields != "" {
			e.FieldsV1 = metav1.NewFieldsV1(fields)
		}
		return e
	}
	const (
		spec   = `{"f:spec":{"f:roles":{}}}`
		labels = `{"f:metadata":{"f:labels":{"f:team":{}}}}`
		unlock = `{"f:metadata":{"f:annotations":{".":{},"f:sharding.io/unlock-requested-at":{}}}}`
		leave  = `{"f:metadata":{"f:annotations":{"f:sharding.io/sign-out-requested-at":{}}}}`
		status = `{"f:status":{"f:locked":{}}}`
	)
	for name, tt := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    user.Managers
	}{
		"none":                        {nil, user.Managers{}},
		"one":                         {[]metav1.ManagedFieldsEntry{entry("kubectl", 1, spec)}, user.Managers{Spec: "kubectl"}},
		"the latest, first":           {[]metav1.ManagedFieldsEntry{entry("argocd", 2, spec), entry("kubectl", 1, spec)}, user.Managers{Spec: "argocd"}},
		"the latest, last":            {[]metav1.ManagedFieldsEntry{entry("argocd", 1, spec), entry("kubectl-edit", 2, spec)}, user.Managers{Spec: "kubectl-edit"}},
		"the last of one second":      {[]metav1.ManagedFieldsEntry{entry("argocd", 1, spec), entry("kubectl-edit", 1, spec)}, user.Managers{Spec: "kubectl-edit"}},
		"none that owns other":        {[]metav1.ManagedFieldsEntry{entry("argocd", 1, spec), entry("labeler", 2, labels), entry("manager", 3, status)}, user.Managers{Spec: "argocd"}},
		"another one of the unlock":   {[]metav1.ManagedFieldsEntry{entry("argocd", 3, spec), entry("kubectl-shardinguser", 2, unlock)}, user.Managers{Spec: "argocd", Unlock: "kubectl-shardinguser"}},
		"another one of the sign-out": {[]metav1.ManagedFieldsEntry{entry("argocd", 3, spec), entry("kubectl-shardinguser", 2, leave)}, user.Managers{Spec: "argocd", SignOut: "kubectl-shardinguser"}},
		"without a time":              {[]metav1.ManagedFieldsEntry{entry("old", 0, spec), entry("kubectl", 1, spec)}, user.Managers{Spec: "kubectl"}},
		"without fields, or others":   {[]metav1.ManagedFieldsEntry{entry("argocd", 1, spec), entry("a", 2, ""), entry("b", 3, `[]`), entry("c", 4, `{`)}, user.Managers{Spec: "argocd"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &v1alpha1.ShardingUser{}
			u.ManagedFields = tt.entries
			if diff := cmp.Diff(tt.want, user.FromResource("cluster-1", u).Managers); diff != "" {
				t.Errorf("the managers differ (-want +got):\n%s", diff)
			}
			u.ManagedFields = user.BriefManagedFields(tt.entries)
			if diff := cmp.Diff(tt.want, user.FromResource("cluster-1", u).Managers); diff != "" {
				t.Errorf("the managers of a cached resource differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(u.ManagedFields, user.BriefManagedFields(u.ManagedFields)); diff != "" {
				t.Errorf("a cached resource is trimmed further (-once +twice):\n%s", diff)
			}
		})
	}
}
