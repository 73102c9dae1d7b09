// SPDX-License-Identifier: Apache-2.0

// Package rows is what a reconcile sees of the store. A reconcile reaches the store through the Breaker, then the Prefetcher. In a
// process that serves logins, fallback.GuardedRows follows.
// Beside them are the Source, which enqueues the users of changed rows, and the Retries of rejected writes.
package rows

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
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Watcher reports accounts that may have changed in the store.
type Watcher interface {
	// Watch calls changed with usernames of rows that may have changed, and recovered when the store is available again. At
	// first it reports all rows, page by page, and then calls changed once without usernames. It returns when ctx ends.
	Watch(ctx context.Context, changed func(usernames []string), recovered func())
}

// firstRows is how long the first reconciles wait for the first prefetched rows. That takes far less on a quiet machine.
const firstRows = 5 * time.Second

// Source is the source of events of the table users. It starts with the controller, so only on the leader.
type Source struct {
	watcher    Watcher
	reader     client.Reader
	breaker    *Breaker
	prefetcher *Prefetcher
	retries    *Retries
	lag        *Lag

	begun     chan struct{} // closed when the first rows were prefetched, as far as possible
	begunOnce sync.Once

	// Lists and their decoding take several times the memory that stays, which the runtime would keep. Returning it costs a
	// whole garbage collection, so that is done at the start only.
	startedOnce sync.Once
}

// NewSource returns a Source. Reader reads from the cache.
func NewSource(watcher Watcher, reader client.Reader, breaker *Breaker, prefetcher *Prefetcher, retries *Retries, lag *Lag) *Source {
	return &Source{
		watcher: watcher, reader: reader, breaker: breaker, prefetcher: prefetcher, retries: retries, lag: lag, begun: make(chan struct{}),
	}
}

// Start begins to watch; it does not block.
func (s *Source) Start(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	first, planned := true, false
	changed := func(usernames []string) {
		s.prefetcher.Forget(usernames...)
		switch {
		case len(usernames) == 0: // all rows were reported
			if !planned {
				s.begin()
			}
			return
		case first || len(usernames) > queue.Bulk:
			first = false
			if s.prefetch(ctx, q, usernames) {
				planned = true
			}
			return
		}
		for _, username := range usernames {
			if users := cache.Requests(ctx, s.reader, cache.WithUsername(username)); len(users) > 0 {
				s.lag.Notified(username)
				queue.Add(q, queue.RowChanged, users...)
			}
		}
	}
	resume := func(free queue.Released) { s.resume(ctx, q, free) }
	recovered := func() {
		s.retries.Release()
		free := s.breaker.ReleaseAll()
		for _, request := range s.affected(ctx) {
			if _, isFree := free[request]; !isFree {
				free[request] = false
			}
		}
		resume(free)
	}
	s.breaker.OnRelease(resume)
	go s.watcher.Watch(ctx, changed, recovered)
	return nil
}

// WaitForSync waits until reconciles may begin. A store that does not answer does not delay them: their statuses report it.
func (s *Source) WaitForSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstRows)
	defer cancel()
	if _, err := s.prefetcher.Observe(ctx, "-"); err != nil { // any username
		return nil
	}
	select {
	case <-s.begun:
	case <-ctx.Done():
	}
	return nil
}

// begin lets the first reconciles begin.
func (s *Source) begin() { s.begunOnce.Do(func() { close(s.begun) }) }

// prefetch prefetches the rows of many users, and enqueues them in the same order. It reports whether there are any.
func (s *Source) prefetch(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request], usernames []string) bool {
	concerned := make(map[string][]reconcile.Request, len(usernames))
	for _, username := range usernames {
		if users := cache.Requests(ctx, s.reader, cache.WithUsername(username)); len(users) > 0 {
			concerned[username] = users
		}
	}
	if len(concerned) == 0 {
		return false
	}
	s.prefetcher.Plan(ctx, concerned, func(users []reconcile.Request, areLast bool) {
		queue.Add(q, queue.Prefetched, users...)
		s.begin()
		if areLast {
			s.startedOnce.Do(func() { go debug.FreeOSMemory() })
		}
	})
	return true
}

// resume enqueues the requests that an outage held back. If there are many, those with a pending change come first. The rows
// of the others are prefetched, so that few connections serve them.
func (s *Source) resume(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request], free queue.Released) {
	if len(free) <= queue.Bulk {
		queue.Add(q, queue.Recovered, slices.Collect(maps.Keys(free))...)
		return
	}
	var pending []reconcile.Request
	var usernames []string
	for request, isPending := range free {
		var u v1alpha1.ShardingUser
		if err := s.reader.Get(ctx, request.NamespacedName, &u); err != nil || isPending || queue.HasPendingChange(&u) {
			pending = append(pending, request)
		} else {
			usernames = append(usernames, user.Username(&u))
		}
	}
	queue.Add(q, queue.RecoveredPending, pending...)
	go s.prefetch(ctx, q, usernames)
}

// affected returns the resources that the outage stopped, and those with a lock: it may be of the fallback, and then the
// database does not know it yet, or never will.
func (s *Source) affected(ctx context.Context) []reconcile.Request {
	var list []reconcile.Request
	users, err := cache.Users(ctx, s.reader)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the ShardingUsers that wait for the database")
	}
	for _, u := range users {
		ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || u.Status.Locked || user.OfReady(ready.Reason).Recoverable {
			list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
		}
	}
	return list
}
