// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

// clock stands still until it is moved.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{at: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) move(d time.Duration) { c.at = c.at.Add(d) }

func newTestLimiter(c *clock) *limiter { return newLimiter(c.now, memory.New(c.now)) }

func uid(i int) types.UID { return types.UID(fmt.Sprint("user-", i)) }

// due is a user whose turn to ask again comes at a time.
type due struct {
	uid   types.UID
	until time.Time // of the lock
	at    time.Time
}

// lockOfItsOwn ends at another time than every other user's.
func lockOfItsOwn(i int) time.Time {
	return newClock().at.Add(time.Hour + time.Duration(i)*time.Microsecond)
}

// oneLock ends at the same time as every other user's.
func oneLock(int) time.Time { return lockOfItsOwn(0) }

// noLock is of those who ask for their counters.
func noLock(int) time.Time { return time.Time{} }

// writeAll lets all of these users ask for a write, and ask again when they were told to, until each has written. It
// returns when each write was.
func writeAll(l *limiter, c *clock, until func(int) time.Time, users int) []time.Time {
	var queue []due
	for i := range users {
		queue = append(queue, due{uid(i), until(i), c.at})
	}
	var writes []time.Time
	for len(queue) > 0 {
		slices.SortStableFunc(queue, func(a, b due) int { return a.at.Compare(b.at) })
		next := queue[0]
		queue = queue[1:]
		c.at = next.at
		if wait := l.wait(next.uid, !next.until.IsZero(), next.until); wait > 0 {
			queue = append(queue, due{next.uid, next.until, c.at.Add(wait)})
			continue
		}
		l.wrote(next.uid)
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
	l := newTestLimiter(c)
	c.move(time.Hour) // however long nothing happened, no more than the burst is saved up
	from := c.at
	writes := writeAll(l, c, lockOfItsOwn, 1000)
	if len(writes) != 1000 {
		t.Errorf("%d writes, want 1000", len(writes))
	}
	if most := mostInASecond(writes); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
	if took := c.at.Sub(from); took > 80*time.Second {
		t.Errorf("the last lock was written after %v", took)
	}
}

func TestAThousandLocksOfOneStatementAreWrittenAtOnce(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	from := c.at
	writes := writeAll(l, c, oneLock, 1000)
	if last := writes[len(writes)-1]; len(writes) != 1000 || last != from {
		t.Errorf("%d writes, the last of them after %v", len(writes), last.Sub(from))
	}

	// They end together as well.
	c.move(15 * time.Minute)
	from = c.at
	writes = writeAll(l, c, oneLock, 1000)
	if last := writes[len(writes)-1]; last != from {
		t.Errorf("the last one's end was written after %v", last.Sub(from))
	}
}

func TestMoreLocksOfOneStatementThanAreSavedUpWaitForTheirTurns(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	from := c.at
	writes := writeAll(l, c, oneLock, 4000)
	var later []time.Time
	for _, at := range writes {
		if at.After(from) {
			later = append(later, at)
		}
	}
	if atOnce := len(writes) - len(later); atOnce > statementBurst+writeBurst {
		t.Errorf("%d writes at once", atOnce)
	}
	if most := mostInASecond(later); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
}

func TestAStatementsLocksDoNotWaitForAnAttacksLocks(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 1000 {
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	for i := range 500 {
		wait := l.wait(types.UID(fmt.Sprint("locked-", i)), true, lockOfItsOwn(-1))
		if i > 0 && wait != 0 { // there is no telling the first of them from the attack's
			t.Fatalf("lock %d has to wait %v", i, wait)
		}
	}
}

func TestALockThatIsPutOffIsNotTakenForTwo(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 100 {
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	for range 3 {
		if l.wait(uid(99), true, lockOfItsOwn(99)) == 0 {
			t.Fatal("it is written before its turn")
		}
	}
}

func TestReconcilersThatComeLateDoNotWriteAllAtOnce(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 1000 {
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	c.move(10 * time.Second) // 150 turns have come by now, and nobody has used them
	if most := mostInASecond(writeAll(l, c, lockOfItsOwn, 1000)); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
}

func TestALockAloneIsWrittenAtOnce(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for range 5 {
		if wait := l.wait("a", true, time.Time{}); wait != 0 {
			t.Errorf("a lock has to wait %v", wait)
		}
		l.wrote("a")
		c.move(time.Second)
	}
}

func TestAskingAgainKeepsThePlaceInLine(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 20 {
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	first := l.wait("late", true, time.Time{})
	if first == 0 {
		t.Fatal("there is no line")
	}
	l.wait("later", true, time.Time{})
	if again := l.wait("late", true, time.Time{}); again != first {
		t.Errorf("the wait is %v after %v", again, first)
	}
	c.move(first)
	writeAll(l, c, lockOfItsOwn, 20)
	c.move(time.Second / writesPerSecond)
	if wait := l.wait("late", true, time.Time{}); wait != 0 {
		t.Errorf("the wait is %v when the turn has come", wait)
	}
}

func TestUnusedPlacesLetNoWritePassLater(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 1000 { // all are locked, and the locks go before their turns come
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	for i := range 1000 {
		l.leave(uid(i))
	}
	c.move(10 * time.Minute)
	atOnce := 0
	for i := range 1000 {
		if l.wait(uid(i), true, lockOfItsOwn(i)) == 0 {
			atOnce++
		}
	}
	if atOnce > writeBurst {
		t.Errorf("%d writes at once, want %d at most", atOnce, writeBurst)
	}
}

func TestAWriteForAnotherReasonGivesThePlaceBack(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 20 {
		l.wait(uid(i), true, lockOfItsOwn(i))
	}
	l.wrote(uid(19)) // a write for the spec reported the lock too
	c.move(10 * time.Minute)
	for i := range 5 {
		l.wait(types.UID(fmt.Sprint("other-", i)), true, time.Time{}) // takes what is saved up
	}
	if l.wait(uid(19), true, time.Time{}) == 0 {
		t.Error("the next lock passes by the place of the last one")
	}
}

func TestCountersOfOneUserAreWrittenOncePerSpacing(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	l.wrote("a")
	c.move(20 * time.Second)
	if wait := l.wait("a", false, time.Time{}); wait != counterSpacing-20*time.Second {
		t.Errorf("the wait is %v", wait)
	}
	c.move(counterSpacing)
	if wait := l.wait("a", false, time.Time{}); wait != 0 {
		t.Errorf("the wait is %v when the spacing is over", wait)
	}
	if counterSpacing >= time.Minute {
		t.Error("counters are promised within a minute")
	}
}

func TestCountersLeaveRoomForLocks(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	written := 0
	for i := range 100 {
		if l.wait(uid(i), false, time.Time{}) == 0 {
			written++
		}
	}
	if written == 0 || written > writeBurst-counterReserve {
		t.Errorf("%d counters at once", written)
	}
	if wait := l.wait("locked", true, time.Time{}); wait != 0 {
		t.Errorf("a lock has to wait %v behind counters", wait)
	}
}

func TestCountersOfManyUsersStayBelowTheLimit(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	if most := mostInASecond(writeAll(l, c, noLock, 100)); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
}

func TestCountersOfAThousandUsersAreWrittenInAboutAMinute(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	from := c.at
	writes := writeAll(l, c, noLock, 1000)
	if took := c.at.Sub(from); took > 80*time.Second {
		t.Errorf("the last counter was written after %v", took)
	}
	if most := mostInASecond(writes); most > 20 {
		t.Errorf("%d writes in a second, want 20 at most", most)
	}
	if !l.counters.isEmpty() || l.counters.drawn != l.counters.left {
		t.Errorf("%d of %d are still in line", len(l.counters.numbers), l.counters.drawn)
	}
}

func TestALockPassesAThousandCountersInLine(t *testing.T) {
	c := newClock()
	l := newTestLimiter(c)
	for i := range 1000 {
		l.wait(uid(i), false, time.Time{})
	}
	c.move(time.Second)
	if wait := l.wait("locked", true, time.Time{}); wait != 0 {
		t.Errorf("a lock has to wait %v behind counters", wait)
	}
}

func TestTheLimiterForgets(t *testing.T) {
	c := newClock()
	users := memory.New(c.now)
	l := newLimiter(c.now, users)
	for i := range 1000 {
		l.wrote(uid(i))
	}
	c.move(2 * counterSpacing)
	l.wrote("the next")
	if users.Len() != 1 {
		t.Errorf("%d users are remembered, want 1", users.Len())
	}
	l.wait("the next", true, lockOfItsOwn(0))
	l.wait("the next", true, lockOfItsOwn(0))
	users.Forget("the next")
	if users.Len() != 0 || !l.locks.isEmpty() {
		t.Error("a resource that is gone is remembered")
	}
	c.move(2 * statementTime)
	l.wait("another", true, lockOfItsOwn(1)) // the statement is recorded whether or not the write is allowed
	if len(l.statements) != 1 {
		t.Error("a lock of long ago is remembered")
	}
}
