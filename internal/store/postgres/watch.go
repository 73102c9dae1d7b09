// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Watch calls changed with usernames whose row or note may have changed, with those of all rows at first (which may be
// none), and recovered when the database answers again after it did not. The two are never called at the same time. It
// returns when ctx ends, and for no other reason: the package's documentation says what it does about failures.
//
// However many watch at once, one connection listens for all of them, and one sweep is told to all. None waits for
// another's callbacks.
//
// Until the schema is complete there is nothing to watch, so [Store.Maintain] has to run.
func (s *Store) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	m := newMember()
	s.join(ctx, m)
	defer s.leave(m)
	// A database that comes and goes must not set its callers on it more often than this.
	m.run(ctx, changed, recovered, min(time.Second, s.timing.lastRetry))
}

// join makes a watcher a member of the observer, which the first one starts.
func (s *Store) join(ctx context.Context, m *member) {
	s.health.join(m.recovered)
	s.watching.Lock()
	defer s.watching.Unlock()
	if s.observer == nil {
		s.observer = newObserver(s)
		s.observed = s.observer.start(context.WithoutCancel(ctx), s.observed)
	}
	s.observer.join(m)
}

// leave ends the observer with its last member, and returns when it has ended.
func (s *Store) leave(m *member) {
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

// member is one Watch.
type member struct {
	recovered chan struct{} // holds one when the database answers again

	mu      sync.Mutex
	pending map[string]struct{} // what it is yet to be told of
	some    chan struct{}       // holds one when there is something pending
}

func newMember() *member {
	return &member{pending: map[string]struct{}{}, some: make(chan struct{}, 1), recovered: make(chan struct{}, 1)}
}

// add makes usernames pending, however long the member's callbacks take.
func (m *member) add(usernames []string) {
	if len(usernames) > 0 {
		m.begin(usernames)
	}
}

// begin is add of all that there is, which may be nothing: to know that is worth a call, too.
func (m *member) begin(usernames []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, username := range usernames {
		m.pending[username] = struct{}{}
	}
	wake(m.some)
}

// take is what is pending.
func (m *member) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	usernames := slices.Collect(maps.Keys(m.pending))
	m.pending = map[string]struct{}{} // not the room of a large table
	return usernames
}

// run calls the callbacks, recovered no more often than every so often, until ctx ends.
func (m *member) run(ctx context.Context, changed func(usernames []string), recovered func(), every time.Duration) {
	again, rested := m.recovered, make(<-chan time.Time)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-m.some:
			changed(m.take())
		case <-again:
			recovered()
			again, rested = nil, time.After(every)
		case <-rested:
			again = m.recovered
		}
	}
}

// observer finds out what changes, and tells its members.
type observer struct {
	s      *Store
	cancel context.CancelFunc

	mu      sync.Mutex
	members map[*member]struct{}
	known   map[string]int64 // fingerprints by username, of the last sweep; nil before the first

	// Of the goroutine that observes alone:
	swept  time.Time // when the last sweep was
	tried  time.Time // when the last one ended, also where it failed
	reason string    // why one has to poll, as it was logged

	session *session // the listening connection
	renews  bool     // it is opened again because of a renewal
	at      identity // where the last sweep was
}

func newObserver(s *Store) *observer {
	return &observer{s: s, members: map[*member]struct{}{}}
}

// start observes until it is cancelled, beginning when the one before has ended. What it returns is closed when it has.
func (o *observer) start(ctx context.Context, before <-chan struct{}) (ended <-chan struct{}) {
	ctx, o.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-before
		defer o.s.health.setNotifying(false)
		select {
		case <-ctx.Done():
		case <-o.s.migrated:
			o.run(ctx)
		}
	}()
	return done
}

// join adds a member. One that comes late is told of all that is known, of which nothing can change unseen from then on.
func (o *observer) join(m *member) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.members[m] = struct{}{}
	if o.known != nil {
		m.begin(slices.Collect(maps.Keys(o.known)))
	}
}

// leave removes a member, and tells whether it was the last.
func (o *observer) leave(m *member) (isLast bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.members, m)
	return len(o.members) == 0
}

// notified tells of a row that changed since the last sweep, and remembers a new one, so that the next sweep tells when it
// is gone.
func (o *observer) notified(username string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.known[username]; !ok {
		o.known[username] = 0
	}
	for m := range o.members {
		m.add([]string{username})
	}
}

// found tells of all that differs from the last sweep: of all there is, the first time.
func (o *observer) found(fingerprints map[string]int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var usernames []string
	for username, fingerprint := range fingerprints {
		if before, ok := o.known[username]; !ok || before != fingerprint {
			usernames = append(usernames, username)
		}
	}
	for username := range o.known {
		if _, ok := fingerprints[username]; !ok {
			usernames = append(usernames, username)
		}
	}
	isFirst := o.known == nil
	o.known = fingerprints
	for m := range o.members {
		if isFirst {
			m.begin(usernames)
		} else {
			m.add(usernames)
		}
	}
}
