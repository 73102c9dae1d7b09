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

// probeInterval is how often a call is let through that is bound to fail, for all that is known.
const probeInterval = time.Second

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

	mu     sync.Mutex
	probed time.Time // when a call was let through last
	held   map[reconcile.Request]access
	waking bool // somebody will wake those who wait
	resume func([]reconcile.Request)
}

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
	return &gate{Accounts: accounts, trouble: trouble, now: now, held: map[reconcile.Request]access{}}
}

// open says how those who were held back are looked at again.
func (g *gate) open(resume func([]reconcile.Request)) {
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
func (g *gate) Apply(ctx context.Context, change user.Change) error {
	if _, writing := g.trouble(); writing != nil && !g.mayProbe() {
		return &heldBackError{error: writing, access: writes}
	}
	return g.Accounts.Apply(ctx, change)
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

// hold remembers whose call was not made, and why.
func (g *gate) hold(request reconcile.Request, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var heldBack *heldBackError
	errors.As(err, &heldBack)
	g.held[request] = heldBack.access
	g.wakeLater()
}

// release lets go of all who are held back.
func (g *gate) release() []reconcile.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.let(len(g.held), func(access) bool { return true })
}

// wakeLater is called with the lock held.
func (g *gate) wakeLater() {
	if !g.waking && len(g.held) > 0 {
		g.waking = true
		time.AfterFunc(probeInterval, g.wake)
	}
}

// wake lets go of those whom nothing is known to keep from going on, and else of one, who will find out. Whom it is does not
// matter, but that it is not always the same: there are calls that fail whatever the others do.
func (g *gate) wake() {
	reading, writing := g.trouble()
	g.mu.Lock()
	free := g.let(len(g.held), func(a access) bool { return (a == reads && reading == nil) || (a == writes && writing == nil) })
	if len(free) == 0 {
		free = g.let(1, func(access) bool { return true })
	}
	g.waking = false
	g.wakeLater()
	resume := g.resume
	g.mu.Unlock()
	if len(free) > 0 {
		resume(free)
	}
}

// let lets go of so many at most, in no order. It is called with the lock held.
func (g *gate) let(most int, goes func(access) bool) []reconcile.Request {
	var free []reconcile.Request
	for request, access := range g.held {
		if len(free) == most {
			break
		}
		if goes(access) {
			delete(g.held, request)
			free = append(free, request)
		}
	}
	return free
}
