// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Rows tells of accounts that may have changed in the store.
type Rows interface {
	// Watch calls changed with usernames that are worth a look, and recovered when the store answers again after it
	// did not. At first it tells of all rows, page by page, and then calls changed once without usernames. It returns when
	// ctx ends.
	Watch(ctx context.Context, changed func(usernames []string), recovered func())
}

// bulk is how many names at once come from a sweep over the table and not from notifications. They are in no more of a
// hurry than a list.
const bulk = 1000

// firstRows is how long the first reconciles wait for the first rows to be read ahead, which takes far less on a quiet
// machine.
const firstRows = 5 * time.Second

// rowSource is the source of events that the table users is. It is started with the controller, and so only on the
// leader.
type rowSource struct {
	rows    Rows
	reader  client.Reader
	gate    *gate
	ahead   *ReadAhead
	retries *retries
	lag     *lag

	begun     chan struct{} // closed when the first rows have been read ahead, as far as they could
	begunOnce sync.Once

	// Lists and their decoding take several times what stays, and the runtime would keep that for later. It costs a whole
	// collection, and so is done at the start only.
	startedOnce sync.Once
}

func newRowSource(rows Rows, reader client.Reader, gate *gate, ahead *ReadAhead, retries *retries, lag *lag) *rowSource {
	return &rowSource{rows: rows, reader: reader, gate: gate, ahead: ahead, retries: retries, lag: lag, begun: make(chan struct{})}
}

// Start begins to watch; it does not block.
func (s *rowSource) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	first, planned := true, false
	changed := func(usernames []string) {
		s.ahead.Forget(usernames...)
		switch {
		case len(usernames) == 0: // all rows were told
			if !planned {
				s.begin()
			}
			return
		case first || len(usernames) > bulk:
			first = false
			if s.lookAhead(ctx, queue, usernames) {
				planned = true
			}
			return
		}
		for _, username := range usernames {
			if users := cache.Requests(ctx, s.reader, cache.WithUsername(username)); len(users) > 0 {
				s.lag.noticed(username)
				add(queue, users, rowPriority)
			}
		}
	}
	resume := func(free released) { s.resume(ctx, queue, free) }
	recovered := func() {
		s.retries.release()
		free := s.gate.release()
		for _, request := range s.waiting(ctx) {
			if _, held := free[request]; !held {
				free[request] = false
			}
		}
		resume(free)
	}
	s.gate.open(resume)
	go s.rows.Watch(ctx, changed, recovered)
	return nil
}

// WaitForSync waits until reconciles may begin. A store that does not answer does not keep them from it: they tell of
// that.
func (s *rowSource) WaitForSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstRows)
	defer cancel()
	if _, err := s.ahead.Observe(ctx, "-"); err != nil { // of whoever
		return nil
	}
	select {
	case <-s.begun:
	case <-ctx.Done():
	}
	return nil
}

// begin lets the first reconciles begin.
func (s *rowSource) begin() { s.begunOnce.Do(func() { close(s.begun) }) }

// lookAhead has the rows of many users read ahead, in step with their reconciles. It reports whether there are any.
func (s *rowSource) lookAhead(
	ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], usernames []string,
) bool {
	concerned := make(map[string][]reconcile.Request, len(usernames))
	for _, username := range usernames {
		if users := cache.Requests(ctx, s.reader, cache.WithUsername(username)); len(users) > 0 {
			concerned[username] = users
		}
	}
	if len(concerned) == 0 {
		return false
	}
	s.ahead.Plan(ctx, concerned, func(users []reconcile.Request, areLast bool) {
		add(queue, users, aheadPriority)
		s.begin()
		if areLast {
			s.startedOnce.Do(func() { go debug.FreeOSMemory() })
		}
	})
	return true
}

// resume looks at those whom an outage held up. Of many those come first of whom somebody asked for something; what there is
// to know of the others is read ahead, so that the database which is back is asked by few connections.
func (s *rowSource) resume(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], free released) {
	if len(free) <= bulk {
		add(queue, slices.Collect(maps.Keys(free)), rowPriority)
		return
	}
	var awaited []reconcile.Request
	var usernames []string
	for request, isFirst := range free {
		var u v1alpha1.ShardingUser
		if err := s.reader.Get(ctx, request.NamespacedName, &u); err != nil || isFirst || isAwaited(&u) {
			awaited = append(awaited, request)
		} else {
			usernames = append(usernames, user.Username(&u))
		}
	}
	add(queue, awaited, editPriority)
	go s.lookAhead(ctx, queue, usernames)
}

// awaiting are the reasons of Ready for which a database that is back, or another one, may be the remedy.
var awaiting = []string{v1alpha1.ReasonPending, v1alpha1.ReasonDatabaseUnavailable, v1alpha1.ReasonDatabaseRejected}

// waiting is the resources that the outage of the database kept from getting on, and those whose lock may be one of the
// outage, which the database has yet to be told of, or never will be.
func (s *rowSource) waiting(ctx context.Context) []reconcile.Request {
	var list []reconcile.Request
	users, err := cache.Users(ctx, s.reader)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the ShardingUsers that wait for the database")
	}
	for _, u := range users {
		ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || u.Status.Locked || slices.Contains(awaiting, ready.Reason) {
			list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
		}
	}
	return list
}

func add(queue workqueue.TypedRateLimitingInterface[reconcile.Request], requests []reconcile.Request, priority int) {
	if q, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(priority)}, requests...)
		return
	}
	for _, request := range requests {
		queue.Add(request)
	}
}

// lag measures the time from the notice that a row changed to the status that tells of it.
type lag struct {
	observe func(seconds float64)
	now     func() time.Time

	mu     sync.Mutex
	since  map[string]time.Time // by username
	pruned time.Time
}

// longestLag is after what time a notice counts as forgotten: its resource went away, say.
const longestLag = 2 * time.Minute

func newLag(observe func(float64), now func() time.Time) *lag {
	return &lag{observe: observe, now: now, since: map[string]time.Time{}, pruned: now()}
}

// noticed begins to measure, unless an earlier change of the row still waits to be told.
func (l *lag) noticed(username string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Sub(l.pruned) > longestLag {
		l.pruned = now
		maps.DeleteFunc(l.since, func(_ string, since time.Time) bool { return now.Sub(since) > longestLag })
	}
	if _, ok := l.since[username]; !ok {
		l.since[username] = now
	}
}

// settle ends the measurement of a username after a reconcile: wrote tells whether the status was written, and putOff
// whether it will be later. Where neither is so, there was nothing to tell.
func (l *lag) settle(username string, wrote, putOff bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, ok := l.since[username]
	if !ok || putOff {
		return
	}
	delete(l.since, username)
	if wrote {
		l.observe(l.now().Sub(since).Seconds())
	}
}
