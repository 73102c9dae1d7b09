// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"
)

// timing is what is waited for, and how long, in observing and maintaining.
type timing struct {
	selfTest    time.Duration // for a notification of our own to arrive
	retryListen time.Duration // until notifications are tried again while polling
	keepAlive   time.Duration // of silence, until the listening connection is asked whether it is still there
	ping        time.Duration // for its answer
	firstRetry  time.Duration // of the delays after failures
	lastRetry   time.Duration
	sweep       time.Duration // that one sweep may take
	requests    time.Duration // from the end of a sweep to one by request, at most
	lookPool    time.Duration // that a check may take, by the pool
	look        time.Duration // and by a connection of its own
	compare     time.Duration // between looks at whether two stores lead to the same tables
	catalogue   time.Duration // that reading the catalogue may take, to explain a refusal
	shortage    time.Duration // without any connection, until a server that has no room for one counts as away
	lock        time.Duration // that a write waits for a row which another transaction has locked, each time it tries
	blocked     time.Duration // that a change waits for such a row in all
	slowWrite   time.Duration // after which a write that has not returned is reason to probe
	proof       time.Duration // that the result of a probe may be old
}

func usualTiming() timing {
	return timing{
		selfTest:    2 * time.Second,
		retryListen: time.Minute,
		keepAlive:   400 * time.Millisecond, // Current goes by it
		ping:        5 * time.Second,
		firstRetry:  100 * time.Millisecond,
		lastRetry:   2 * time.Second,
		sweep:       30 * time.Second,
		requests:    5 * time.Second,
		lookPool:    500 * time.Millisecond,
		look:        2 * time.Second,
		compare:     10 * time.Second,
		catalogue:   2 * time.Second,
		shortage:    3 * time.Second,
		lock:        250 * time.Millisecond,
		blocked:     1500 * time.Millisecond,
		slowWrite:   time.Second,
		proof:       time.Second,
	}
}

// milliseconds is a length of time as a setting of Postgres.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// delay is a wait that doubles from the first to the last, each at random between half and whole, so that replicas do
// not come back all at once.
type delay struct{ next, first, last time.Duration }

func (s *Store) newDelay() *delay {
	return &delay{next: s.timing.firstRetry, first: s.timing.firstRetry, last: s.timing.lastRetry}
}

// wait waits, and tells whether ctx goes on.
func (d *delay) wait(ctx context.Context) bool {
	now := d.next/2 + rand.N(d.next/2+1) //nolint:gosec // no secret
	d.next = min(2*d.next, d.last)
	return pause(ctx, now)
}

func (d *delay) reset() { d.next = d.first }
