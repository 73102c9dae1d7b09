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
	return &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: version, Generation: 1}}
}

func TestCopyIsStaleWhileItIsOlderThanOurLastWrite(t *testing.T) {
	s := newStaleness()
	if s.isOlder(resource("a", "5")) {
		t.Error("nothing was written, and a copy is called old")
	}
	s.wrote(resource("a", "10"))
	for _, step := range []struct {
		version string
		older   bool
	}{{"9", true}, {"9", true}, {"10", false}, {"9", false}} {
		// The last one cannot happen, since a cache does not go back; it tells that the note is gone by then.
		if got := s.isOlder(resource("a", step.version)); got != step.older {
			t.Errorf("version %s is older: %v", step.version, got)
		}
	}

	s.wrote(resource("a", "99"))
	if s.isOlder(resource("a", "100")) {
		t.Error("100 is older than 99: versions were compared as texts")
	}
	s.wrote(resource("a", "99"))
	if s.isOlder(resource("b", "1")) {
		t.Error("another resource is called old")
	}
	s.forget("a")
	if s.isOlder(resource("a", "1")) || len(s.written) != 0 {
		t.Error("a resource that is gone is remembered")
	}
}

func TestLagIsMeasuredFromTheFirstNoticeToTheStatusThatTellsOfIt(t *testing.T) {
	c := newClock()
	var observed []float64
	l := newLag(func(seconds float64) { observed = append(observed, seconds) }, c.now)

	l.settle("a", true, false) // a reconcile for another reason
	l.noticed("a")
	c.move(time.Second)
	l.noticed("a") // one more change before the first was told
	c.move(time.Second)
	l.settle("a", false, true) // put off
	c.move(time.Second)
	l.settle("a", true, false)
	if len(observed) != 1 || observed[0] != 3 {
		t.Errorf("measured %v, want one of 3 s", observed)
	}

	l.noticed("b")
	l.settle("b", false, false) // there was nothing to tell
	c.move(time.Hour)
	l.noticed("b")
	c.move(time.Second)
	l.settle("b", true, false)
	if len(observed) != 2 || observed[1] != 1 {
		t.Errorf("measured %v, want a second one of 1 s", observed)
	}
	if len(l.since) != 0 {
		t.Errorf("%d measurements never end", len(l.since))
	}
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
		"our own finalizer":  {func(u *v1alpha1.ShardingUser) { u.Finalizers = []string{v1alpha1.Finalizer} }, false},
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
	if !worth.Create(event.CreateEvent{Object: resource("a", "1")}) {
		t.Error("a new resource is not worth a look")
	}
}

func TestNewcomersAreRememberedForAWhile(t *testing.T) {
	c := newClock()
	n := newNewcomers(c.now)
	u := resource("a", "1")
	u.Namespace, u.Name = "n", "alice"
	key := types.NamespacedName{Namespace: "n", Name: "alice"}
	n.add(u)
	if got := n.get(key); got == nil || got.UID != "a" {
		t.Errorf("the newcomer is %v", got)
	}
	c.move(2 * newcomerTime)
	n.add(resource("b", "1"))
	if n.get(key) != nil || len(n.by) != 1 {
		t.Error("a resource that came long ago is remembered")
	}
	n.forget(types.NamespacedName{})
	if len(n.by) != 0 {
		t.Error("a resource that is gone is remembered")
	}
}
