// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/third_party/forked/golang/btree"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Every fairShare-th turn serves the item that has waited longest, so no steady stream of higher priorities keeps an item
// waiting forever.
const fairShare = 8

// fairQueue is a priority queue that gives a share of the turns to the longest waiting item of any priority.
type fairQueue struct {
	byPriority
	limiter workqueue.TypedRateLimiter[reconcile.Request]
	now     func() time.Time

	mu    sync.Mutex
	items map[reconcile.Request]*waiting
	order *btree.BTree[*waiting] // by waiting time; without preferred items
	added uint64
	turns int
}

type byPriority = priorityqueue.PriorityQueue[reconcile.Request]

// waiting is an item of the queue.
type waiting struct {
	request  reconcile.Request
	priority int
	from     time.Time // when it may be served, and so begins to wait
	number   uint64    // orders items of the same moment
}

func (w *waiting) before(other *waiting) bool {
	if w.from.Equal(other.from) {
		return w.number < other.number
	}
	return w.from.Before(other.from)
}

// New returns a fair queue. It is a controller's NewQueue.
func New(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	inner := priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })
	return &fairQueue{
		byPriority: inner,
		limiter:    limiter,
		now:        time.Now,
		items:      map[reconcile.Request]*waiting{},
		order:      btree.New(32, (*waiting).before),
	}
}

// AddWithOpts implements priorityqueue.PriorityQueue, as the methods below do.
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

// Add adds a request that may be served at once.
func (q *fairQueue) Add(request reconcile.Request) { q.AddWithOpts(priorityqueue.AddOpts{}, request) }

// AddAfter adds a request that may be served after a delay.
func (q *fairQueue) AddAfter(request reconcile.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, request)
}

// AddRateLimited adds a request that may be served after the limiter's delay.
func (q *fairQueue) AddRateLimited(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, request)
}

// GetWithPriority waits for a request, and returns it with the priority that it was added with.
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
	} else if priority == oldestPriority { // another worker served it when it was preferred
		priority = listPriority
	}
	if q.turns++; q.turns%fairShare == 0 && priority > prefetchedPriority {
		q.prefer(priority)
	}
	return request, priority, shutdown
}

// Get is GetWithPriority without the priority.
func (q *fairQueue) Get() (request reconcile.Request, shutdown bool) {
	request, _, shutdown = q.GetWithPriority()
	return request, shutdown
}

// prefer serves the longest waiting item next if an item of that priority overtook it. It is called with the lock held.
// If another worker takes the item at the same moment, it is reconciled once more, which does no harm.
func (q *fairQueue) prefer(priority int) {
	oldest, ok := q.order.Min()
	if !ok || oldest.priority >= priority || oldest.from.After(q.now()) {
		return
	}
	q.order.Delete(oldest)
	q.byPriority.AddWithOpts(priorityqueue.AddOpts{Priority: new(oldestPriority)}, oldest.request)
}

// note records since when requests wait. A request that is added again keeps the earliest time and the highest priority.
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
