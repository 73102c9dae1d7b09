// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// probeInterval is how often a call is let through that is bound to fail, for all that is known.
	probeInterval = time.Second

	// wakeInterval is how often somebody is sent to make it: a little later than he may, since some get to it sooner than others.
	wakeInterval = probeInterval + 100*time.Millisecond
)

// gate stands between the reconciler and the store, and holds back what an outage would fail: while a hundred thousand users
// wait for their database, it is asked once a second, and not by each of them.
//
// Of what is wrong it believes the store. A store notices by itself when it can be used again, and says so to whoever watches
// its rows; but that a database takes writes which it refused is known by the next write only. So one call a second is let
// through, and one of those who wait is sent to make it.
type gate struct {
	Accounts
	trouble func() (reading, writing error)
	now     func() time.Time
	later   func(time.Duration, func())

	mu     sync.Mutex
	probed time.Time // when a call was let through last
	held   map[reconcile.Request]waiter
	drawn  uint64                         // the numbers of those who were held back
	failed map[reconcile.Request]struct{} // who made a call in this outage, in vain
	wanted map[reconcile.Request]struct{} // of whom somebody asked for something that did not get through
	waking bool                           // somebody will wake those who wait
	resume func(released)
}

// waiter is why somebody is held back.
type waiter struct {
	access access
	number uint64 // who came later has a higher one
}

// released is who is held back no more, and whether somebody asked for something.
type released map[reconcile.Request]bool

// access is what a call does.
type access int

const (
	reads access = iota
	writes
)

// heldBackError is the store's trouble, as it is told to a call that was not made.
type heldBackError struct {
	error
	access access
}

func (e *heldBackError) Unwrap() error { return e.error }

// isHeldBack tells whether a call was not made because of an outage.
func isHeldBack(err error) bool {
	var heldBack *heldBackError
	return errors.As(err, &heldBack)
}

// newGate is a gate that holds nobody back where trouble is nil.
func newGate(accounts Accounts, trouble func() (reading, writing error), now func() time.Time) *gate {
	if trouble == nil {
		trouble = func() (reading, writing error) { return nil, nil }
	}
	return &gate{
		Accounts: accounts, trouble: trouble, now: now,
		later: func(wait time.Duration, f func()) { time.AfterFunc(wait, f) },
		held:  map[reconcile.Request]waiter{}, failed: map[reconcile.Request]struct{}{}, wanted: map[reconcile.Request]struct{}{},
	}
}

// open says how those who were held back are looked at again.
func (g *gate) open(resume func(released)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.resume = resume
}

// Observe is the store's.
func (g *gate) Observe(ctx context.Context, username string) (user.Observed, error) {
	if reading, _ := g.trouble(); reading != nil && !g.mayProbe() {
		return user.Observed{}, &heldBackError{error: reading, access: reads}
	}
	return g.Accounts.Observe(ctx, username)
}

// Apply is the store's.
func (g *gate) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	if _, writing := g.trouble(); writing != nil && !g.mayProbe() {
		return user.Observed{}, &heldBackError{error: writing, access: writes}
	}
	return g.Accounts.Apply(ctx, change)
}

// refusesWrites tells whether a write is bound to fail, for all that is known.
func (g *gate) refusesWrites() bool {
	_, writing := g.trouble()
	return writing != nil
}

func (g *gate) mayProbe() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.Sub(g.probed) < probeInterval {
		return false
	}
	g.probed = now
	return true
}

// hold remembers whose call was not made, and why. Awaited tells that somebody asked for something.
func (g *gate) hold(request reconcile.Request, err error, awaited bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var heldBack *heldBackError
	errors.As(err, &heldBack)
	g.want(request, awaited)
	g.drawn++
	g.held[request] = waiter{access: heldBack.access, number: g.drawn}
	g.wakeLater()
}

// failedItself remembers whose call was made, in vain. Awaited is as with hold.
func (g *gate) failedItself(request reconcile.Request, awaited bool) {
	refuses := g.refusesWrites() // else it is his own trouble, or it is not known yet
	g.mu.Lock()
	defer g.mu.Unlock()
	g.want(request, awaited)
	if refuses {
		g.failed[request] = struct{}{}
	}
}

// want remembers of whom somebody asked for something, until he got through: from the moment that his status tells of the
// outage, that does not say so any more. It is called with the lock held.
func (g *gate) want(request reconcile.Request, awaited bool) {
	if awaited {
		g.wanted[request] = struct{}{}
	}
}

// gotThrough forgets what somebody asked for.
func (g *gate) gotThrough(request reconcile.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.wanted, request)
}

// release lets go of all who are held back, and of all of whom somebody asked for something.
func (g *gate) release() released {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.failed)
	free := g.let(func(waiter) bool { return true })
	for request := range g.wanted {
		free[request] = true
	}
	return free
}

// wakeLater is called with the lock held.
func (g *gate) wakeLater() {
	if !g.waking && len(g.held) > 0 {
		g.waking = true
		g.later(wakeInterval, g.wake)
	}
}

// wake lets go of those whom nothing is known to keep from going on, and else of one, who will find out.
func (g *gate) wake() {
	reading, writing := g.trouble()
	g.mu.Lock()
	free := g.let(func(w waiter) bool {
		return (w.access == reads && reading == nil) || (w.access == writes && writing == nil)
	})
	if len(free) == 0 {
		free = g.letOne()
	}
	g.waking = false
	g.wakeLater()
	resume := g.resume
	g.mu.Unlock()
	if len(free) > 0 {
		resume(free)
	}
}

// let lets go of whoever may. It is called with the lock held.
func (g *gate) let(goes func(waiter) bool) released {
	free := released{}
	for request, w := range g.held {
		if goes(w) {
			delete(g.held, request)
			_, free[request] = g.wanted[request]
		}
	}
	return free
}

// letOne lets go of one. There are calls that fail whatever the others do, for want of a right to delete, say: so one who has
// not yet failed comes first, and of them the last of whom somebody asked for something; the next who comes does not wait for
// all those who were there before. Else it is anybody, but not always the same. It is called with the lock held.
func (g *gate) letOne() released {
	var one reconcile.Request
	best := -1
	var number uint64
	for request, w := range g.held {
		rank := 0
		if _, failed := g.failed[request]; !failed {
			rank = 1
			if _, wanted := g.wanted[request]; wanted {
				rank = 2
			}
		}
		if rank > best || (rank == 2 && rank == best && w.number > number) {
			one, best, number = request, rank, w.number
		}
	}
	if best < 0 {
		return nil
	}
	delete(g.held, one)
	_, wanted := g.wanted[one]
	return released{one: wanted}
}
