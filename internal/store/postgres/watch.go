// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Watch calls changed with usernames whose row or note may have changed, and recovered when the database answers again
// after it did not. The two are never called at the same time. It returns when ctx ends, and for no other reason: the
// package's documentation says what it does about failures.
//
// The first calls of changed have the usernames of all rows, a page in each call. Notified usernames may come in between.
// A call without usernames, exactly one, says that all were told.
//
// However many watch at once, one connection listens for all of them, and one sweep is told to all. Notifications do not
// wait for other subscribers' callbacks. A sweep does: it offers the next page when each subscriber took the last one.
//
// Until the schema is complete there is nothing to watch, so [Store.Maintain] has to run.
func (s *Store) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	m := newSubscriber()
	s.join(ctx, m)
	defer s.leave(m)
	// A database that comes and goes must not set its callers on it more often than this.
	m.run(ctx, changed, recovered, min(time.Second, s.timing.lastRetry))
}

// join makes a watcher a subscriber of the observer, which the first one starts.
func (s *Store) join(ctx context.Context, m *subscriber) {
	s.health.join(m.recovered)
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.observer == nil {
		s.observer = newObserver(s)
		s.observed = s.observer.start(context.WithoutCancel(ctx), s.observed)
	}
	s.observer.join(m)
}

// leave ends the observer with its last subscriber, and returns when it has ended.
func (s *Store) leave(m *subscriber) {
	s.health.leave(m.recovered)
	s.watching.Lock()
	ended := s.observed
	isLast := s.observer.leave(m)
	if isLast {
		s.observer.cancel()
		s.observer = nil
	}
	s.watching.Unlock()
	if isLast {
		<-ended
	}
}

// subscriber is one Watch.
type subscriber struct {
	recovered chan struct{} // holds one when the database answers again
	left      chan struct{} // closed when the Watch ends
	pages     chan []string // holds two pages that a sweep found; an empty one says that all were told

	mu       sync.Mutex
	notified pending       // what it is yet to be told of
	known    []*digestPage // what was known when it joined, and it is yet to be told of
	isLate   bool          // it is yet to be told that this was all
	some     chan struct{} // holds one when there may be something to be told of
}

func newSubscriber() *subscriber {
	return &subscriber{
		recovered: make(chan struct{}, 1), left: make(chan struct{}), pages: make(chan []string, 2),
		some: make(chan struct{}, 1),
	}
}

// notify makes a username pending, however long the subscriber's callbacks take. It reports whether there was room.
func (m *subscriber) notify(username string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	hasRoom := m.notified.add(username)
	wake(m.some)
	return hasRoom
}

// offer hands over a page of usernames, and waits while there is no room for it.
func (m *subscriber) offer(ctx context.Context, usernames []string) {
	select {
	case m.pages <- slices.Clone(usernames):
		wake(m.some)
	case <-m.left:
	case <-ctx.Done():
	}
}

// begin makes all that is known pending.
func (m *subscriber) begin(known digests) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.isLate = known.pages, true
	wake(m.some)
}

// take returns what is pending, up to a page of it, and whether there is anything. Notified names go first.
func (m *subscriber) take() (usernames []string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(m.notified.names) > 0:
		return m.notified.take(), true
	case len(m.known) > 0:
		usernames, m.known = m.known[0].usernames(), m.known[1:]
		return usernames, true
	case m.isLate:
		m.known, m.isLate = nil, false
		return nil, true
	}
	select {
	case usernames = <-m.pages:
		return usernames, true
	default:
		return nil, false
	}
}

// run calls the callbacks, recovered no more often than every so often, until ctx ends.
func (m *subscriber) run(ctx context.Context, changed func(usernames []string), recovered func(), every time.Duration) {
	defer close(m.left)
	again, rested := m.recovered, make(<-chan time.Time)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-m.some:
			if usernames, ok := m.take(); ok {
				wake(m.some) // there may be more
				changed(usernames)
			}
		case <-again:
			recovered()
			again, rested = nil, time.After(every)
		case <-rested:
			again = m.recovered
		}
	}
}
