// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/third_party/forked/golang/btree"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Who is reconciled first. What happened to a row comes before all else: a lock shows well under a second after it was
// written. A change that somebody made to what is there already does not wait for new users in bulk, and these do not wait
// for what merely was listed at start.
const (
	rowPriority  = 20
	editPriority = 10
	newPriority  = 0
	listPriority = handler.LowPriority // controller-runtime's

	// aheadPriority is of those from a list whose rows were read ahead: they come in the order of the reading. From them
	// no turns are kept for the rest of the list.
	aheadPriority = listPriority + 1

	// oldestPriority is of who has waited longest, when it is his turn.
	oldestPriority = 100
)

// fairShare is the turns of which one goes to who has waited longest, so that nobody waits for ever behind a steady stream
// of those who come first.
const fairShare = 8

// fairQueue is a queue by priority that keeps a share of the turns for who has waited longest, whatever the priority.
type fairQueue struct {
	byPriority
	limiter workqueue.TypedRateLimiter[reconcile.Request]
	now     func() time.Time

	mu    sync.Mutex
	items map[reconcile.Request]*waiting
	order *btree.BTree[*waiting] // by since when they wait; without those that were preferred
	added uint64
	turns int
}

type byPriority = priorityqueue.PriorityQueue[reconcile.Request]

// waiting is an item of the queue.
type waiting struct {
	request  reconcile.Request
	priority int
	from     time.Time // when it can be had, and so begins to wait
	number   uint64    // tells items of the same moment apart
}

func (w *waiting) before(other *waiting) bool {
	if w.from.Equal(other.from) {
		return w.number < other.number
	}
	return w.from.Before(other.from)
}

// newFairQueue is a controller's NewQueue.
func newFairQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	inner := priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })
	return &fairQueue{
		byPriority: inner,
		limiter:    limiter,
		now:        time.Now,
		items:      map[reconcile.Request]*waiting{},
		order:      btree.New(32, (*waiting).before),
	}
}

// AddWithOpts implements priorityqueue.PriorityQueue, and so do those that follow.
func (q *fairQueue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	if o.Priority == nil {
		o.Priority = new(newPriority)
	}
	if !o.RateLimited {
		q.note(*o.Priority, o.After, requests...)
		q.byPriority.AddWithOpts(o, requests...)
		return
	}
	for _, request := range requests {
		one := o
		one.RateLimited = false
		if delay := q.limiter.When(request); one.After == 0 || delay < one.After {
			one.After = delay
		}
		q.note(*o.Priority, one.After, request)
		q.byPriority.AddWithOpts(one, request)
	}
}

// Add adds a request that waits from now on.
func (q *fairQueue) Add(request reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, request) }

// AddAfter adds a request that waits after a while.
func (q *fairQueue) AddAfter(request reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, request)
}

// AddRateLimited adds a request that waits after what the limiter says.
func (q *fairQueue) AddRateLimited(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, request)
}

// GetWithPriority waits for a request. Its priority is the one it was added with.
func (q *fairQueue) GetWithPriority() (request reconcile.Request, priority int, shutdown bool) {
	request, priority, shutdown = q.byPriority.GetWithPriority()
	if shutdown {
		return request, priority, shutdown
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if item, ok := q.items[request]; ok {
		delete(q.items, request)
		q.order.Delete(item)
		priority = item.priority
	} else if priority == oldestPriority { // he was had by another worker when he was preferred, and comes once more
		priority = listPriority
	}
	if q.turns++; q.turns%fairShare == 0 && priority > aheadPriority {
		q.prefer(priority)
	}
	return request, priority, shutdown
}

// Get is GetWithPriority for who does not care.
func (q *fairQueue) Get() (request reconcile.Request, shutdown bool) {
	request, _, shutdown = q.GetWithPriority()
	return request, shutdown
}

// prefer lets who has waited longest be the next, where he was overtaken by one of that priority. It is called with the
// lock held. Another worker may be about to have him: then he is looked at once more, which does no harm.
func (q *fairQueue) prefer(priority int) {
	oldest, ok := q.order.Min()
	if !ok || oldest.priority >= priority || oldest.from.After(q.now()) {
		return
	}
	q.order.Delete(oldest)
	q.byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(oldestPriority)}, oldest.request)
}

// note remembers since when requests wait. The queue takes the earliest of the times and the highest of the priorities
// that a request is added with.
func (q *fairQueue) note(priority int, after time.Duration, requests ...reconcile.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := q.now().Add(after)
	for _, request := range requests {
		item, ok := q.items[request]
		if !ok {
			item = &waiting{request: request, priority: priority, from: from, number: q.added}
			q.added++
			q.items[request] = item
			q.order.ReplaceOrInsert(item)
			continue
		}
		item.priority = max(item.priority, priority)
		if from.Before(item.from) {
			if _, waits := q.order.Delete(item); waits {
				item.from = from
				q.order.ReplaceOrInsert(item)
			}
		}
	}
}
