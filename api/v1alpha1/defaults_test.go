// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// unseen is the status of a resource that the operator has not seen yet.
func unseen() fields {
	return fields{
		"observedGeneration": int64(-1), "locked": false, "expired": false, "failedLoginAttempts": int64(0),
		"conditions": []any{fields{
			"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "The operator has not processed the resource yet.",
			"lastTransitionTime": "1970-01-01T00:00:00Z",
		}},
	}
}

// plainSpec is the spec of a user of whom nothing was said.
func plainSpec() fields {
	return fields{"active": true, "roles": []any{}, "adoptionPolicy": "Never", "deletionPolicy": "Delete"}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	for name, tt := range map[string]struct {
		name       string
		spec, want fields
	}{
		"no spec at all":    {"no-spec", nil, plainSpec()},
		"an empty spec":     {"empty", fields{}, plainSpec()},
		"nothing but nulls": {"nulls", fields{"roles": nil, "active": nil, "adoptionPolicy": nil, "deletionPolicy": nil, "password": nil}, plainSpec()},
		"a password with only the name of a Secret": {
			"password",
			fields{"password": fields{"secretRef": fields{"name": "s"}}},
			with(plainSpec(), fields{
				"password": fields{"format": "Plain", "secretRef": fields{"name": "s", "key": "password"}},
			}),
		},
		"what was said stays": {
			"all",
			fields{
				"username": "alice", "active": false, "roles": []any{"viewer", "admin"},
				"adoptionPolicy": "IfUnowned", "deletionPolicy": "Retain",
				"password": fields{"format": "Bcrypt", "secretRef": fields{"name": "s", "key": "k"}},
			},
			fields{
				"username": "alice", "active": false, "roles": []any{"viewer", "admin"},
				"adoptionPolicy": "IfUnowned", "deletionPolicy": "Retain",
				"password": fields{"format": "Bcrypt", "secretRef": fields{"name": "s", "key": "k"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := created(t, c, manifest(ns, tt.name, tt.spec))
			delete(got.Object, "metadata")
			want := fields{
				"apiVersion": "sharding.io/v1alpha1", "kind": "ShardingUser", "spec": tt.want, "status": unseen(),
			}
			if diff := cmp.Diff(want, got.Object); diff != "" {
				t.Errorf("another object is stored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATypedUserIsStoredAsAnEmptyOne(t *testing.T) {
	t.Parallel()
	c := server(t)
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace(t, c), Name: "alice"}}
	if err := c.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	got := stored(t, c, manifest(u.Namespace, u.Name, nil)).Object
	if diff := cmp.Diff(fields{"spec": plainSpec(), "status": unseen()}, fields{"spec": got["spec"], "status": got["status"]}); diff != "" {
		t.Errorf("another object is stored (-want +got):\n%s", diff)
	}
	if u.Status.ObservedGeneration != -1 || u.Status.Locked {
		t.Errorf("the answer has the status %+v, want one that was not observed yet", u.Status)
	}
}

func TestFieldSelectors(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	created(t, c, manifest(ns, "new", nil))
	created(t, c, manifest(ns, "inactive", fields{"active": false}))
	created(t, c, manifest(ns, "of-orders", fields{"active": false, "system": "orders"}))
	writeStatus(t, c, created(t, c, manifest(ns, "locked", nil)), fields{"locked": true, "username": "locked"})
	writeStatus(t, c, created(t, c, manifest(ns, "seen", fields{"username": "bob"})), fields{"locked": false, "username": "bob"})

	for selector, want := range map[string][]string{
		"status.locked=false":                     {"inactive", "new", "of-orders", "seen"},
		"status.locked!=true":                     {"inactive", "new", "of-orders", "seen"},
		"status.locked=true":                      {"locked"},
		"spec.active=true":                        {"locked", "new", "seen"},
		"spec.active=false":                       {"inactive", "of-orders"},
		"spec.system=":                            {"inactive", "locked", "new", "seen"},
		"spec.system=orders":                      {"of-orders"},
		"spec.system!=":                           {"of-orders"},
		"spec.system!=orders,spec.active=false":   {"inactive"},
		"status.username=":                        {"inactive", "new", "of-orders"},
		"status.username=bob":                     {"seen"},
		"status.username!=":                       {"locked", "seen"},
		"status.locked=false,spec.active=true":    {"new", "seen"},
		"status.username=bob,status.locked=true":  nil,
		"metadata.name=locked,status.locked=true": {"locked"},
	} {
		t.Run(selector, func(t *testing.T) {
			list := &v1alpha1.ShardingUserList{}
			err := c.List(t.Context(), list, client.InNamespace(ns), &client.ListOptions{Raw: &metav1.ListOptions{FieldSelector: selector}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range list.Items {
				got = append(got, list.Items[i].Name)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("it selects %v, want %v", got, want)
			}
		})
	}
}

// writeStatus writes these fields of the status, and nothing else.
func writeStatus(t *testing.T, c client.Client, u *unstructured.Unstructured, status fields) {
	t.Helper()
	base := u.DeepCopy()
	u.Object["status"] = status
	if err := c.Status().Patch(t.Context(), u, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
}

func TestStatusIsApartFromSpec(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	claimed := fields{"observedGeneration": int64(1), "locked": true, "failedLoginAttempts": int64(9), "username": "x"}

	u := manifest(ns, "alice", fields{"active": true})
	u.Object["status"] = claimed
	u = created(t, c, u)
	if diff := cmp.Diff(unseen(), u.Object["status"]); diff != "" {
		t.Errorf("a create sets the status (-want +got):\n%s", diff)
	}

	edit := u.DeepCopy()
	edit.Object["spec"] = with(plainSpec(), fields{"active": false})
	edit.Object["status"] = claimed
	if err := c.Update(t.Context(), edit); err != nil {
		t.Fatal(err)
	}
	u = stored(t, c, u)
	if diff := cmp.Diff(unseen(), u.Object["status"]); diff != "" {
		t.Errorf("an edit sets the status (-want +got):\n%s", diff)
	}
	if got := u.GetGeneration(); got != 2 {
		t.Errorf("after an edit the generation is %d, want 2", got)
	}

	report := u.DeepCopy()
	report.Object["spec"] = plainSpec()
	report.Object["status"] = claimed
	if err := c.Status().Update(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	u = stored(t, c, u)
	if diff := cmp.Diff(with(plainSpec(), fields{"active": false}), u.Object["spec"]); diff != "" {
		t.Errorf("a write of the status edits the spec (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(with(claimed, fields{"expired": false}), u.Object["status"]); diff != "" {
		t.Errorf("the status says something else (-want +got):\n%s", diff)
	}
	if got := u.GetGeneration(); got != 2 {
		t.Errorf("after a status the generation is %d, want 2", got)
	}
}

func TestAWholeStatusComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	c := server(t)
	u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: namespace(t, c), Name: "alice"}}
	if err := c.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	at := func(hours int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, time.March, 4, hours, 0, 0, 0, time.UTC).Local()}
	}
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: "It is so.", ObservedGeneration: 1, LastTransitionTime: *at(1),
		}
	}
	statuses := map[string]v1alpha1.ShardingUserStatus{
		"a locked user": {
			ObservedGeneration: 1, Username: "alice", Locked: true, FailedLoginAttempts: 5,
			LockedUntil: at(4), LastLoginTime: at(3), PasswordChangedTime: at(2), LastHandledUnlock: "t1",
			Conditions: []metav1.Condition{
				condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPasswordInvalid),
				condition(v1alpha1.ConditionLocked, metav1.ConditionTrue, v1alpha1.ReasonTooManyFailedAttempts),
				condition(v1alpha1.ConditionWeakPassword, metav1.ConditionTrue, v1alpha1.ReasonWellKnown),
				condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonPasswordInvalid),
			},
		},
		"a user about whom there is nothing to tell": {
			ObservedGeneration: 1, Username: "alice",
			Conditions: []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPaused)},
		},
	}
	for _, name := range []string{"a locked user", "a user about whom there is nothing to tell"} {
		t.Run(name, func(t *testing.T) {
			want := statuses[name]
			base := u.DeepCopy()
			u.Status = *want.DeepCopy()
			if err := c.Status().Patch(t.Context(), u, client.MergeFrom(base)); err != nil {
				t.Fatal(err)
			}
			var got v1alpha1.ShardingUser
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(u), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Status); diff != "" {
				t.Errorf("the status says something else (-want +got):\n%s", diff)
			}
			// Selectors and columns need these even where they say no.
			raw := stored(t, c, manifest(u.Namespace, u.Name, nil)).Object["status"].(fields)
			for _, field := range []string{"locked", "failedLoginAttempts", "username"} {
				if _, ok := raw[field]; !ok {
					t.Errorf("the field %s is not stored", field)
				}
			}
		})
	}
}
