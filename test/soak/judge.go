// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A violation is a broken promise.
type violation struct {
	what string
	user string // empty if it is about no user
	at   time.Time
}

// judge returns every broken promise that is known. All attempts up to complete have to be recorded; complete is zero
// while that is unknown.
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

// judgeAnswers: no login succeeds with a password that was never valid or no longer is. A judgement is final: later
// changes do not affect it.
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

// judgeRecord: each attempt with the response 200 or 401 is recorded once, each without a response at most once, and
// nothing else is. Each record matches its response and is right. Attempts that were refused without a check may be
// recorded as a number.
func (l *ledger) judgeRecord(complete time.Time) (all []violation) {
	found := map[int64]int{}
	for _, r := range l.records {
		a := l.attempts[r.attempt]
		if a == nil {
			all = append(all, violation{fmt.Sprintf("record %d is of no attempt that was made", r.id), r.user, r.at})
			continue
		}
		if found[a.id]++; found[a.id] == 2 {
			all = append(all, violation{fmt.Sprintf("attempt %d is recorded twice", a.id), a.user, r.at})
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

// contradiction describes how a record differs from its response; empty if it does not.
func (l *ledger) contradiction(a *attempt, r record) string {
	success := r.outcome == outcomeSuccess
	switch a.status {
	case http.StatusTooManyRequests:
		return "got a 429 and is recorded"
	case http.StatusOK:
		if !success {
			return "was answered 200 and is recorded as " + r.outcome
		}
	case http.StatusUnauthorized:
		switch {
		case success:
			return "was answered 401 and is recorded as " + r.outcome
		case r.outcome == outcomeFailed && l.passwords.certain(a.user, a.password, a.sent, a.answered):
			return "showed the right password, which was found to be wrong"
		}
	}
	return ""
}

// judgeMissing: an attempt without a record was not decided, or lost with its process. A gateway's attempt may have
// been recognised without a check, but not during a lock.
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
	return []violation{{fmt.Sprintf("attempt %d was answered %d and "+notRecorded, a.id, a.status), a.user, a.answered}}
}

// lostWithItsProcess reports whether the fallback of a process that ended before the merge may have decided the
// attempt.
func (l *ledger) lostWithItsProcess(a *attempt) bool {
	end, ended := l.ended[a.process]
	return ended && slices.ContainsFunc(l.away, func(s span) bool {
		return s.touches(a.sent, a.answered) && s.holds(end)
	})
}

// judgeChecks: for each lock, no more passwords than the limit are compared by the database's count, and none during a
// lock. Merged counts of an outage are included. Charges of one row wait for each other, so records and rows have the
// order of the charges.
func (l *ledger) judgeChecks(user string, records []record) (all []violation) {
	changes := l.changes[user]
	var checks int
	var lock, cleared time.Time
	for _, r := range records {
		if r.merged || !r.checked() {
			continue
		}
		for len(changes) > 0 && changes[0].at.Before(r.at) {
			expired := !lock.IsZero() && !changes[0].at.Before(lock) // replaced by an outage's count
			if changes[0].failed == 0 || changes[0].foreign || expired {
				checks, cleared = 0, changes[0].at // judgeClears checks whether that was right
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
			checks, lock, cleared = 0, time.Time{}, r.at // it expired
		}
		checks++
		if sum := checks + l.mergedBefore(r, records, cleared); sum > l.rules.attempts {
			all = append(all, violation{fmt.Sprintf("attempt %d is check %d for one lock", r.attempt, sum), user, r.at})
		}
	}
	return all
}

// mergedBefore returns how many failures of the fallback the row's counter must have had when this attempt was charged:
// those recorded since the counter was last cleared, by a login or an expired lock. They are recorded after they are
// counted.
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

// judgeMemory: while the database is unavailable, each replica counts by itself. Each has its own budget, all together
// have one budget in an outage, and none checks a password under a lock that it can know.
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

// judgeBudget judges the last of these checks by the fallback. Checks from before an expired lock do not count, and the
// count of a process that was killed in the outage is lost.
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

// outageAt returns the span around a moment in which the database was unavailable without a pause; an empty one if
// there is none.
func (l *ledger) outageAt(at time.Time) span {
	for _, s := range l.solid {
		if s.holds(at) {
			return s
		}
	}
	return span{From: at.Add(time.Nanosecond), To: at.Add(-time.Nanosecond)}
}

// knownLock returns the end of a lock that was in force at that moment and that every replica had time to learn while
// nothing was broken; zero if there is none.
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

// judgeClears: no lock is cleared before it expires, and no counter is cleared, without a reason.
func (l *ledger) judgeClears(user string, records []record) (all []violation) {
	var last change
	taken := 0 // unchecked attempts that were subtracted
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

// isUnchecked reports whether so many attempts that were never compared explain a lower counter. Only a lock that one
// of them wrote may go.
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

// succeeded reports whether a login explains that the row was cleared. It clears only the lock that its own charge
// wrote.
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

// notRecorded is the end of the sentence about a missing record: decisions of an outage are recorded later.
const notRecorded = "is not recorded"
