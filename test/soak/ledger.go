// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// rules are what the ledger judges by: the managers' settings, and the promises of docs/login.md.
type rules struct {
	attempts int           // checks for each lock
	alone    int           // checks of one replica in an outage
	lock     time.Duration // duration
	known    time.Duration // after which a change is known on every replica, unless something is broken
	settling time.Duration // an attempt may be settled this long after its charge
}

// An attempt is a login attempt of the soak.
type attempt struct {
	id       int64
	user     string
	password string
	process  int  // that received it: each start of a replica is a new one
	verify   bool // a gateway's request, which may be answered without a check
	sent     time.Time
	answered time.Time // zero without a response
	status   int       // of the response; 0 without one
}

// A record is a row of login_attempts.
type record struct {
	id      int64
	attempt int64 // the soak's, by the user agent
	user    string
	at      time.Time
	outcome string
	lock    time.Time // written by its charge; zero if none
	merged  bool      // decided by the fallback, written after the outage
	kept    time.Time // when it was written
	asOf    time.Time // when it was read; a later response may still be pending
}

// checked reports whether a password was compared.
func (r record) checked() bool {
	return r.outcome == outcomePending || r.outcome == outcomeSuccess || r.outcome == outcomeFailed
}

// The recorded outcomes that matter here.
const (
	outcomePending = "pending"
	outcomeSuccess = "success"
	outcomeFailed  = "failed"

	outcomeUnchecked = "unchecked" // charged, never compared, and subtracted again
)

// A change is the state of a row of users after a write.
type change struct {
	seq     int64
	user    string
	at      time.Time
	failed  int
	lock    time.Time // zero if there is none
	foreign bool      // written by the other program, or a created or deleted row
}

// A ledger is the soak's own knowledge, independent of the operator. It is safe for concurrent use.
type ledger struct {
	rules rules

	mu        sync.Mutex
	passwords passwords
	attempts  map[int64]*attempt
	records   map[int64]record
	refused   int                 // attempts that are recorded only as a number
	changes   map[string][]change // by user, in the order in which they were written
	lastID    int64

	// excuses are spans in which the operator may clear a user's counter and lock by request: an unlock or another
	// password.
	excuses map[string][]span

	calm  []span // nothing is broken, and everything has recovered
	away  []span // of the database, in any way, until all has recovered
	solid []span // of the database, without a moment of availability

	ended map[int]time.Time // ended processes

	seen          map[int64]bool // changes
	judgedAnswers map[int64]bool
}

func newLedger(r rules) *ledger {
	return &ledger{
		rules: r, passwords: newPasswords(), attempts: map[int64]*attempt{}, records: map[int64]record{},
		changes: map[string][]change{}, excuses: map[string][]span{}, ended: map[int]time.Time{}, seen: map[int64]bool{},
		judgedAnswers: map[int64]bool{},
	}
}

// learnRefused records how many refused attempts have only a number in the audit.
func (l *ledger) learnRefused(attempts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = attempts
}

// intend records that a resource is about to ask for this password, or for none. A fresh one clears the counter.
func (l *ledger) intend(user, password string, fresh bool, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fresh {
		l.excuse(user, at)
	}
	l.passwords.intend(user, password, at)
}

func (l *ledger) admit(user, password string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passwords.admit(user, password, at)
}

// unlock records that an unlock is about to be requested.
func (l *ledger) unlock(user string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.excuse(user, at)
}

// excuse is called with the lock held.
func (l *ledger) excuse(user string, at time.Time) {
	if n := len(l.excuses[user]); n == 0 || !l.excuses[user][n-1].To.IsZero() {
		l.excuses[user] = append(l.excuses[user], span{From: at})
	}
}

// settle records that all requests about a user are in force everywhere.
func (l *ledger) settle(user string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passwords.settle(user, at)
	if n := len(l.excuses[user]); n > 0 && l.excuses[user][n-1].To.IsZero() {
		l.excuses[user][n-1].To = at
	}
}

// current returns the intended password of the user, and former a previous one.
func (l *ledger) current(user string) (current, former string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passwords.intended[user], l.passwords.former(user)
}

// begin records an attempt that is about to be made.
func (l *ledger) begin(a attempt) *attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	a.id = l.lastID
	l.attempts[a.id] = &a
	return &a
}

// end records its result.
func (l *ledger) end(a *attempt, status int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.status = status
	if status != 0 {
		a.answered = at
	}
}

// learn adds what the triggers recorded until this moment, or a little later.
func (l *ledger) learn(records []record, changes []change, asOf time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		r.asOf = asOf
		l.records[r.id] = r
	}
	touched := map[string]bool{}
	for _, c := range changes {
		if !l.seen[c.seq] {
			l.seen[c.seq], touched[c.user] = true, true
			l.changes[c.user] = append(l.changes[c.user], c)
		}
	}
	for user := range touched {
		slices.SortFunc(l.changes[user], func(a, b change) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// over records that a process ended.
func (l *ledger) over(process int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[process] = at
}

// mark begins a span, and unmark ends it.
func (l *ledger) mark(spans *[]span, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(*spans); n == 0 || !(*spans)[n-1].To.IsZero() {
		*spans = append(*spans, span{From: at})
	}
}

func (l *ledger) unmark(spans *[]span, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(*spans); n > 0 && (*spans)[n-1].To.IsZero() {
		(*spans)[n-1].To = at
	}
}

// isCalm reports whether nothing was broken since then.
func (l *ledger) isCalm(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.calm)
	return n > 0 && l.calm[n-1].To.IsZero() && !l.calm[n-1].From.After(since)
}

// lockedFor returns the users that are locked for at least so long, according to their last known rows.
func (l *ledger) lockedFor(users []string, left time.Duration, now time.Time) (locked []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, user := range users {
		if n := len(l.changes[user]); n > 0 && l.changes[user][n-1].lock.After(now.Add(left)) {
			locked = append(locked, user)
		}
	}
	return locked
}

// recordsByUser returns the records by user in the order of their charges. It is called with the lock held.
func (l *ledger) recordsByUser() map[string][]record {
	all := map[string][]record{}
	for _, r := range l.records {
		all[r.user] = append(all[r.user], r)
	}
	for _, records := range all {
		slices.SortFunc(records, func(a, b record) int {
			if c := a.at.Compare(b.at); c != 0 {
				return c
			}
			return cmp.Compare(a.id, b.id)
		})
	}
	return all
}

// history returns what is known of a user around a moment, as text.
func (l *ledger) history(user string, around time.Time) (lines []string) {
	const before, after = 45 * time.Second, 15 * time.Second
	l.mu.Lock()
	defer l.mu.Unlock()
	near := span{around.Add(-before), around.Add(after)}
	type line struct {
		at   time.Time
		text string
	}
	var all []line
	add := func(at time.Time, format string, arguments ...any) {
		if near.holds(at) {
			all = append(all, line{at, fmt.Sprintf(format, arguments...)})
		}
	}
	for _, a := range l.attempts {
		if a.user == user {
			kind := "wrong"
			if l.passwords.acceptable(user, a.password, a.sent, a.sent) {
				kind = "right"
			}
			add(a.sent, "attempt %d (%s password) sent to process %d: %d after %v", a.id, kind, a.process, a.status, a.answered.Sub(a.sent))
		}
	}
	for _, r := range l.records {
		if r.user == user {
			add(r.at, "record %d of attempt %d: %s, merged %t, lock %s", r.id, r.attempt, r.outcome, r.merged, clock(r.lock))
		}
	}
	for _, c := range l.changes[user] {
		add(c.at, "row: failed %d, lock %s, foreign %t", c.failed, clock(c.lock), c.foreign)
	}
	for _, s := range l.excuses[user] {
		add(s.From, "unlock or another password asked for, in force %s", clock(s.To))
	}
	for process, at := range l.ended {
		add(at, "process %d ended", process)
	}
	for _, named := range []struct {
		what  string
		spans []span
	}{{"calm", l.calm}, {"database away", l.away}} {
		for _, s := range named.spans {
			add(s.From, "%s begins", named.what)
			add(s.To, "%s ends", named.what)
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
	for _, l := range all {
		lines = append(lines, clock(l.at)+" "+l.text)
	}
	return lines
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("15:04:05.000")
}

// outcomes counts the recorded attempts.
func (l *ledger) outcomes() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[string]int{}
	for _, r := range l.records {
		if r.merged {
			counts[r.outcome+", by memory"]++
		} else {
			counts[r.outcome]++
		}
	}
	return counts
}
