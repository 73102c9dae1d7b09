// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// How fast statuses are written because of what happens at log-in time. Attackers set that rate, and the API server
// must not feel it: over all users at most 20 writes in any second, and for one user's mere counters one write in
// counterSpacing, which leaves time to keep the promise of a minute.
const (
	writesPerSecond = 15
	writeBurst      = 5
	counterSpacing  = 50 * time.Second

	// mostInWindow is how many writes are let through in any window, however many have had to wait for a reconciler
	// beyond their turns. That is a little less than 20 in a second, since a write does not happen when it is let
	// through but shortly after.
	mostInWindow = 18
	window       = 1100 * time.Millisecond

	// counterReserve is how much of the burst counters leave to the locks that may come.
	counterReserve = 3
)

// pace says when a status may be written that differs only in what happened at log-in time. Locks that came or went
// take the next free place; counters and last log-ins stand in line for what is left over.
type pace struct {
	now     func() time.Time
	limiter *rate.Limiter

	mu     sync.Mutex
	places map[types.UID]time.Time // when a lock's turn to be written is
	line   map[types.UID]uint64    // the numbers that counters drew
	drawn  uint64                  // numbers so far
	served uint64                  // of them, how many have left the line
	last   map[types.UID]time.Time // the last write, for counterSpacing
	pruned time.Time
	passed [mostInWindow]time.Time // when the last writes were let through, a ring
	oldest int                     // of passed
}

func newPace(now func() time.Time) *pace {
	return &pace{
		now:     now,
		limiter: rate.NewLimiter(writesPerSecond, writeBurst),
		places:  map[types.UID]time.Time{},
		line:    map[types.UID]uint64{},
		last:    map[types.UID]time.Time{},
		pruned:  now(),
	}
}

// wait is how long the write has to wait; 0 means to write now. Urgent tells a lock that came or went from counters.
func (p *pace) wait(uid types.UID, urgent bool) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if urgent {
		return p.takePlace(uid, now)
	}
	if since := now.Sub(p.last[uid]); since < counterSpacing {
		return counterSpacing - since
	}
	return p.standInLine(uid, now)
}

// standInLine is the wait until a counter's turn, by how many drew their numbers before it and are still in line. It is
// an estimate: locks come in between, and not everybody comes back when it is his turn.
func (p *pace) standInLine(uid types.UID, now time.Time) time.Duration {
	number, ok := p.line[uid]
	if !ok {
		number = p.drawn
		p.line[uid] = number
		p.drawn++
	}
	turn := 1
	if number > p.served {
		turn += int(number - p.served) //nolint:gosec // no more than there are users
	}
	if p.limiter.TokensAt(now) < counterReserve || p.full(now) > 0 {
		wait := time.Duration(turn) * (time.Second / writesPerSecond)
		if len(p.places) > 0 {
			wait = max(wait, time.Second) // there is nothing left over while locks wait
		}
		return wait
	}
	p.leave(uid)
	p.limiter.AllowN(now, 1)
	p.pass(now)
	return 0
}

// leave takes a user out of line.
func (p *pace) leave(uid types.UID) {
	if _, ok := p.line[uid]; ok {
		delete(p.line, uid)
		p.served++
	}
}

// takePlace is the wait for the place in line that a user has, or takes now.
func (p *pace) takePlace(uid types.UID, now time.Time) time.Duration {
	place, ok := p.places[uid]
	if !ok {
		place = now.Add(p.limiter.ReserveN(now, 1).DelayFrom(now))
	}
	if full := now.Add(p.full(now)); full.After(place) {
		place = full
	}
	if place.After(now) {
		p.places[uid] = place
		return place.Sub(now)
	}
	delete(p.places, uid)
	p.pass(now)
	return 0
}

// full is how long no more writes fit into the window; 0 where one does.
func (p *pace) full(now time.Time) time.Duration {
	return max(0, window-now.Sub(p.passed[p.oldest]))
}

// pass notes a write that is let through.
func (p *pace) pass(now time.Time) {
	p.passed[p.oldest] = now
	p.oldest = (p.oldest + 1) % len(p.passed)
}

// settled gives the place in line back that a user may have and has no need of any more: a place that stayed would let
// a later lock pass at any time.
func (p *pace) settled(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.places, uid)
	p.leave(uid)
}

// wrote notes that a user's status was written, for whatever reason.
func (p *pace) wrote(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.last[uid] = now
	delete(p.places, uid)
	p.leave(uid)
	if now.Sub(p.pruned) < counterSpacing {
		return
	}
	p.pruned = now
	for uid, at := range p.last {
		if now.Sub(at) >= counterSpacing {
			delete(p.last, uid)
		}
	}
}

// forget drops what is known of a resource that is gone.
func (p *pace) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.places, uid)
	delete(p.last, uid)
	p.leave(uid)
}
