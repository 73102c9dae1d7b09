// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// clock is a clock that stands until it is moved.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{at: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) move(d time.Duration) { c.at = c.at.Add(d) }

func uid(i int) types.UID { return types.UID(fmt.Sprint("user-", i)) }

// due is a user whose turn to ask again comes at a time.
type due struct {
	uid types.UID
	at  time.Time
}

// writeAll lets all of these users ask for a write, and ask again when they were told to, until each has written. It
// returns when each write was.
func writeAll(p *pace, c *clock, urgent bool, users int) []time.Time {
	var queue []due
	for i := range users {
		queue = append(queue, due{uid(i), c.at})
	}
	var writes []time.Time
	for len(queue) > 0 {
		slices.SortStableFunc(queue, func(a, b due) int { return a.at.Compare(b.at) })
		next := queue[0]
		queue = queue[1:]
		c.at = next.at
		if wait := p.wait(next.uid, urgent); wait > 0 {
			queue = append(queue, due{next.uid, c.at.Add(wait)})
			continue
		}
		p.wrote(next.uid)
		writes = append(writes, c.at)
	}
	return writes
}

// mostInASecond is the largest number of these times in any second.
func mostInASecond(times []time.Time) int {
	most := 0
	for first, last := 0, 0; last < len(times); last++ {
		for times[last].Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

func TestAThousandLocksAreWrittenInTurnAndNoneIsForgotten(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	c.move(time.Hour) // however long nothing happened, no more than the burst is saved up
	from := c.at
	writes := writeAll(p, c, true, 1000)
	if len(writes) != 1000 {
		t.Errorf("%d writes, want 1000", len(writes))
	}
	if most := mostInASecond(writes); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
	if took := c.at.Sub(from); took > 70*time.Second {
		t.Errorf("the last lock was written after %v", took)
	}
}

func TestReconcilersThatComeLateDoNotWriteAllAtOnce(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 1000 {
		p.wait(uid(i), true)
	}
	c.move(10 * time.Second) // 150 turns have come by now, and nobody has used them
	if most := mostInASecond(writeAll(p, c, true, 1000)); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
}

func TestALockAloneIsWrittenAtOnce(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for range 5 {
		if wait := p.wait("a", true); wait != 0 {
			t.Errorf("a lock has to wait %v", wait)
		}
		p.wrote("a")
		c.move(time.Second)
	}
}

func TestAskingAgainKeepsThePlaceInLine(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 20 {
		p.wait(uid(i), true)
	}
	first := p.wait("late", true)
	if first == 0 {
		t.Fatal("there is no line")
	}
	c.move(first / 2)
	if again := p.wait("late", true); again != first-first/2 {
		t.Errorf("the wait is %v after half of %v", again, first)
	}
	c.move(first)
	if wait := p.wait("late", true); wait != 0 {
		t.Errorf("the wait is %v when the turn has come", wait)
	}
}

func TestPlacesThatWereNeverUsedLetNobodyPassLater(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 1000 { // all are locked, and the locks go before their turns come
		p.wait(uid(i), true)
	}
	for i := range 1000 {
		p.settled(uid(i))
	}
	c.move(10 * time.Minute)
	atOnce := 0
	for i := range 1000 {
		if p.wait(uid(i), true) == 0 {
			atOnce++
		}
	}
	if atOnce > writeBurst {
		t.Errorf("%d writes at once, want %d at most", atOnce, writeBurst)
	}
}

func TestAWriteForAnotherReasonGivesThePlaceBack(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 20 {
		p.wait(uid(i), true)
	}
	p.wrote(uid(19)) // a write that was for the spec told of the lock too
	c.move(10 * time.Minute)
	for i := range 5 {
		p.wait(types.UID(fmt.Sprint("other-", i)), true) // takes what is saved up
	}
	if p.wait(uid(19), true) == 0 {
		t.Error("the next lock passes by the place of the last one")
	}
}

func TestCountersOfOneUserAreWrittenOncePerSpacing(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	p.wrote("a")
	c.move(20 * time.Second)
	if wait := p.wait("a", false); wait != counterSpacing-20*time.Second {
		t.Errorf("the wait is %v", wait)
	}
	c.move(counterSpacing)
	if wait := p.wait("a", false); wait != 0 {
		t.Errorf("the wait is %v when the spacing is over", wait)
	}
	if counterSpacing >= time.Minute {
		t.Error("counters are promised within a minute")
	}
}

func TestCountersLeaveRoomForLocks(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	written := 0
	for i := range 100 {
		if p.wait(uid(i), false) == 0 {
			written++
		}
	}
	if written == 0 || written > writeBurst-counterReserve+1 {
		t.Errorf("%d counters at once", written)
	}
	if wait := p.wait("locked", true); wait != 0 {
		t.Errorf("a lock has to wait %v behind counters", wait)
	}
}

func TestCountersOfManyUsersStayBelowTheLimit(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	if most := mostInASecond(writeAll(p, c, false, 100)); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
}

func TestCountersOfAThousandUsersAreWrittenInAboutAMinute(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	from := c.at
	writes := writeAll(p, c, false, 1000)
	if took := c.at.Sub(from); took > 80*time.Second {
		t.Errorf("the last counter was written after %v", took)
	}
	if most := mostInASecond(writes); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
	if len(p.line) != 0 || p.drawn != p.served {
		t.Errorf("%d of %d are still in line", len(p.line), p.drawn)
	}
}

func TestALockPassesAThousandCountersInLine(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 1000 {
		p.wait(uid(i), false)
	}
	c.move(time.Second)
	if wait := p.wait("locked", true); wait != 0 {
		t.Errorf("a lock has to wait %v behind counters", wait)
	}
}

func TestPaceForgets(t *testing.T) {
	c := newClock()
	p := newPace(c.now)
	for i := range 1000 {
		p.wrote(uid(i))
	}
	c.move(2 * counterSpacing)
	p.wrote("the next")
	if len(p.last) != 1 {
		t.Errorf("%d users are remembered, want 1", len(p.last))
	}
	p.wait("a", true)
	p.forget("the next")
	if len(p.last) != 0 {
		t.Error("a resource that is gone is remembered")
	}
}
