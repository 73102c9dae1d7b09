// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A forged history: what a ledger would know had this happened to the user vera, of whom the right password is "right".
type forged struct {
	*ledger
	noon time.Time
}

func forge() forged {
	f := forged{noon: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	f.ledger = newLedger(rules{
		attempts: 5, alone: 2, lock: 15 * time.Second, known: 2 * time.Second, settling: 25 * time.Second,
	})
	f.intend("vera", "right", true, f.at(-60))
	f.settle("vera", f.at(-50))
	return f
}

// at is so many seconds after noon.
func (f forged) at(seconds float64) time.Time {
	return f.noon.Add(time.Duration(seconds * float64(time.Second)))
}

// asks is an attempt that is answered a tenth of a second later.
func (f forged) asks(process int, password string, status int, at float64) int64 {
	a := f.begin(attempt{user: "vera", password: password, process: process, sent: f.at(at)})
	f.end(a, status, f.at(at+0.1))
	return a.id
}

// fails is an attempt that failed, by the database's count, which is then this.
func (f forged) fails(at float64, failed int, lock time.Time) {
	id := f.asks(1, "wrong", http.StatusUnauthorized, at)
	f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcomeFailed, lock: lock}}, nil, f.at(90))
	f.row(at+0.02, failed, lock)
}

// unchecked is an attempt that was charged and never compared.
func (f forged) unchecked(at float64, failed int, lock time.Time) {
	id := f.asks(1, "right", http.StatusServiceUnavailable, at)
	f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcomeUnchecked, lock: lock}}, nil, f.at(90))
	f.row(at+0.02, failed, lock)
}

// row is a write to the row.
func (f forged) row(at float64, failed int, lock time.Time) {
	f.write(change{at: f.at(at), failed: failed, lock: lock})
}

func (f forged) write(c change) {
	c.seq, c.user = int64(len(f.changes["vera"])+1), "vera"
	f.learn(nil, []change{c}, f.at(90))
}

// merged is an attempt that was decided from memory, and merged later.
func (f forged) merged(process int, at float64, outcome string) {
	status := http.StatusUnauthorized
	password := "wrong"
	if outcome == outcomeSuccess {
		status, password = http.StatusOK, "right"
	}
	id := f.asks(process, password, status, at)
	f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcome, merged: true, kept: f.at(at + 0.5)}}, nil, f.at(90))
}

// locked is five failures in the first five seconds, and the lock that the fifth writes.
func (f forged) locked() (until time.Time) {
	until = f.at(19)
	for i := range 4 {
		f.fails(float64(i), i+1, time.Time{})
	}
	f.fails(4, 5, until)
	return until
}

func TestALedgerFindsTheOnePromiseThatIsBroken(t *testing.T) {
	t.Parallel()
	none := time.Time{}
	for name, c := range map[string]struct {
		history func(f forged)
		want    string // in the only violation; empty for none
	}{
		"five failures, a lock, and nothing checked under it": {func(f forged) {
			f.locked()
			id := f.asks(2, "right", http.StatusUnauthorized, 6)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(6), outcome: "locked"}}, nil, f.at(90))
		}, ""},
		"a sixth check without a lock": {func(f forged) {
			for i := range 6 {
				f.fails(float64(i), i+1, none)
			}
		}, "check 6 for one lock"},
		"a check under a lock": {func(f forged) {
			until := f.locked()
			f.fails(10, 6, until)
		}, "under a lock"},
		"a check after the lock ran out": {func(f forged) {
			f.locked()
			f.fails(20, 1, none)
		}, ""},
		"six checks after the lock ran out": {func(f forged) {
			f.locked()
			for i := range 6 {
				f.fails(20+float64(i), i+1, none)
			}
		}, "check 6 for one lock"},
		"five checks after a lock ran out and an outage's first failure took its place": {func(f forged) {
			f.locked()
			f.merged(1, 20, outcomeFailed)
			f.row(21, 1, none)
			for i := range 4 {
				f.fails(22+float64(i), i+2, none)
			}
		}, ""},
		"a lock that goes before its time": {func(f forged) {
			f.locked()
			f.row(8, 0, none)
		}, "was lost"},
		"a lock that becomes shorter": {func(f forged) {
			f.locked()
			f.row(8, 5, f.at(9))
		}, "was lost"},
		"a counter that goes back": {func(f forged) {
			f.fails(0, 1, none)
			f.fails(1, 2, none)
			f.row(2, 1, none)
		}, "the counter went from 2 to 1"},
		"a counter that goes back by an attempt that was never compared": {func(f forged) {
			f.fails(0, 1, none)
			f.unchecked(1, 2, none)
			f.row(2, 1, none)
		}, ""},
		"a counter that goes back by more than was never compared": {func(f forged) {
			f.fails(0, 1, none)
			f.unchecked(1, 2, none)
			f.row(2, 0, none)
		}, "the counter went from 2 to 0"},
		"a lock of an attempt that was never compared": {func(f forged) {
			for i := range 4 {
				f.fails(float64(i), i+1, none)
			}
			f.unchecked(4, 5, f.at(19))
			f.row(8, 4, none)
		}, ""},
		"a lock of another attempt than the one that was never compared": {func(f forged) {
			f.unchecked(-1, 1, none)
			f.locked()
			f.row(8, 4, none)
		}, "was lost"},
		"a lock that somebody asked to lift": {func(f forged) {
			f.locked()
			f.unlock("vera", f.at(7))
			f.row(8, 0, none)
			f.settle("vera", f.at(12))
			f.fails(13, 1, none)
		}, ""},
		"a lock that goes long after one was asked to lift it": {func(f forged) {
			f.unlock("vera", f.at(-20))
			f.settle("vera", f.at(-10))
			f.locked()
			f.row(8, 0, none)
		}, "was lost"},
		"a lock that goes with the old password": {func(f forged) {
			f.locked()
			f.intend("vera", "new", true, f.at(7))
			f.row(8, 0, none)
		}, ""},
		"a lock that only a deactivation could explain": {func(f forged) {
			f.locked()
			f.intend("vera", "", false, f.at(7))
			f.row(8, 0, none)
		}, "was lost"},
		"a counter that a log-in clears": {func(f forged) {
			f.fails(0, 1, none)
			id := f.asks(1, "right", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
			f.row(1.02, 2, none)
			f.row(1.08, 0, none)
		}, ""},
		"a counter that goes after the log-in was answered": {func(f forged) {
			id := f.asks(1, "right", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
			f.row(1.02, 1, none)
			f.row(1.05, 0, none)
			f.fails(2, 1, none)
			f.row(3, 0, none)
		}, "the counter went from 1 to 0"},
		"a right password on the last try": {func(f forged) {
			for i := range 4 {
				f.fails(float64(i), i+1, none)
			}
			id := f.asks(1, "right", http.StatusOK, 4)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(4.01), outcome: outcomeSuccess, lock: f.at(19)}}, nil, f.at(90))
			f.row(4.02, 5, f.at(19))
			f.row(4.08, 0, none)
		}, ""},
		"a log-in that lifts another attempt's lock": {func(f forged) {
			for i := range 3 {
				f.fails(float64(i), i+1, none)
			}
			a := f.begin(attempt{user: "vera", password: "right", process: 1, sent: f.at(3)})
			f.learn([]record{{id: a.id, attempt: a.id, user: "vera", at: f.at(3.01), outcome: outcomeSuccess}}, nil, f.at(90))
			f.row(3.02, 4, none)
			f.fails(4, 5, f.at(19))
			f.row(4.5, 0, none)
			f.end(a, http.StatusOK, f.at(4.6))
		}, "was lost"},
		"what another program writes": {func(f forged) {
			f.locked()
			f.write(change{at: f.at(8), foreign: true})
			f.fails(9, 1, none)
		}, ""},

		"a wrong password that gets in": {func(f forged) {
			id := f.asks(1, "wrong", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "a password was accepted that was not valid"},
		"an old password that gets in while the new one is not in force": {func(f forged) {
			f.intend("vera", "new", true, f.at(0))
			id := f.asks(1, "right", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
			f.settle("vera", f.at(3))
		}, ""},
		"an old password that gets in once the new one is in force": {func(f forged) {
			f.intend("vera", "new", true, f.at(0))
			f.settle("vera", f.at(3))
			id := f.asks(1, "right", http.StatusOK, 4)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(4.01), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "a password was accepted that was not valid"},
		"the password of a user that was deactivated": {func(f forged) {
			f.intend("vera", "", false, f.at(0))
			f.settle("vera", f.at(3))
			id := f.asks(1, "right", http.StatusOK, 4)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(4.01), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "a password was accepted that was not valid"},
		"another program's password, until that was put back": {func(f forged) {
			f.admit("vera", "foreign", f.at(0))
			for _, at := range []float64{1, 4} {
				id := f.asks(1, "foreign", http.StatusOK, at)
				f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcomeSuccess}}, nil, f.at(90))
				f.settle("vera", f.at(3))
			}
		}, "attempt 2: a password was accepted that was not valid"},

		"the right password that is found wrong": {func(f forged) {
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
		}, "which was found to be wrong"},
		"the right password of a user who is deactivated meanwhile": {func(f forged) {
			f.intend("vera", "", false, f.at(1.05))
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
		}, ""},
		"the right password of a user whose row another program deletes meanwhile": {func(f forged) {
			f.admit("vera", "right", f.at(1.05))
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
			f.settle("vera", f.at(8))
		}, ""},
		"the right password that is found wrong before a change": {func(f forged) {
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
			f.intend("vera", "", false, f.at(2))
		}, "which was found to be wrong"},
		"a new password that is not in force yet": {func(f forged) {
			f.intend("vera", "new", true, f.at(0))
			id := f.asks(1, "new", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
		}, ""},

		"an attempt that is not on record": {func(f forged) {
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
		}, "is not on record"},
		"an attempt that nobody answered, and that is not on record": {func(f forged) {
			f.asks(1, "wrong", 0, 1)
			f.asks(1, "wrong", http.StatusServiceUnavailable, 2)
		}, ""},
		"an attempt that is on record twice": {func(f forged) {
			f.fails(1, 1, none)
			f.learn([]record{{id: 77, attempt: 1, user: "vera", at: f.at(1.5), outcome: "locked"}}, nil, f.at(90))
		}, "is on record twice"},
		"an attempt that was sent away, and is on record": {func(f forged) {
			id := f.asks(1, "wrong", http.StatusTooManyRequests, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: "locked"}}, nil, f.at(90))
		}, "was sent away by 429"},
		"a record of no attempt": {func(f forged) {
			f.learn([]record{{id: 7, attempt: 7, user: "vera", at: f.at(1), outcome: "locked"}}, nil, f.at(90))
		}, "is of no attempt"},
		"a success on record of who was refused": {func(f forged) {
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "was answered 401 and is on record as success"},
		"an attempt of an outage that is lost with its process": {func(f forged) {
			f.mark(&f.away, f.at(0))
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
			f.over(1, f.at(2))
			f.unmark(&f.away, f.at(5))
		}, ""},
		"an attempt of an outage that its process lived to merge": {func(f forged) {
			f.mark(&f.away, f.at(0))
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
			f.unmark(&f.away, f.at(5))
			f.over(1, f.at(9))
		}, "is not on record"},
		"an attempt without an outage, whose process was killed": {func(f forged) {
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
			f.over(1, f.at(2))
		}, "is not on record"},

		"five checks of which an outage had two": {func(f forged) {
			f.merged(1, 1, outcomeFailed)
			f.merged(1, 2, outcomeFailed)
			f.row(2.4, 2, none)
			for i := range 3 {
				f.fails(3+float64(i), 3+i, none)
			}
		}, ""},
		"six checks of which an outage had two": {func(f forged) {
			f.merged(1, 1, outcomeFailed)
			f.merged(1, 2, outcomeFailed)
			f.row(2.4, 2, none)
			for i := range 4 {
				f.fails(3+float64(i), 3+i, none)
			}
		}, "check 6 for one lock"},
		"six checks of which an outage had two, and a log-in after them": {func(f forged) {
			f.merged(1, 1, outcomeFailed)
			f.merged(1, 2, outcomeFailed)
			f.merged(1, 2.2, outcomeSuccess)
			for i := range 4 {
				f.fails(3+float64(i), 1+i, none)
			}
		}, ""},
		"two checks each by two replicas in an outage": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for i := range 2 {
				f.merged(1, 1+float64(i), outcomeFailed)
				f.merged(2, 1.5+float64(i), outcomeFailed)
			}
		}, ""},
		"a third check by one replica in an outage": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for i := range 3 {
				f.merged(1, 1+float64(i), outcomeFailed)
			}
		}, "check 3 of an outage by process 1"},
		"two more once a lock of the outage ran out": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for _, at := range []float64{1, 2, 17.1, 18} {
				f.merged(1, at, outcomeFailed)
			}
		}, ""},
		"a sixth check from memory in many short outages": {func(f forged) {
			for i := range 6 {
				f.merged(1, 1+float64(i), outcomeFailed)
			}
		}, "check 6 from memory by process 1"},
		"a sixth check in an outage by three processes": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for i := range 6 {
				f.merged(1+i/2, 1+float64(i), outcomeFailed)
			}
		}, "check 6 of an outage by all replicas"},
		"checks of an outage that were lost with a process count no more": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for i := range 6 {
				f.merged(1+i/2, 1+float64(i), outcomeFailed)
			}
			f.over(1, f.at(2.5))
		}, ""},
		"a check from memory under a lock that everybody knew": {func(f forged) {
			f.mark(&f.calm, f.at(-50))
			f.locked()
			f.unmark(&f.calm, f.at(8))
			f.merged(2, 9, outcomeSuccess)
		}, "that every replica knew"},
		"a check from memory under a lock that came with the outage": {func(f forged) {
			f.mark(&f.calm, f.at(-50))
			f.locked()
			f.unmark(&f.calm, f.at(5))
			f.merged(2, 9, outcomeFailed)
		}, ""},
		"credentials that were recognised under a lock that everybody knew": {func(f forged) {
			f.mark(&f.calm, f.at(-50))
			f.locked()
			a := f.begin(attempt{user: "vera", password: "right", process: 1, verify: true, sent: f.at(10)})
			f.end(a, http.StatusOK, f.at(10.1))
		}, "was let pass under a lock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := forge()
			c.history(f)
			broken := f.judge(f.at(100))
			switch {
			case c.want == "" && len(broken) > 0:
				t.Errorf("it found %v", broken)
			case c.want != "" && (len(broken) != 1 || !strings.Contains(broken[0].what, c.want)):
				t.Errorf("it found %v, want one that says %q", broken, c.want)
			}
		})
	}
}

func TestWhatIsNotYetOnRecordIsNoViolationBeforeItHasToBe(t *testing.T) {
	t.Parallel()
	f := forge()
	f.asks(1, "wrong", http.StatusUnauthorized, 1)
	for _, complete := range []time.Time{{}, f.at(0.5)} {
		if broken := f.judge(complete); len(broken) > 0 {
			t.Errorf("complete until %v: it found %v", complete, broken)
		}
	}
}

func TestWhatWasReadBeforeTheAnswerMayBePendingStill(t *testing.T) {
	t.Parallel()
	f := forge()
	id := f.asks(1, "right", http.StatusOK, 1)
	pending := []record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomePending}}
	f.learn(pending, nil, f.at(1.05))
	if broken := f.judge(f.at(100)); len(broken) > 0 {
		t.Errorf("it found %v", broken)
	}
	f.learn(pending, nil, f.at(2))
	if broken := f.judge(f.at(100)); len(broken) != 1 {
		t.Errorf("it found %v, want that a success is not on record", broken)
	}
}

func TestWhatWasReadTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	f := forge()
	f.locked()
	for _, changes := range f.changes {
		f.learn(nil, changes, f.at(90))
	}
	if n := len(f.changes["vera"]); n != 5 {
		t.Errorf("%d changes of 5", n)
	}
}
