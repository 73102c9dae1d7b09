// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestTheLockedConditionSaysWhetherFamiliarAddressesCanLogIn(t *testing.T) {
	const (
		checked = "from addresses that the account logged in from lately are still checked"
		refused = "Logins from familiar addresses are refused until 2026-"
	)
	soon := now.Add(time.Hour)
	for name, tt := range map[string]struct {
		split            bool
		locked, familiar *time.Time
		reason           string
		says, saysNot    string
	}{
		"one budget, locked":            {false, &soon, nil, v1alpha1.ReasonTooManyFailedAttempts, "refused until", "familiar"},
		"the common one is locked":      {true, &soon, nil, v1alpha1.ReasonTooManyFailedAttempts, checked, refused},
		"both are locked":               {true, &soon, &soon, v1alpha1.ReasonTooManyFailedAttempts, refused, checked},
		"the familiar one is locked":    {true, nil, &soon, v1alpha1.ReasonNotLocked, refused, checked},
		"the familiar one's lock ended": {true, nil, &now, v1alpha1.ReasonNotLocked, "not locked", "familiar"},
		"neither is locked":             {true, nil, nil, v1alpha1.ReasonNotLocked, "not locked", "familiar"},
	} {
		t.Run(name, func(t *testing.T) {
			owner := user.Owner{Namespace: "team-a", Name: "alice", UID: "1"}
			o := user.Observed{
				Now:       now,
				Row:       &user.Row{Active: true, LockedUntil: tt.locked, FamiliarLockedUntil: tt.familiar},
				Ownership: &user.Ownership{Owner: owner, State: user.Owned, Lockout: user.Lockout{Familiar: tt.split}},
			}
			s := status(t, fresh(), user.Desired{Owner: owner, Username: "alice", Active: true}, &o, nil)
			c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionLocked)
			if c.Reason != tt.reason || !strings.Contains(c.Message, tt.says) || strings.Contains(c.Message, tt.saysNot) {
				t.Errorf("%s: %s", c.Reason, c.Message)
			}
			if s.Locked != (tt.locked != nil) {
				t.Errorf("locked is %t", s.Locked)
			}
		})
	}
}
