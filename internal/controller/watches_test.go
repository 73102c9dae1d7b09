// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func resource(uid types.UID, version string) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{
		UID: uid, ResourceVersion: version, Generation: 1, Finalizers: []string{v1alpha1.Finalizer},
	}}
}

func TestOnlyRelevantEditsCauseReconciles(t *testing.T) {
	edits := relevantEdits()
	for name, test := range map[string]struct {
		change func(*v1alpha1.ShardingUser)
		want   bool
	}{
		"a new spec":         {func(u *v1alpha1.ShardingUser) { u.Generation = 2 }, true},
		"a status":           {func(u *v1alpha1.ShardingUser) { u.Status.Locked = true }, false},
		"a label":            {func(u *v1alpha1.ShardingUser) { u.Labels = map[string]string{"a": "b"} }, false},
		"another annotation": {func(u *v1alpha1.ShardingUser) { u.Annotations = map[string]string{"a": "b"} }, false},
		"another finalizer":  {func(u *v1alpha1.ShardingUser) { u.Finalizers = append(u.Finalizers, "a/b") }, false},
		"a pause": {func(u *v1alpha1.ShardingUser) {
			u.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}, true},
		"a request to unlock": {func(u *v1alpha1.ShardingUser) {
			u.Annotations = map[string]string{v1alpha1.AnnotationUnlockRequestedAt: "now"}
		}, true},
		// The API server raises the generation with the time of deletion.
		"a deletion": {func(u *v1alpha1.ShardingUser) {
			u.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			u.Generation = 2
		}, true},
		"nothing, as at a resync of the cache": {func(*v1alpha1.ShardingUser) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := resource("a", "1"), resource("a", "2")
			test.change(after)
			if got := edits.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.want {
				t.Errorf("it causes a reconcile: %v", got)
			}
			if got := edits.Update(event.UpdateEvent{ObjectOld: after, ObjectNew: before}); got != test.want {
				t.Errorf("the way back causes a reconcile: %v", got)
			}
		})
	}
	stripped := resource("a", "2")
	stripped.Finalizers = nil
	if !edits.Update(event.UpdateEvent{ObjectOld: resource("a", "1"), ObjectNew: stripped}) {
		t.Error("a removed finalizer causes no reconcile")
	}
	if !edits.Create(event.CreateEvent{Object: resource("a", "1")}) {
		t.Error("a new resource causes no reconcile")
	}
}
