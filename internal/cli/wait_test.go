// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestWhenAnEditIsInTheRow(t *testing.T) {
	stalled := func(u *v1alpha1.ShardingUser) {
		u.Status.Conditions = append(u.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, ObservedGeneration: u.Generation,
		})
	}
	for name, tt := range map[string]struct {
		user  *v1alpha1.ShardingUser
		want  bool
		never bool
	}{
		"when all is":                               {aUser(), true, false},
		"not when it is of the edit before":         {aUser(edited), false, false},
		"not when nobody saw it":                    {aUser(unseen), false, false},
		"when all is but for a Secret that is gone": {aUser(ready(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound), stalled), true, false},
		"or for a password that is none":            {aUser(ready(metav1.ConditionFalse, v1alpha1.ReasonPasswordInvalid), stalled), true, false},
		"not while the database is unavailable":     {aUser(ready(metav1.ConditionFalse, v1alpha1.ReasonDatabaseUnavailable)), false, false},
		"never when it is refused":                  {aUser(ready(metav1.ConditionFalse, v1alpha1.ReasonLastAdministrator), stalled), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := applied(tt.user)
			if got != tt.want || (err != nil) != tt.never || (err != nil && !isFinding(err)) {
				t.Errorf("applied = %v, %v", got, err)
			}
		})
	}
}
