// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"testing"
)

func TestTheJudgeFindsALoginWithoutAPassword(t *testing.T) {
	t.Parallel()
	histories{
		"a wrong password that gets in": {func(f forged) {
			id := f.asks(1, "wrong", http.StatusOK, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1.01), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "a password was accepted that was not valid"},
		"an old password before the new one is in force": {func(f forged) {
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
		"another program's password, until it was corrected": {func(f forged) {
			f.admit("vera", "foreign", f.at(0))
			for _, at := range []float64{1, 4} {
				id := f.asks(1, "foreign", http.StatusOK, at)
				f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(at + 0.01), outcome: outcomeSuccess}}, nil, f.at(90))
				f.settle("vera", f.at(3))
			}
		}, "attempt 2: a password was accepted that was not valid"},
	}.judge(t)
}

func TestTheJudgeFindsARefusalOfARightPassword(t *testing.T) {
	t.Parallel()
	histories{
		"the right password that is found wrong": {func(f forged) {
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
		}, "which was found to be wrong"},
		"the right password of a user that is being deactivated": {func(f forged) {
			f.intend("vera", "", false, f.at(1.05))
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeFailed}}, nil, f.at(90))
		}, ""},
		"the right password of a user whose row is being deleted": {func(f forged) {
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
	}.judge(t)
}
