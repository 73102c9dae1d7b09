// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// An edit changes the user that tests begin with, who is ready.
type edit func(*v1alpha1.ShardingUser)

func aUser(edits ...edit) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "alice", Generation: 3, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
		Spec:       v1alpha1.ShardingUserSpec{Roles: []v1alpha1.Role{"operator", "viewer"}, DeletionPolicy: v1alpha1.DeletionDelete},
		Status:     v1alpha1.ShardingUserStatus{ObservedGeneration: 3},
	}
	ready(metav1.ConditionTrue, v1alpha1.ReasonSynced)(u)
	for _, change := range edits {
		change(u)
	}
	return u
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ready(status metav1.ConditionStatus, reason string) edit {
	return func(u *v1alpha1.ShardingUser) {
		u.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: "Because.", ObservedGeneration: u.Generation,
		}}
	}
}

func annotated(name string) edit {
	return func(u *v1alpha1.ShardingUser) { u.Annotations = map[string]string{name: "true"} }
}

func inactive(u *v1alpha1.ShardingUser) { u.Spec.Active = new(bool) }

func locked(u *v1alpha1.ShardingUser) {
	u.Status.Locked, u.Status.FailedLoginAttempts = true, 5
	u.Status.LockedUntil = new(metav1.NewTime(now))
}

func deleted(u *v1alpha1.ShardingUser) {
	u.DeletionTimestamp = new(metav1.NewTime(now.Add(-time.Minute)))
}

func edited(u *v1alpha1.ShardingUser) { u.Generation++ }

func unseen(u *v1alpha1.ShardingUser) { u.Status = v1alpha1.ShardingUserStatus{ObservedGeneration: -1} }

func weak(u *v1alpha1.ShardingUser) {
	u.Status.Conditions = append(u.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionWeakPassword, Status: metav1.ConditionTrue, Message: "Weak."})
}

func suspicious(u *v1alpha1.ShardingUser) {
	u.Status.Conditions = append(u.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionPasswordSuspicious, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonLooksQuoted, Message: "Quoted.",
	})
}

func TestStateSaysFirstWhatIsWrong(t *testing.T) {
	notReady := ready(metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	for name, tt := range map[string]struct {
		u    *v1alpha1.ShardingUser
		want string
	}{
		"who is in order is ready":                 {aUser(), "Ready"},
		"whose spec is not met is told the reason": {aUser(notReady), "NotReady: SecretNotFound"},
		"who is locked is told until when":         {aUser(locked), "Locked until 2026-01-02T03:04:05Z"},
		"who may not log in is inactive":           {aUser(inactive), "Inactive"},
		"who was edited since is pending":          {aUser(edited), "Pending"},
		"whom nobody has seen is pending":          {aUser(unseen), "Pending"},
		"whom nothing is done for is paused":       {aUser(ready(metav1.ConditionUnknown, v1alpha1.ReasonPaused), annotated(v1alpha1.AnnotationPaused)), "Paused"},
		"who goes is terminating":                  {aUser(deleted, notReady), "Terminating"},
		"all that is so is told":                   {aUser(notReady, locked, inactive), "NotReady: SecretNotFound, Locked until 2026-01-02T03:04:05Z, Inactive"},
		"a weak password is no state":              {aUser(weak), "Ready"},
		"nor is a suspicious one":                  {aUser(suspicious), "Ready"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := state(tt.u); got != tt.want {
				t.Errorf("state = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	u := *aUser(weak, func(u *v1alpha1.ShardingUser) {
		u.Spec.Username = "alice@example.com"
		u.Status.LastLoginTime = new(metav1.NewTime(now.Add(-90 * time.Minute)))
		u.Status.PermittedBy = "team"
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: "s"}}
	})
	narrow := []string{"alice", "alice@example.com", "Ready", "operator,viewer", "0", "90m"}
	for name, tt := range map[string]struct {
		wide, namespaces bool
		want             []string
	}{
		"are what one asks for at a glance":      {false, false, narrow},
		"begin with the namespace among several": {false, true, append([]string{"team-a"}, narrow...)},
		"end with more where there is room":      {true, false, append(narrow[:len(narrow):len(narrow)], "", "s", "team", "WeakPassword", "60m")},
	} {
		t.Run(name, func(t *testing.T) {
			header, rows := columns([]v1alpha1.ShardingUser{u}, now, tt.wide, tt.namespaces)
			if diff := cmp.Diff([][]string{tt.want}, rows); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
			if len(header) != len(tt.want) {
				t.Errorf("%d headings over %d columns", len(header), len(tt.want))
			}
		})
	}
}
