// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"testing"
	"time"
)

func TestTheJudgeFindsABrokenLock(t *testing.T) {
	t.Parallel()
	none := time.Time{}
	histories{
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
		"a check after the lock expired": {func(f forged) {
			f.locked()
			f.fails(20, 1, none)
		}, ""},
		"six checks after the lock expired": {func(f forged) {
			f.locked()
			for i := range 6 {
				f.fails(20+float64(i), i+1, none)
			}
		}, "check 6 for one lock"},
		"five checks after an expired lock and a failure of an outage": {func(f forged) {
			f.locked()
			f.merged(1, 20, outcomeFailed)
			f.row(21, 1, none)
			for i := range 4 {
				f.fails(22+float64(i), i+2, none)
			}
		}, ""},
		"a lock that is cleared before its end": {func(f forged) {
			f.locked()
			f.row(8, 0, none)
		}, "was lost"},
		"a lock that becomes shorter": {func(f forged) {
			f.locked()
			f.row(8, 5, f.at(9))
		}, "was lost"},
		"a lock of an attempt that was never compared": {func(f forged) {
			for i := range 4 {
				f.fails(float64(i), i+1, none)
			}
			f.unchecked(4, 5, f.at(19))
			f.row(8, 4, none)
		}, ""},
		"a lock of another attempt than the uncompared one": {func(f forged) {
			f.unchecked(-1, 1, none)
			f.locked()
			f.row(8, 4, none)
		}, "was lost"},
		"a lock that is cleared by request": {func(f forged) {
			f.locked()
			f.unlock("vera", f.at(7))
			f.row(8, 0, none)
			f.settle("vera", f.at(12))
			f.fails(13, 1, none)
		}, ""},
		"a lock that is cleared long after the request": {func(f forged) {
			f.unlock("vera", f.at(-20))
			f.settle("vera", f.at(-10))
			f.locked()
			f.row(8, 0, none)
		}, "was lost"},
		"a lock that is cleared with the old password": {func(f forged) {
			f.locked()
			f.intend("vera", "new", true, f.at(7))
			f.row(8, 0, none)
		}, ""},
		"a lock that only a deactivation could explain": {func(f forged) {
			f.locked()
			f.intend("vera", "", false, f.at(7))
			f.row(8, 0, none)
		}, "was lost"},
		"a login that clears another attempt's lock": {func(f forged) {
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
	}.judge(t)
}

func TestTheJudgeFindsABrokenCounter(t *testing.T) {
	t.Parallel()
	none := time.Time{}
	histories{
		"a lower counter": {func(f forged) {
			f.fails(0, 1, none)
			f.fails(1, 2, none)
			f.row(2, 1, none)
		}, "the counter went from 2 to 1"},
		"a counter lower by an attempt that was never compared": {func(f forged) {
			f.fails(0, 1, none)
			f.unchecked(1, 2, none)
			f.row(2, 1, none)
		}, ""},
		"a counter lower by more than was never compared": {func(f forged) {
			f.fails(0, 1, none)
			f.unchecked(1, 2, none)
			f.row(2, 0, none)
		}, "the counter went from 2 to 0"},
		"a counter that a login clears": {func(f forged) {
			f.fails(0, 1, none)
			id := f.asks(1, "right", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
			f.row(1.02, 2, none)
			f.row(1.08, 0, none)
		}, ""},
		"a counter that is cleared after the response of a login": {func(f forged) {
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
	}.judge(t)
}
