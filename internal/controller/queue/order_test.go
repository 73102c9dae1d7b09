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

// TestOrder is the package comment's order, from the first to the last. An item of a later turn waits for one of an earlier
// turn that comes after it.
func TestOrder(t *testing.T) {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	by := func(cause Cause, n int) func(queue, string) {
		return func(q queue, name string) {
			for i := range n {
				Add(q, cause, request(name, i))
			}
		}
	}
	together := func(cause Cause, n int) func(queue, string) {
		return func(q queue, name string) {
			var all []reconcile.Request
			for i := range n {
				all = append(all, request(name, i))
			}
			Add(q, cause, all...)
		}
	}
	table := []struct {
		name string
		turn int
		add  func(queue, string)
	}{
		{"a changed row", 0, by(RowChanged, 1)},
		{"the end of a small outage", 0, together(Recovered, Bulk)},
		{"a new user whose row changed", 0, func(q queue, name string) { by(Created, 1)(q, name); by(RowChanged, 1)(q, name) }},
		{"an edit", 1, by(Edited, 1)},
		{"a pending change after a large outage", 1, together(RecoveredPending, 2*Bulk)},
		{"the Secret of a user", 1, together(InputEdited, few)},
		{"a new user who was edited", 1, func(q queue, name string) { by(Created, 1)(q, name); by(Edited, 1)(q, name) }},
		{"a new user", 2, by(Created, 1)},
		{"controller-runtime's event", 2, func(q queue, name string) { q.Add(request(name, 0)) }},
		{"a Secret or a policy of many users", 2, together(InputEdited, few+1)},
		{"prefetched rows", 3, by(Prefetched, 1)},
		{"a list", 4, by(Listed, 1)},
		{"a retry", 5, func(q queue, name string) { q.AddRateLimited(request(name, 0)) }},
		{"a change whose user failed", 5, func(q queue, name string) {
			q.(priorityqueue.PriorityQueue[reconcile.Request]).
				AddWithOpts(priorityqueue.AddOpts{RateLimited: true, Priority: new(rowPriority)}, request(name, 0))
		}},
	}
	for _, first := range table {
		for _, second := range table {
			if first.turn >= second.turn {
				continue
			}
			q := newTestQueue(t, time.Hour)
			second.add(q, second.name)
			first.add(q, first.name)
			if got, _ := q.Get(); got.Namespace != first.name {
				t.Errorf("%s comes before %s", second.name, first.name)
			}
		}
	}
	for i := range order {
		if order[i].cause != Cause(i) || (i > 0 && order[i].priority > order[i-1].priority) {
			t.Errorf("order[%d] is the class of cause %d, or its priority is above the one before", i, order[i].cause)
		}
	}
}

// requested returns n requests.
func requested(n int) []reconcile.Request {
	requests := make([]reconcile.Request, n)
	for i := range requests {
		requests[i].NamespacedName = types.NamespacedName{Namespace: "team", Name: fmt.Sprint("user-", i)}
	}
	return requests
}
