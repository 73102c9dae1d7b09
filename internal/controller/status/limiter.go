// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// How fast statuses are written because of what happens at log-in time. Attackers set that rate, and the API server
// must not feel it: over all users at most 20 writes in any second, and for one user's mere counters one write in
// counterSpacing, which leaves time to keep the promise of a minute.
const (
	// Somewhat less than 20 in a second, since a write happens not when it is let through but shortly after.
	writesPerSecond = 14
	writeBurst      = 3
	counterReserve  = 1 // of the burst, what counters leave to the locks that may come
	counterSpacing  = 50 * time.Second

	// Locks that one statement wrote are no attack: each log-in is a transaction of its own. A thousand of them are
	// written as fast as they can be, and as many that are lifted; saved up again they are within a quarter of an hour or
	// so, which is what a lock lasts.
	togetherBurst     = 2000
	togetherPerSecond = 2

	// togetherTime is how long after one of them the next has to come.
	togetherTime = 10 * time.Second
)

// pace says when a status may be written that differs only in what happened at log-in time. Locks that came or went
// stand in one line, counters and last log-ins in another, which moves only while the first is empty.
type pace struct {
	now func() time.Time

	mu       sync.Mutex
	limiter  *rate.Limiter
	locks    line
	counters line
	last     map[types.UID]time.Time // the last write, for counterSpacing
	together *rate.Limiter
	acts     map[int64]act // by the moment until which they locked, in microseconds
	pruned   time.Time
}

// act is what wrote locks that end in the same moment: a statement, if there are several of them.
type act struct {
	first types.UID // whose lock came first
	seen  time.Time // when one came last
}

func newPace(now func() time.Time) *pace {
	return &pace{
		now:      now,
		limiter:  rate.NewLimiter(writesPerSecond, writeBurst),
		locks:    newLine(),
		counters: newLine(),
		last:     map[types.UID]time.Time{},
		together: rate.NewLimiter(togetherPerSecond, togetherBurst),
		acts:     map[int64]act{},
		pruned:   now(),
	}
}

// wait is how long the write has to wait; 0 means to write now. Urgent tells a lock that came or went from counters, and
// until is the end of that lock, the zero time where it is not known. The wait is an estimate: who comes back has kept its
// place in line, and may have to wait a little more.
func (p *pace) wait(uid types.UID, urgent bool, until time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.prune(now)
	if urgent {
		p.counters.leave(uid)
		if p.isOfMany(uid, until, now) && p.together.AllowN(now, 1) {
			p.locks.leave(uid)
			return 0
		}
		return p.inTurn(&p.locks, uid, now, 1)
	}
	p.locks.leave(uid)
	if since := now.Sub(p.last[uid]); since < counterSpacing {
		return counterSpacing - since
	}
	if p.locks.isEmpty() {
		return p.inTurn(&p.counters, uid, now, 1+counterReserve)
	}
	return max(time.Second, p.counters.place(uid)) // there is nothing left over while locks wait
}

// isOfMany tells whether the lock was written together with another user's.
func (p *pace) isOfMany(uid types.UID, until, now time.Time) bool {
	if until.IsZero() {
		return false
	}
	a, ok := p.acts[until.UnixMicro()]
	if !ok {
		a.first = uid
	}
	a.seen = now
	p.acts[until.UnixMicro()] = a
	return a.first != uid
}

// inTurn is the wait until a turn; 0 where it has come. That takes so many writes that are saved up.
func (p *pace) inTurn(l *line, uid types.UID, now time.Time, saved float64) time.Duration {
	place := l.place(uid)
	if p.limiter.TokensAt(now) < saved || !p.limiter.AllowN(now, 1) {
		return place
	}
	l.leave(uid)
	return 0
}

// settled takes a user out of line who has no need to write any more.
func (p *pace) settled(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(uid)
}

// wrote notes that a user's status was written, for whatever reason.
func (p *pace) wrote(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	p.leave(uid)
	p.last[uid] = now
	p.prune(now)
}

// prune drops what is of no use any more, now and then. It is called with the lock held.
func (p *pace) prune(now time.Time) {
	if now.Sub(p.pruned) < togetherTime {
		return
	}
	p.pruned = now
	maps.DeleteFunc(p.last, func(_ types.UID, at time.Time) bool { return now.Sub(at) >= counterSpacing })
	maps.DeleteFunc(p.acts, func(_ int64, a act) bool { return now.Sub(a.seen) >= togetherTime })
}

// forget drops what is known of a resource that is gone.
func (p *pace) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leave(uid)
	delete(p.last, uid)
}

// leave is called with the lock held.
func (p *pace) leave(uid types.UID) {
	p.locks.leave(uid)
	p.counters.leave(uid)
}

// line is users who wait for their turns. Each draws a number, and how many have left tells how long it is to it.
type line struct {
	numbers map[types.UID]uint64
	drawn   uint64
	left    uint64
}

func newLine() line { return line{numbers: map[types.UID]uint64{}} }

func (l *line) isEmpty() bool { return len(l.numbers) == 0 }

// place is the wait of the place that a user has in line, or takes now.
func (l *line) place(uid types.UID) time.Duration {
	number, ok := l.numbers[uid]
	if !ok {
		number = l.drawn
		l.numbers[uid] = number
		l.drawn++
	}
	turn := 1
	if number > l.left {
		turn += int(number - l.left) //nolint:gosec // no more than there are users
	}
	return time.Duration(turn) * (time.Second / writesPerSecond)
}

// leave takes a user out of line.
func (l *line) leave(uid types.UID) {
	if _, ok := l.numbers[uid]; ok {
		delete(l.numbers, uid)
		l.left++
	}
}
