// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// observer finds out what changes, and tells its subscribers. One goroutine receives notifications, and one sweeps.
type observer struct {
	s      *Store
	cancel context.CancelFunc

	earlier chan struct{} // holds one when the next sweep may be due earlier

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	known       digests     // of the last sweep
	isKnown     bool        // there was one
	touched     pending     // usernames that were notified since the last sweep began
	sweeping    pending     // those that were before, while one runs
	missed      bool        // a notification was dropped since the last sweep began
	making      bool        // or before, while one runs
	requested   bool        // a sweep is to come early
	connection  *connection // nil while none listens
	tried       time.Time   // when the last sweep ended, also where it failed
	reason      string      // why one has to poll, as it was logged
	renews      bool        // the listening connection is opened again because of a renewal
	at          identity    // where the last sweep was

	// Of the goroutine that listens alone.
	session *session // the listening connection
	token   string   // of the self-test; "" when it arrived
}

// connection is one that listens, as sweeps know it.
type connection struct {
	swept   bool // since it listens
	session *session
	fail    func(error)
}

func newObserver(s *Store) *observer {
	return &observer{
		s: s, earlier: make(chan struct{}, 1), subscribers: map[*subscriber]struct{}{},
	}
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
			var parts sync.WaitGroup
			parts.Go(func() { o.sweeps(ctx) })
			o.run(ctx)
			parts.Wait()
		}
	}()
	return done
}

// join adds a subscriber. One that comes late is told of all that is known, of which nothing can change unseen from then on.
func (o *observer) join(m *subscriber) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.subscribers[m] = struct{}{}
	if !o.isKnown {
		return
	}
	m.begin(o.known)
	for _, notified := range []pending{o.sweeping, o.touched} {
		for username := range notified.names {
			o.notify(m, username)
		}
	}
}

// leave removes a subscriber, and reports whether it was the last.
func (o *observer) leave(m *subscriber) (isLast bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.subscribers, m)
	return len(o.subscribers) == 0
}

// arrived takes a notification, while the listening connection receives. The driver would else keep all that arrive until they are
// asked for. Any role may send any payload: one that no username can be is dropped at once, and an empty one requests a sweep.
func (o *observer) arrived(_ *pgconn.PgConn, notification *pgconn.Notification) {
	switch payload := notification.Payload; notification.Channel {
	case probeChannel:
		if payload == o.token {
			o.token = ""
		}
	case rowsChannel:
		if payload == "" {
			o.sweepSoon()
		} else {
			o.notified(payload)
		}
	}
}

// notified tells of a row that changed. The next sweep to begin tells of it again, also where the row is gone by then or as
// it was before. Beyond the bounds a sweep finds what changed.
func (o *observer) notified(username string) {
	if !mayBeAccount(username) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	wasHalfFull := o.touched.isHalfFull()
	if !o.touched.add(username) {
		o.drop()
		return
	}
	if o.touched.isHalfFull() && !wasHalfFull {
		o.request() // in time for none to be dropped
	}
	for m := range o.subscribers {
		o.notify(m, username)
	}
}

// notify is called with the lock held, with a username that the next sweep tells of again.
func (o *observer) notify(m *subscriber, username string) {
	if !m.notify(username) {
		o.drop()
	}
}

// drop leaves a notification to a sweep. Until that is told, the subscribers do not know all. It is called with the lock
// held.
func (o *observer) drop() {
	o.missed = true
	o.request()
}

// request asks for a sweep, soon. However often it is called, there is one. It is called with the lock held.
func (o *observer) request() {
	o.requested = true
	wake(o.earlier)
}

// sweepSoon asks for a sweep.
func (o *observer) sweepSoon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.request()
}

// listens has a sweep begin at once, since a connection listens from now on. A sweep that fails is told to fail.
func (o *observer) listens(session *session, fail func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connection = &connection{session: session, fail: fail}
	wake(o.earlier)
}

// listensNoMore has sweeps come as often as without notifications.
func (o *observer) listensNoMore() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.connection = nil
	wake(o.earlier)
}

// hear reports that the connection is alive, unless a notification was dropped and no sweep made up for it yet.
func (o *observer) hear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.missed && !o.making {
		o.s.health.hear()
	}
}
