// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A forged history is a ledger with events of the user vera, whose right password is "right".
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

// at returns the given number of seconds after noon.
func (f forged) at(seconds float64) time.Time {
	return f.noon.Add(time.Duration(seconds * float64(time.Second)))
}

// asks is an attempt that is answered a tenth of a second later.
func (f forged) asks(process int, password string, status int, at float64) int64 {
	a := f.begin(attempt{user: "vera", password: password, process: process, sent: f.at(at)})
	f.end(a, status, f.at(at+0.1))
	return a.id
}

// fails is a failed attempt after which the database's count is n.
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

// merged is an attempt that the fallback decided, and that was merged later.
func (f forged) merged(process int, at float64, outcome string) {
	status := http.StatusUnauthorized
	password := "wrong"
	if outcome == outcomeSuccess {
		status, password = http.StatusOK, "right"
	}
	id := f.asks(process, password, status, at)
	f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcome, merged: true, kept: f.at(at + 0.5)}}, nil, f.at(90))
}

// locked is five failures in the first five seconds, and the lock of the fifth.
func (f forged) locked() (until time.Time) {
	until = f.at(19)
	for i := range 4 {
		f.fails(float64(i), i+1, time.Time{})
	}
	f.fails(4, 5, until)
	return until
}

// histories are forged ones, with the expected violation of each.
type histories map[string]struct {
	history func(f forged)
	want    string // in the only violation; empty for none
}

// judge checks that each history breaks exactly the promise that it names.
func (all histories) judge(t *testing.T) {
	t.Helper()
	for name, c := range all {
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
