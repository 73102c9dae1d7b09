// SPDX-License-Identifier: Apache-2.0

// Package queue decides which user is reconciled first. No other package sets a priority or an order. How long a single user
// waits after a rejected write is decided by package rows.
//
//	turn             | users                                                                     | decided by
//	-----------------+---------------------------------------------------------------------------+-----------
//	in the queue     | by cause, in the order of the table order; equal ones by time of arrival  | Add
//	every eighth     | the one that has waited longest, if a higher priority overtook it         | fairQueue
//	after an error   | after 200 ms, doubled at each error, 30 s at most                         | NewLimiter
//	after a conflict | the same, without an error in the log for the first eight                 | Conflicts
//	unchanged        | those of a changed Secret whose own value is the same: after the changed ones   | AfterOthers
//	in an outage     | none; one a second probes the database: pending changes, the newest first | Waitlist
//	after an outage  | up to 1,000: at once; more: pending changes first, the others prefetched  | Add, Waitlist
package queue

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Cause is why users are enqueued. It decides their priority.
type Cause int

// The causes, by falling priority.
const (
	// RowChanged: another program changed the rows. A lock has to show in the status well under a second later.
	RowChanged Cause = iota

	// Recovered: an outage of the database ended that held back these users, Bulk at most.
	Recovered

	// Edited: an administrator changed existing resources.
	Edited

	// RecoveredPending: an outage ended that held back more than Bulk users. These have a pending change.
	RecoveredPending

	// InputEdited: a Secret, a policy or the labels of a namespace changed. For more than few users it counts as Created.
	InputEdited

	// Created: resources were created or deleted. controller-runtime's own handler enqueues them.
	Created

	// Unchanged: the Secret has another version, and the same value for this user. Only that is left to record.
	Unchanged

	// Prefetched: the rows were prefetched, in the order of fetching, for a list, a sweep or the end of an outage.
	Prefetched

	// Listed: the cache listed the resources at start, or again at a resync.
	Listed
)

// class is the priority of a cause.
type class struct {
	cause    Cause
	priority int
	most     int   // users at once; 0 means any number
	beyond   Cause // the cause that counts if there are more
}

// order is the whole order. The first class is reconciled first.
var order = [...]class{
	{cause: RowChanged, priority: rowPriority},
	{cause: Recovered, priority: rowPriority},
	{cause: Edited, priority: editPriority},
	{cause: RecoveredPending, priority: editPriority},
	{cause: InputEdited, priority: editPriority, most: few, beyond: Created},
	{cause: Created, priority: newPriority},
	{cause: Unchanged, priority: unchangedPriority},
	{cause: Prefetched, priority: prefetchedPriority},
	{cause: Listed, priority: listPriority},
}

const (
	rowPriority  = 20
	editPriority = 10
	newPriority  = 0                   // controller-runtime's default
	listPriority = handler.LowPriority // controller-runtime's, of its initial list

	// unchangedPriority lets all users of a Secret be looked at before the first of them waits for its record.
	unchangedPriority = newPriority - 1

	// prefetchedPriority comes before the rest of the list, and gives up no turn to it.
	prefetchedPriority = listPriority + 1

	// oldestPriority is that of the longest waiting user when its turn comes.
	oldestPriority = 100
)

// Bulk is the most users that notifications or the end of an outage enqueue at once. More are in no more of a hurry than
// a list, and their rows are prefetched.
const Bulk = 1000

// few is the most users whose password is one person's edit. A Secret or a policy of more users is a change in bulk.
const few = 10

// Add enqueues users with the priority of the cause.
func Add(queue workqueue.TypedRateLimitingInterface[reconcile.Request], cause Cause, users ...reconcile.Request) {
	c := order[cause]
	if c.most > 0 && len(users) > c.most {
		c = order[c.beyond]
	}
	if q, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(c.priority)}, users...)
		return
	}
	for _, user := range users {
		queue.Add(user)
	}
}

// AfterOthers is the result of a reconcile that goes on after those of users with a higher priority than this cause.
func AfterOthers(cause Cause) reconcile.Result {
	return reconcile.Result{RequeueAfter: time.Millisecond, Priority: new(order[cause].priority)}
}

// HasPendingChange reports whether a resource asks for something that its status does not report yet.
func HasPendingChange(u *v1alpha1.ShardingUser) bool {
	return u.Status.ObservedGeneration != u.Generation || !u.DeletionTimestamp.IsZero()
}

// The first retry comes soon. Later ones are rare, so that retries do not make an outage worse. Nothing waits for the
// longest one when the database recovers: the source of rows then enqueues all users that failed.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// NewLimiter returns the backoff of failed reconciles.
func NewLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry)
}
