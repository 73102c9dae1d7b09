// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func request(name string, i int) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: name, Name: fmt.Sprint(i)}}
}

// newTestQueue returns a queue that ends with the test.
func newTestQueue(t *testing.T, firstRetry time.Duration) *fairQueue {
	t.Helper()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, time.Hour)
	q := New(t.Name(), limiter).(*fairQueue)
	t.Cleanup(q.ShutDown)
	return q
}

func TestAListIsReachedUnderASteadyStreamOfEvents(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	const listed, busy = 200, 10
	for i := range listed {
		Add(q, Listed, request("listed", i))
	}
	for i := range busy {
		Add(q, RowChanged, request("busy", i))
	}
	turns, reached := 0, map[reconcile.Request]bool{}
	for ; len(reached) < listed; turns++ {
		if turns > 2*listed*fairShare {
			t.Fatalf("%d of %d were reached in %d turns", len(reached), listed, turns)
		}
		r, priority, _ := q.GetWithPriority()
		if r.Namespace == "busy" {
			Add(q, RowChanged, r) // its row changed again
		} else {
			if priority != listPriority {
				t.Errorf("a listed item has priority %d", priority)
			}
			reached[r] = true
		}
		q.Done(r)
	}
	if turns < listed*fairShare/2 {
		t.Errorf("%d listed items took %d turns: the others were delayed", listed, turns)
	}
}

func TestFailedItemsAreReachedToo(t *testing.T) {
	q := newTestQueue(t, time.Nanosecond)
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true, Priority: new(listPriority)}, request("failed", 0))
	q.AddWithOpts(priorityqueue.AddOpts{After: time.Nanosecond, Priority: new(listPriority)}, request("later", 0))
	for i := range 3 {
		Add(q, RowChanged, request("busy", i))
	}
	reached := map[string]bool{}
	for turns := 0; !reached["failed"] || !reached["later"]; turns++ {
		if turns > 100*fairShare {
			t.Fatalf("reached were only %v", reached)
		}
		r, _, _ := q.GetWithPriority()
		reached[r.Namespace] = true
		if r.Namespace == "busy" {
			Add(q, RowChanged, r)
		}
		q.Done(r)
	}
}

func TestNoItemIsPreferredBeforeItsTime(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	q.AddAfter(request("later", 0), time.Hour)
	q.AddRateLimited(request("failed", 0))
	for i := range 3 {
		Add(q, RowChanged, request("busy", i))
	}
	for range 20 * fairShare {
		r, _, _ := q.GetWithPriority()
		if r.Namespace != "busy" {
			t.Fatalf("%v is served an hour early", r)
		}
		Add(q, RowChanged, r)
		q.Done(r)
	}
}

func TestPrefetchedItemsComeBeforeTheRestOfTheList(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	const prefetched = 10 * fairShare
	for i := range prefetched {
		Add(q, Listed, request("listed", i))
	}
	for i := range prefetched {
		Add(q, Prefetched, request("prefetched", i))
	}
	for i := range prefetched {
		r, _, _ := q.GetWithPriority()
		if r != request("prefetched", i) {
			t.Fatalf("turn %d serves %v", i, r)
		}
		q.Done(r)
	}
}

// Another worker can take an item at the moment at which it is preferred. Its own priority is no longer known then.
func TestAnItemPreferredTooLateGetsTheLowestPriority(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	q.byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(oldestPriority)}, request("late", 0))
	if r, priority, _ := q.GetWithPriority(); r != request("late", 0) || priority != listPriority {
		t.Errorf("%v has priority %d, and is added again with it", r, priority)
	}
}
