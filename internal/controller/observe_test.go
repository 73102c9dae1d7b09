// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func resource(uid types.UID, version string) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{
		UID: uid, ResourceVersion: version, Generation: 1, Finalizers: []string{v1alpha1.Finalizer},
	}}
}

func TestOnlyWhatMattersIsWorthALook(t *testing.T) {
	worth := worthALook()
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
			if got := worth.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.want {
				t.Errorf("it is worth a look: %v", got)
			}
			if got := worth.Update(event.UpdateEvent{ObjectOld: after, ObjectNew: before}); got != test.want {
				t.Errorf("the way back is worth a look: %v", got)
			}
		})
	}
	stripped := resource("a", "2")
	stripped.Finalizers = nil
	if !worth.Update(event.UpdateEvent{ObjectOld: resource("a", "1"), ObjectNew: stripped}) {
		t.Error("a finalizer that somebody took away is not put back")
	}
	if !worth.Create(event.CreateEvent{Object: resource("a", "1")}) {
		t.Error("a new resource is not worth a look")
	}
}

func TestUnfinishedResourcesAreRememberedAsLongAsNeeded(t *testing.T) {
	c := newClock()
	f := newUnfinished(c.now)
	newcomer, owing := resource("a", "1"), resource("b", "1")
	newcomer.Name, owing.Name = "newcomer", "owing"
	f.add(newcomer, newcomerTime)
	f.add(owing, 0)

	newer := newcomer.DeepCopy()
	newer.Spec.DeletionPolicy = v1alpha1.DeletionRetain
	f.refresh(newer)
	f.refresh(resource("c", "1"))
	if got := f.get(client.ObjectKeyFromObject(newcomer)); got == nil || got.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
		t.Errorf("the newcomer is %v, want its newer copy", got)
	}
	another := resource("d", "1")
	another.Name = newcomer.Name
	f.refresh(another)
	if got := f.get(client.ObjectKeyFromObject(newcomer)); got.UID != "a" {
		t.Error("a resource of the same name took the place of the one that is owing")
	}

	c.move(2 * newcomerTime)
	f.add(resource("e", "1"), newcomerTime)
	if f.get(client.ObjectKeyFromObject(newcomer)) != nil {
		t.Error("a newcomer is remembered for ever")
	}
	if f.get(client.ObjectKeyFromObject(owing)) == nil {
		t.Error("a row that has yet to be seen to is forgotten")
	}
	f.forget(owing)
	if len(f.by) != 1 {
		t.Errorf("%d are remembered, want 1", len(f.by))
	}
}
