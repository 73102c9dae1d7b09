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
// nothing else is; and what is on record is what was answered, and right. Of attempts that were refused without a check, the record
// may have a number instead.
func (l *ledger) judgeRecord(complete time.Time) (all []violation) {
	found := map[int64]int{}
	for _, r := range l.records {
		a := l.attempts[r.attempt]
		if a == nil {
			all = append(all, violation{fmt.Sprintf("record %d is of no attempt that was made", r.id), r.user, r.at})
			continue
		}
		if found[a.id]++; found[a.id] == 2 {
			all = append(all, violation{fmt.Sprintf("attempt %d is on record twice", a.id), a.user, r.at})
		}
		if wrong := l.contradiction(a, r); wrong != "" && a.answered.Before(r.asOf) {
			all = append(all, violation{fmt.Sprintf("attempt %d %s", a.id, wrong), a.user, r.at})
		}
	}
	var refused []violation
	for id, a := range l.attempts {
		if found[id] != 0 || complete.IsZero() || !a.answered.Before(complete) {
			continue
		}
		missing := l.judgeMissing(a)
		if a.status == http.StatusUnauthorized {
			refused = append(refused, missing...)
			continue
		}
		all = append(all, missing...)
	}
	if len(refused) > l.refused {
		all = append(all, refused...)
	}
	return all
}

// contradiction is in what an attempt's record is not what was answered; empty where it is.
func (l *ledger) contradiction(a *attempt, r record) string {
	success := r.outcome == outcomeSuccess
	switch a.status {
	case http.StatusTooManyRequests:
		return "was sent away by 429 and is on record"
	case http.StatusOK:
		if !success {
			return "was answered 200 and is on record as " + r.outcome
		}
	case http.StatusUnauthorized:
		switch {
		case success:
			return "was answered 401 and is on record as " + r.outcome
		case r.outcome == outcomeFailed && l.passwords.certain(a.user, a.password, a.sent, a.answered):
			return "showed the right password, which was found to be wrong"
		}
	}
	return ""
}

// judgeMissing: an attempt that is not on record was not decided, or lost with its process. A gateway's may have been
// recognised without a check, but not under a lock.
func (l *ledger) judgeMissing(a *attempt) []violation {
	switch {
	case a.status != http.StatusOK && a.status != http.StatusUnauthorized, l.lostWithItsProcess(a):
		return nil
	case a.verify:
		if until := l.knownLock(a.user, a.sent); a.status == http.StatusOK && a.answered.Before(until) {
			return []violation{{fmt.Sprintf("attempt %d was let pass under a lock until %s", a.id, clock(until)), a.user, a.answered}}
		}
		return nil
	}
	return []violation{{fmt.Sprintf("attempt %d was answered %d and "+notOnRecord, a.id, a.status), a.user, a.answered}}
}

// lostWithItsProcess tells whether the attempt may have been decided from memory by a process that did not live to merge it.
func (l *ledger) lostWithItsProcess(a *attempt) bool {
	end, ended := l.ended[a.process]
	return ended && slices.ContainsFunc(l.away, func(s span) bool {
		return s.touches(a.sent, a.answered) && s.holds(end)
	})
}

// judgeChecks: for each lock, no more passwords than the limit are compared by the database's count, and none while there is
// a lock. What an outage counted is in that, once it was merged. Charges of one row wait for each other, so the times of
// records and of rows are in the order of the charges.
func (l *ledger) judgeChecks(user string, records []record) (all []violation) {
	changes := l.changes[user]
	var checks int
	var lock, cleared time.Time
	for _, r := range records {
		if r.merged || !r.checked() {
			continue
		}
		for len(changes) > 0 && changes[0].at.Before(r.at) {
			ranOut := !lock.IsZero() && !changes[0].at.Before(lock) // and what an outage brought took its place
			if changes[0].failed == 0 || changes[0].foreign || ranOut {
				checks, cleared = 0, changes[0].at // whether rightly so, judgeClears says
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
			checks, lock, cleared = 0, time.Time{}, r.at // it ran out
		}
		checks++
		if sum := checks + l.mergedBefore(r, records, cleared); sum > l.rules.attempts {
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d for one lock", r.attempt, sum), user, r.at})
		}
	}
	return all
}

// mergedBefore is how many failures from memory the row's counter must have had when this attempt was charged: those since it
// was cleared that were on record by then, which they are after they were counted, and that neither a log-in has cleared nor a
// lock that ran out.
func (l *ledger) mergedBefore(charged record, records []record, cleared time.Time) (n int) {
	since := charged.at.Add(-l.rules.lock)
	byProcess := map[int]int{}
	for _, r := range records {
		if !r.merged || !r.checked() || !r.kept.Before(charged.at) || !r.at.After(cleared) || !r.at.After(since) {
			continue
		}
		if r.outcome == outcomeSuccess {
			byProcess[l.processOf(r)] = 0
			continue
		}
		byProcess[l.processOf(r)]++
	}
	for _, failures := range byProcess {
		n += failures
	}
	return n
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
		all = append(all, l.judgeBudget(user, r, memory[:i+1])...)
		if until := l.knownLock(user, r.at); !until.IsZero() {
			all = append(all, violation{fmt.Sprintf("attempt %d was checked from memory at %s under a lock until %s that every replica knew",
				r.attempt, clock(r.at), clock(until)), user, r.at})
		}
	}
	return all
}

// judgeBudget judges the last of these checks from memory. Those from before a lock that has run out do not count any more;
// and what a process counted that was killed in the outage is lost with it.
func (l *ledger) judgeBudget(user string, last record, memory []record) []violation {
	begun := last.at.Add(-l.rules.lock)
	if anyTouches(l.excuses[user], begun, last.at) {
		return nil
	}
	process := l.processOf(last)
	outage := l.outageAt(last.at)
	var own, ownInOutage, inOutage int
	for _, r := range memory {
		if !r.at.After(begun) {
			continue
		}
		if r.outcome == outcomeSuccess && r.id != last.id {
			own, ownInOutage, inOutage = 0, 0, 0
			continue
		}
		inside, same := outage.holds(r.at), l.processOf(r) == process
		if same {
			own++
		}
		if same && inside {
			ownInOutage++
		}
		if end, over := l.ended[l.processOf(r)]; inside && (!over || !outage.holds(end)) {
			inOutage++
		}
	}
	var what string
	switch {
	case own > l.rules.attempts:
		what = fmt.Sprintf("check %d from memory by process %d", own, process)
	case ownInOutage > l.rules.alone:
		what = fmt.Sprintf("check %d of an outage by process %d", ownInOutage, process)
	case inOutage > l.rules.attempts:
		what = fmt.Sprintf("check %d of an outage by all replicas", inOutage)
	default:
		return nil
	}
	return []violation{{fmt.Sprintf("attempt %d is %s for one lock", last.attempt, what), user, last.at}}
}

func (l *ledger) processOf(r record) int {
	if a := l.attempts[r.attempt]; a != nil {
		return a.process
	}
	return -1
}

// outageAt is the time at which the database was away without a pause; one that holds nothing where it was not.
func (l *ledger) outageAt(at time.Time) span {
	for _, s := range l.solid {
		if s.holds(at) {
			return s
		}
	}
	return span{From: at.Add(time.Nanosecond), To: at.Add(-time.Nanosecond)}
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
	taken := 0 // unchecked attempts that were taken off the counter
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
		if off := before.failed - c.failed; off > 0 && isUnchecked(records, c, before, shortened, taken+off) {
			taken += off
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

// isUnchecked tells whether so many attempts that were never compared explain that the row was lowered. Of locks only that
// goes which one of them wrote.
func isUnchecked(records []record, c, before change, shortened bool, count int) bool {
	unchecked, wroteLock := 0, false
	for _, r := range records {
		if r.outcome == outcomeUnchecked && !r.at.After(c.at) {
			unchecked++
			wroteLock = wroteLock || r.lock.Equal(before.lock)
		}
	}
	return unchecked >= count && (!shortened || wroteLock)
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
