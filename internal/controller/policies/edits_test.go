// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestEditsOfPolicies(t *testing.T) {
	policy := func(uid types.UID, generation int64, version string) *v1alpha1.ShardingUserPolicy {
		return &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{UID: uid, Generation: generation, ResourceVersion: version}}
	}
	for name, tt := range map[string]struct {
		before, after *v1alpha1.ShardingUserPolicy
		want          bool
	}{
		"an edit":                    {policy("a", 1, "7"), policy("a", 2, "8"), true},
		"a status":                   {policy("a", 2, "7"), policy("a", 2, "8"), false},
		"a new one of the same name": {policy("a", 1, "7"), policy("b", 1, "9"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Edits().Update(event.UpdateEvent{ObjectOld: tt.before, ObjectNew: tt.after}); got != tt.want {
				t.Errorf("passed: %t, want %t", got, tt.want)
			}
		})
	}
}
