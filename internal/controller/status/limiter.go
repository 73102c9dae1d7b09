// SPDX-License-Identifier: Apache-2.0

package status

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

// The limits of status writes that logins cause. Attackers set their rate, and the API server must not feel it: at most 20
// writes in any second over all users, and one write in counterSpacing for the counters of one user, which shows them within
// the promised minute.
const (
	// Somewhat less than 20 a second, since a write happens shortly after it is allowed.
	writesPerSecond = 14
	writeBurst      = 3
	counterReserve  = 1 // of the burst, what counters leave for locks
	counterSpacing  = 50 * time.Second

	// Locks of one statement are no attack, since each login is a transaction of its own. A thousand of them and as many ends
	// are written at once. The budget fills again within about a quarter of an hour, the duration of a lock.
	statementBurst     = 2000
	statementPerSecond = 2

	// statementTime is the longest time between two locks of the same statement.
	statementTime = 10 * time.Second
)

// limiter decides when a status may be written that differs only in what logins cause. Locks and their ends wait in one line,
// counters and last logins in another. The second line moves only while the first is empty.
type limiter struct {
	now  func() time.Time
	last *memory.Slot[time.Time] // the last write of each user, for counterSpacing

	mu         sync.Mutex
	writes     *rate.Limiter
	locks      line
	counters   line
	atOnce     *rate.Limiter       // locks of one statement
	statements map[int64]statement // by the end of their locks, in microseconds
	pruned     time.Time
}

// statement is what wrote locks with the same end, if there are several of them.
type statement struct {
	first types.UID // the user whose lock came first
	seen  time.Time // when the last one came
}

func newLimiter(now func() time.Time, users *memory.Users) *limiter {
	l := &limiter{
		now:        now,
		last:       memory.NewSlot[time.Time](users, counterSpacing),
		writes:     rate.NewLimiter(writesPerSecond, writeBurst),
		locks:      newLine(),
		counters:   newLine(),
		atOnce:     rate.NewLimiter(statementPerSecond, statementBurst),
		statements: map[int64]statement{},
		pruned:     now(),
	}
	users.OnForget(l.leave)
	return l
}

// wait returns how long the write has to wait; 0 means that it may be made now. Urgent is true for a lock or its end, and
// until is the end of that lock, the zero time if it is unknown. The wait is an estimate: a user that asks again keeps its
// place in line, and may have to wait a little more.
func (l *limiter) wait(uid types.UID, urgent bool, until time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.prune(now)
	if urgent {
		l.counters.leave(uid)
		if l.isOfStatement(uid, until, now) && l.atOnce.AllowN(now, 1) {
			l.locks.leave(uid)
			return 0
		}
		return l.inTurn(&l.locks, uid, now, 1)
	}
	l.locks.leave(uid)
	if last, ok := l.last.Get(uid); ok {
		return counterSpacing - now.Sub(last)
	}
	if l.locks.isEmpty() {
		return l.inTurn(&l.counters, uid, now, 1+counterReserve)
	}
	return max(time.Second, l.counters.place(uid)) // nothing is left over while locks wait
}

// isOfStatement reports whether one statement wrote this lock and another user's.
func (l *limiter) isOfStatement(uid types.UID, until, now time.Time) bool {
	if until.IsZero() {
		return false
	}
	s, ok := l.statements[until.UnixMicro()]
	if !ok {
		s.first = uid
	}
	s.seen = now
	l.statements[until.UnixMicro()] = s
	return s.first != uid
}

// inTurn returns the wait until the user's turn; 0 if it has come. A write needs that many saved-up writes.
func (l *limiter) inTurn(turns *line, uid types.UID, now time.Time, saved float64) time.Duration {
	place := turns.place(uid)
	if l.writes.TokensAt(now) < saved || !l.writes.AllowN(now, 1) {
		return place
	}
	turns.leave(uid)
	return 0
}

// wrote records that a user's status was written, for whatever reason.
func (l *limiter) wrote(uid types.UID) {
	l.leave(uid)
	l.last.Put(uid, l.now())
}

// leave takes a user out of both lines, because it has nothing to write any more.
func (l *limiter) leave(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks.leave(uid)
	l.counters.leave(uid)
}

// prune drops old statements, once in a while. It is called with the lock held.
func (l *limiter) prune(now time.Time) {
	if now.Sub(l.pruned) < statementTime {
		return
	}
	l.pruned = now
	maps.DeleteFunc(l.statements, func(_ int64, s statement) bool { return now.Sub(s.seen) >= statementTime })
}

// line is users that wait for their turns. Each draws a number. The number of users that left tells how far away it is.
type line struct {
	numbers map[types.UID]uint64
	drawn   uint64
	left    uint64
}

func newLine() line { return line{numbers: map[types.UID]uint64{}} }

func (l *line) isEmpty() bool { return len(l.numbers) == 0 }

// place returns the wait at the user's place in line, which it takes now if it has none.
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

// leave takes a user out of the line.
func (l *line) leave(uid types.UID) {
	if _, ok := l.numbers[uid]; ok {
		delete(l.numbers, uid)
		l.left++
	}
}
