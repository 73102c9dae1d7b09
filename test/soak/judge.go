// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A violation is a promise that was not kept.
type violation struct {
	what string
	user string // whom it is about; empty where nobody
	at   time.Time
}

// judge is every promise that was broken, as far as is known. Complete is the moment up to which all attempts that were made
// have to be on record: zero while nobody can say so.
func (l *ledger) judge(complete time.Time) (all []violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.recordsByUser()
	all = append(all, l.judgeAnswers()...)
	all = append(all, l.judgeRecord(complete)...)
	for user, own := range records {
		all = append(all, l.judgeChecks(user, own)...)
		all = append(all, l.judgeMemory(user, own)...)
	}
	for user := range l.changes {
		all = append(all, l.judgeClears(user, records[user])...)
	}
	slices.SortFunc(all, func(a, b violation) int { return a.at.Compare(b.at) })
	return all
}

// judgeAnswers: nobody gets in by a password that was never valid, or not any more. What was judged once stays so: later
// changes do not reach back.
func (l *ledger) judgeAnswers() (all []violation) {
	for id, a := range l.attempts {
		if l.judgedAnswers[id] || a.answered.IsZero() {
			continue
		}
		l.judgedAnswers[id] = true
		if a.status == http.StatusOK && !l.passwords.acceptable(a.user, a.password, a.sent, a.answered) {
			all = append(all, violation{
				fmt.Sprintf("attempt %d: a password was accepted that was not valid between %s and %s", id, clock(a.sent), clock(a.answered)),
				a.user, a.answered,
			})
		}
	}
	return all
}

// judgeRecord: each attempt that was answered by 200 or 401 is on record once, each that was not answered at most once, and
// nothing else is; and what is on record is what was answered, and right.
func (l *ledger) judgeRecord(complete time.Time) (all []violation) {
	found := map[int64]int{}
	for _, r := range l.records {
		a := l.attempts[r.attempt]
		if a == nil {
			all = append(all, violation{fmt.Sprintf("record %d is of no attempt that was made", r.id), r.user, r.at})
			continue
		}
		found[a.id]++
		switch {
		case found[a.id] == 2:
			all = append(all, violation{fmt.Sprintf("attempt %d is on record twice", a.id), a.user, r.at})
		case !a.answered.Before(r.asOf):
		case a.status == http.StatusTooManyRequests:
			all = append(all, violation{fmt.Sprintf("attempt %d was sent away by 429 and is on record", a.id), a.user, r.at})
		case a.status == http.StatusUnauthorized && r.outcome == outcomeFailed && l.passwords.certain(a.user, a.password, a.sent, a.answered):
			all = append(all, violation{fmt.Sprintf("attempt %d: the right password was found to be wrong", a.id), a.user, r.at})
		case a.status == http.StatusOK && r.outcome != outcomeSuccess, a.status == http.StatusUnauthorized && r.outcome == outcomeSuccess:
			all = append(all, violation{
				fmt.Sprintf("attempt %d was answered %d and is on record as %s", a.id, a.status, r.outcome), a.user, r.at,
			})
		}
	}
	for id, a := range l.attempts {
		decided := a.status == http.StatusOK || a.status == http.StatusUnauthorized
		if !decided || found[id] > 0 || complete.IsZero() || a.answered.After(complete) || l.lostWithItsProcess(a) {
			continue
		}
		if a.verify {
			// It was recognised, without a check.
			if until := l.knownLock(a.user, a.sent); a.status == http.StatusOK && a.answered.Before(until) {
				all = append(all, violation{fmt.Sprintf("attempt %d was let pass under a lock until %s", id, clock(until)), a.user, a.answered})
			}
			continue
		}
		all = append(all, violation{fmt.Sprintf("attempt %d was answered %d and "+notOnRecord, id, a.status), a.user, a.answered})
	}
	return all
}

// lostWithItsProcess tells whether the attempt may have been decided from memory by a process that did not live to merge it.
func (l *ledger) lostWithItsProcess(a *attempt) bool {
	end, ended := l.ended[a.process]
	return ended && slices.ContainsFunc(l.away, func(s span) bool {
		return s.touches(a.sent, a.answered) && s.holds(end)
	})
}

// judgeChecks: for each lock, no more passwords than the limit are compared by the database's count, and none while there is
// a lock. Charges of one row wait for each other, so the times of records and of rows are in the order of the charges.
func (l *ledger) judgeChecks(user string, records []record) (all []violation) {
	changes := l.changes[user]
	checks, lock := 0, time.Time{}
	for _, r := range records {
		if r.merged || !r.checked() {
			continue
		}
		for len(changes) > 0 && changes[0].at.Before(r.at) {
			ranOut := !lock.IsZero() && !changes[0].at.Before(lock) // and what an outage brought took its place
			if changes[0].failed == 0 || changes[0].foreign || ranOut {
				checks = 0 // cleared: whether rightly so, judgeClears says
			}
			lock = changes[0].lock
			changes = changes[1:]
		}
		if !lock.IsZero() && r.at.Before(lock) {
			all = append(all, violation{
				fmt.Sprintf("attempt %d was checked at %s under a lock until %s", r.attempt, clock(r.at), clock(lock)), user, r.at,
			})
			continue
		}
		if !lock.IsZero() {
			checks, lock = 0, time.Time{} // it ran out
		}
		if checks++; checks > l.rules.attempts {
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d for one lock", r.attempt, checks), user, r.at})
		}
	}
	return all
}

// judgeMemory: while the database is away, each replica counts by itself. It has no more than its own budget, both together
// have no more than one in an outage, and none of them checks anything under a lock that it can know of.
func (l *ledger) judgeMemory(user string, records []record) (all []violation) {
	var memory []record
	for _, r := range records {
		if r.merged && r.checked() {
			memory = append(memory, r)
		}
	}
	for i, r := range memory {
		begun := r.at.Add(-l.rules.lock)
		byProcess, solid, sum := 0, 0, 0
		within := l.spanOf(l.solid, r.at)
		for _, before := range memory[:i+1] {
			if !before.at.After(begun) || anyTouches(l.excuses[user], begun, r.at) {
				continue
			}
			if before.outcome == outcomeSuccess && before.id != r.id {
				byProcess, solid, sum = 0, 0, 0
				continue
			}
			same := l.processOf(before) == l.processOf(r)
			inside := within != nil && within.holds(before.at)
			if same {
				byProcess++
			}
			if same && inside {
				solid++
			}
			if end, over := l.ended[l.processOf(before)]; inside && (!over || !within.holds(end)) {
				sum++ // what one counted that was killed in the outage is lost with it
			}
		}
		switch {
		case byProcess > l.rules.attempts:
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d from memory by process %d for one lock",
				r.attempt, byProcess, l.processOf(r)), user, r.at})
		case solid > l.rules.alone:
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d of an outage by process %d for one lock",
				r.attempt, solid, l.processOf(r)), user, r.at})
		case sum > l.rules.attempts:
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d of an outage by all replicas for one lock",
				r.attempt, sum), user, r.at})
		}
		if until := l.knownLock(user, r.at); !until.IsZero() {
			all = append(all, violation{fmt.Sprintf("attempt %d was checked from memory at %s under a lock until %s that every replica knew",
				r.attempt, clock(r.at), clock(until)), user, r.at})
		}
	}
	return all
}

func (l *ledger) processOf(r record) int {
	if a := l.attempts[r.attempt]; a != nil {
		return a.process
	}
	return -1
}

func (l *ledger) spanOf(spans []span, at time.Time) *span {
	for i := range spans {
		if spans[i].holds(at) {
			return &spans[i]
		}
	}
	return nil
}

// knownLock is the end of a lock that was in force at that moment, and that every replica had the time to learn of while
// nothing was broken; zero where there is none.
func (l *ledger) knownLock(user string, at time.Time) time.Time {
	changes := l.changes[user]
	for i, c := range changes {
		over := c.lock
		if i+1 < len(changes) && changes[i+1].at.Before(over) && !changes[i+1].lock.Equal(c.lock) {
			over = changes[i+1].at
		}
		known := c.at.Add(l.rules.known)
		if c.lock.IsZero() || !at.Before(over) || known.After(at) || anyTouches(l.excuses[user], c.at, at) {
			continue
		}
		if anyTouches(l.calm, known, at) {
			return c.lock
		}
	}
	return time.Time{}
}

// judgeClears: no lock goes before it runs out, and no counter, without a reason.
func (l *ledger) judgeClears(user string, records []record) (all []violation) {
	var last change
	for _, c := range l.changes[user] {
		before := last
		last = c
		if c.foreign {
			continue
		}
		locked := before.lock.After(c.at)
		shortened := locked && c.lock.Before(before.lock)
		lowered := c.failed < before.failed && (before.lock.IsZero() || locked)
		if (!shortened && !lowered) || anyTouches(l.excuses[user], c.at, c.at) || l.succeeded(records, c, before, shortened) {
			continue
		}
		what := fmt.Sprintf("the counter went from %d to %d", before.failed, c.failed)
		if shortened {
			what = fmt.Sprintf("the lock until %s was lost: it is %s now", clock(before.lock), clock(c.lock))
		}
		all = append(all, violation{what + ", and nobody asked for that or logged in", user, c.at})
	}
	return all
}

// succeeded tells whether a log-in explains that the row was cleared. Of locks it lifts the one that its own charge wrote.
func (l *ledger) succeeded(records []record, c, before change, shortened bool) bool {
	return slices.ContainsFunc(records, func(r record) bool {
		if r.outcome != outcomeSuccess || r.merged || r.at.After(c.at) {
			return false
		}
		settled := r.at.Add(l.rules.settling)
		if a := l.attempts[r.attempt]; a != nil && a.status == http.StatusOK {
			settled = a.answered
		}
		return !c.at.After(settled) && (!shortened || r.lock.Equal(before.lock))
	})
}

// notOnRecord is how the sentence about a missing record ends: what an outage decided is recorded some time after it.
const notOnRecord = "is not on record"
