// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var gone = user.Owner{Cluster: "c", Namespace: "team-a", Name: "alice", UID: "1"}

func left(state user.OwnershipState, row *user.Row) user.Observed {
	return user.Observed{Row: row, Ownership: &user.Ownership{
		Owner: gone, State: state, Generation: 3, Revision: 7, Deletion: v1alpha1.DeletionDelete, Lockout: user.Lockout{Attempts: 2},
	}}
}

func TestLeaverIsAnActiveAccountWithARecord(t *testing.T) {
	active := &user.Row{Active: true, Roles: []string{"admin", "viewer"}}
	for name, tt := range map[string]struct {
		observed user.Observed
		want     bool
	}{
		"an owned account":    {left(user.Owned, active), true},
		"a released account":  {left(user.Released, active), true},
		"a deleted account":   {left(user.Deleted, active), false},
		"an inactive account": {left(user.Owned, &user.Row{}), false},
		"a missing row":       {left(user.Owned, nil), false},
		"a row without owner": {user.Observed{Row: active}, false},
	} {
		u := user.Leaver("alice.a", tt.observed)
		if (u != nil) != tt.want {
			t.Errorf("%s is a leaver: %t, want %t", name, u != nil, tt.want)
		}
		if u == nil {
			continue
		}
		want := &v1alpha1.ShardingUser{}
		want.Namespace, want.Name = "team-a", "alice"
		want.Spec = v1alpha1.ShardingUserSpec{
			Username: "alice.a", Roles: []v1alpha1.Role{"admin", "viewer"}, DeletionPolicy: v1alpha1.DeletionRetain,
		}
		if diff := cmp.Diff(want, u); diff != "" {
			t.Errorf("%s is judged by another resource (-want +got):\n%s", name, diff)
		}
	}
}

func TestSuspensionEndangersProtectedRoles(t *testing.T) {
	o := left(user.Released, &user.Row{Active: true, Roles: []string{"viewer", "admin"}})
	want := user.Change{
		Verb: user.Suspend, Username: "alice.a", Owner: gone, Generation: 3, Revision: 7, Deletion: v1alpha1.DeletionDelete,
		Suspended: true, Lockout: user.Lockout{Attempts: 2}, Endangered: []string{"admin"},
	}
	if diff := cmp.Diff(want, user.Suspension("alice.a", o, []string{"auditor", "admin"})); diff != "" {
		t.Errorf("the change differs (-want +got):\n%s", diff)
	}
}

func TestHoldsRow(t *testing.T) {
	held := user.Desired{Owner: gone, Roles: []string{"viewer"}, Paused: true}
	successor := held
	successor.Owner.UID = "2"
	running, deleting := held, held
	running.Paused, deleting.Deleting = false, true
	admin := &user.Row{Active: true, Roles: []string{"admin"}}
	suspended := left(user.Owned, &user.Row{Roles: []string{"admin"}})
	suspended.Ownership.Suspended = true
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		want     bool
	}{
		"its own row":                       {held, left(user.Owned, admin), true},
		"its predecessor's row":             {successor, left(user.Owned, admin), true},
		"a row that a policy deactivated":   {held, suspended, true},
		"the same roles":                    {held, left(user.Owned, &user.Row{Active: true, Roles: []string{"viewer"}}), false},
		"an inactive row":                   {held, left(user.Owned, &user.Row{Roles: []string{"admin"}}), false},
		"a resource that is not paused":     {running, left(user.Owned, admin), false},
		"a resource that is being deleted":  {deleting, left(user.Owned, admin), true},
		"a released row":                    {held, left(user.Released, admin), false},
		"a row without an ownership record": {held, user.Observed{Row: admin}, false},
		"no row":                            {held, left(user.Owned, nil), false},
	} {
		if got := tt.desired.HoldsRow(tt.observed); got != tt.want {
			t.Errorf("%s: holds %t, want %t", name, got, tt.want)
		}
	}
}
