// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// run finds changes and reports them to its subscribers. One goroutine receives notifications, and one sweeps.
type run struct {
	database Database
	settings Settings
	timing   Timing
	cancel   context.CancelFunc

	earlier chan struct{} // holds one when the next sweep may be due earlier

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	known       digests    // of the last sweep
	isKnown     bool       // there was one
	notified    pending    // usernames that were notified since the last sweep began
	inSweep     pending    // usernames that the running sweep reports, because they were notified before it
	requested   bool       // a sweep was requested
	listening   *listening // nil while no connection listens
	tried       time.Time  // when the last sweep ended or failed
	reason      string     // why the observer polls, as it was logged

	// A notification was dropped: since the last sweep began, or before the one that runs.
	droppedSinceSweep, droppedBeforeSweep bool

	renews bool // the connection is replaced because of a renewal

	// Of the goroutine that listens alone.
	connection Connection // the latest one
	token      string     // of the self-test; "" when it arrived
}

// listening is a connection that listens, as sweeps know it.
type listening struct {
	swept      bool // since it listens
	connection Connection
	fail       func(error)
}

func newRun(database Database, settings Settings, timing Timing) *run {
	return &run{
		database: database, settings: settings, timing: timing,
		earlier: make(chan struct{}, 1), subscribers: map[*subscriber]struct{}{},
	}
}

// start observes until the run is canceled, and begins when the one before has ended. The returned channel is closed when
// this one has.
func (r *run) start(ctx context.Context, before <-chan struct{}) (ended <-chan struct{}) {
	ctx, r.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-before
		defer r.database.SetNotified(false)
		select {
		case <-ctx.Done():
		case <-r.settings.Ready:
			var parts sync.WaitGroup
			parts.Go(func() { r.sweeps(ctx) })
			r.listen(ctx)
			parts.Wait()
		}
	}()
	return done
}

// join adds a subscriber. A late one gets all that is known, and every change from then on.
func (r *run) join(m *subscriber) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers[m] = struct{}{}
	if !r.isKnown {
		return
	}
	m.begin(r.known)
	for _, notified := range []pending{r.inSweep, r.notified} {
		for username := range notified.names {
			r.notify(m, username)
		}
	}
}

// leave removes a subscriber, and reports whether it was the last.
func (r *run) leave(m *subscriber) (isLast bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subscribers, m)
	return len(r.subscribers) == 0
}

// arrived handles a notification as it is received: otherwise the driver would keep them all until they are asked for. Any
// role may send any payload. A payload that cannot be a username is dropped at once, and an empty one requests a sweep.
func (r *run) arrived(channel, payload string) {
	switch channel {
	case ProbeChannel:
		if payload == r.token {
			r.token = ""
		}
	case RowsChannel:
		if payload == "" {
			r.sweepSoon()
		} else {
			r.handle(payload)
		}
	}
}

// handle reports a row that was notified. The next sweep to begin reports it again, also where the row is gone by then or as
// it was before. Above the bounds the sweep alone finds the change.
func (r *run) handle(username string) {
	if !store.MayBeUsername(username) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wasHalfFull := r.notified.isHalfFull()
	if !r.notified.add(username) {
		r.drop()
		return
	}
	if r.notified.isHalfFull() && !wasHalfFull {
		r.request() // before any has to be dropped
	}
	for m := range r.subscribers {
		r.notify(m, username)
	}
}

// notify is called with the lock held, with a username that the next sweep reports again.
func (r *run) notify(m *subscriber, username string) {
	if !m.notify(username) {
		r.drop()
	}
}

// drop leaves a notification to a sweep. Until that has ended, the subscribers do not know every change. It is called with
// the lock held.
func (r *run) drop() {
	r.droppedSinceSweep = true
	r.request()
}

// request requests a sweep. Any number of requests cause one. It is called with the lock held.
func (r *run) request() {
	r.requested = true
	wake(r.earlier)
}

// sweepSoon requests a sweep.
func (r *run) sweepSoon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.request()
}

// listens has a sweep begin at once, since a connection listens from now on. Fail is called if a sweep fails.
func (r *run) listens(connection Connection, fail func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening = &listening{connection: connection, fail: fail}
	wake(r.earlier)
}

// listensNoMore has sweeps begin every PollInterval.
func (r *run) listensNoMore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listening = nil
	wake(r.earlier)
}

// markAlive records that the connection is alive, unless a notification was dropped and no sweep has made up for it yet.
func (r *run) markAlive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.droppedSinceSweep && !r.droppedBeforeSweep {
		r.database.MarkAlive()
	}
}
