// SPDX-License-Identifier: Apache-2.0

package controller

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

// newTestQueue is a queue that ends with the test.
func newTestQueue(t *testing.T, firstRetry time.Duration) *fairQueue {
	t.Helper()
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, time.Hour)
	q := newFairQueue(t.Name(), limiter).(*fairQueue)
	t.Cleanup(q.ShutDown)
	return q
}

func TestAListIsReachedUnderASteadyStreamOfEvents(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	const listed, busy = 200, 10
	for i := range listed {
		add(q, []reconcile.Request{request("listed", i)}, listPriority)
	}
	for i := range busy {
		add(q, []reconcile.Request{request("busy", i)}, rowPriority)
	}
	turns, reached := 0, map[reconcile.Request]bool{}
	for ; len(reached) < listed; turns++ {
		if turns > 2*listed*fairShare {
			t.Fatalf("%d of %d were reached in %d turns", len(reached), listed, turns)
		}
		r, priority, _ := q.GetWithPriority()
		if r.Namespace == "busy" {
			add(q, []reconcile.Request{r}, rowPriority) // it has changed again
		} else {
			if priority != listPriority {
				t.Errorf("one that was listed comes with priority %d", priority)
			}
			reached[r] = true
		}
		q.Done(r)
	}
	if turns < listed*fairShare/2 {
		t.Errorf("%d that were listed took %d turns: the others were held up", listed, turns)
	}
}

func TestWhoFailedAndWaitsAgainIsReachedToo(t *testing.T) {
	q := newTestQueue(t, time.Nanosecond)
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true, Priority: new(listPriority)}, request("failed", 0))
	q.AddWithOpts(priorityqueue.AddOpts{After: time.Nanosecond, Priority: new(listPriority)}, request("later", 0))
	for i := range 3 {
		add(q, []reconcile.Request{request("busy", i)}, rowPriority)
	}
	reached := map[string]bool{}
	for turns := 0; !reached["failed"] || !reached["later"]; turns++ {
		if turns > 100*fairShare {
			t.Fatalf("reached were only %v", reached)
		}
		r, _, _ := q.GetWithPriority()
		reached[r.Namespace] = true
		if r.Namespace == "busy" {
			add(q, []reconcile.Request{r}, rowPriority)
		}
		q.Done(r)
	}
}

func TestNobodyIsPreferredBeforeItsTime(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	q.AddAfter(request("later", 0), time.Hour)
	q.AddRateLimited(request("failed", 0))
	for i := range 3 {
		add(q, []reconcile.Request{request("busy", i)}, rowPriority)
	}
	for range 20 * fairShare {
		r, _, _ := q.GetWithPriority()
		if r.Namespace != "busy" {
			t.Fatalf("%v comes an hour early", r)
		}
		add(q, []reconcile.Request{r}, rowPriority)
		q.Done(r)
	}
}

func TestAnEditOvertakesNewUsersAndALockBoth(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	for i := range 1000 {
		q.Add(request("new", i))
	}
	add(q, []reconcile.Request{request("new", 999), request("edited", 0)}, editPriority)
	add(q, []reconcile.Request{request("locked", 0)}, rowPriority)
	for _, want := range []reconcile.Request{request("locked", 0), request("new", 999), request("edited", 0), request("new", 0)} {
		got, _ := q.Get()
		if got != want {
			t.Fatalf("%v comes before %v", got, want)
		}
		q.Done(got)
	}
}

func TestWhoWasReadAheadIsNotOvertakenByTheRestOfTheList(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	const ahead = 10 * fairShare
	for i := range ahead {
		add(q, []reconcile.Request{request("listed", i)}, listPriority)
	}
	for i := range ahead {
		add(q, []reconcile.Request{request("ahead", i)}, aheadPriority)
	}
	for i := range ahead {
		r, _, _ := q.GetWithPriority()
		if r != request("ahead", i) {
			t.Fatalf("turn %d is %v's", i, r)
		}
		q.Done(r)
	}
}

// Another worker can have him in the very moment in which he is preferred; then nobody knows any more who he was.
func TestWhoIsPreferredTooLateIsNotFirstForGood(t *testing.T) {
	q := newTestQueue(t, time.Hour)
	q.byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(oldestPriority)}, request("late", 0))
	if r, priority, _ := q.GetWithPriority(); r != request("late", 0) || priority != listPriority {
		t.Errorf("%v comes with priority %d, and is added again with that", r, priority)
	}
}
