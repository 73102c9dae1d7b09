// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"slices"
	"sync"
	"time"
)

// subscriber is one Watch.
type subscriber struct {
	left  chan struct{} // closed when the Watch ends
	pages chan []string // holds two pages that a sweep found; an empty one says that all rows were reported

	mu       sync.Mutex
	notified pending       // usernames to be reported
	known    []*digestPage // pages to be reported that were known when it joined
	isLate   bool          // the end of those pages is to be reported
	some     chan struct{} // holds one when there may be something to report
}

func newSubscriber() *subscriber {
	return &subscriber{left: make(chan struct{}), pages: make(chan []string, 2), some: make(chan struct{}, 1)}
}

// notify makes a username pending, however long the callbacks take. It reports whether there was room.
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

// take returns what is pending, up to a page of it, and whether there is anything. Notified usernames go first.
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

// run calls the callbacks until ctx ends. It leaves at least this time between calls of recovered.
func (m *subscriber) run(
	ctx context.Context, changed func(usernames []string), again <-chan struct{}, recovered func(), every time.Duration,
) {
	defer close(m.left)
	recoveries, rested := again, make(<-chan time.Time)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-m.some:
			if usernames, ok := m.take(); ok {
				wake(m.some) // there may be more
				changed(usernames)
			}
		case <-recoveries:
			recovered()
			recoveries, rested = nil, time.After(every)
		case <-rested:
			recoveries = again
		}
	}
}
