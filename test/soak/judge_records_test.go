// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"testing"
	"time"
)

func TestTheJudgeFindsAnAttemptWithoutItsRecord(t *testing.T) {
	t.Parallel()
	none := time.Time{}
	histories{
		"an attempt that is not recorded": {func(f forged) {
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
		}, "is not recorded"},
		"an attempt without a response and without a record": {func(f forged) {
			f.asks(1, "wrong", 0, 1)
			f.asks(1, "wrong", http.StatusServiceUnavailable, 2)
		}, ""},
		"an attempt that is recorded twice": {func(f forged) {
			f.fails(1, 1, none)
			f.learn([]record{{id: 77, attempt: 1, user: "vera", at: f.at(1.5), outcome: "locked"}}, nil, f.at(90))
		}, "is recorded twice"},
		"an attempt with a 429 that is recorded": {func(f forged) {
			id := f.asks(1, "wrong", http.StatusTooManyRequests, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: "locked"}}, nil, f.at(90))
		}, "got a 429"},
		"a record of no attempt": {func(f forged) {
			f.learn([]record{{id: 7, attempt: 7, user: "vera", at: f.at(1), outcome: "locked"}}, nil, f.at(90))
		}, "is of no attempt"},
		"a recorded success of a refused attempt": {func(f forged) {
			id := f.asks(1, "right", http.StatusUnauthorized, 1)
			f.learn([]record{{id: id, attempt: id, user: "vera", at: f.at(1), outcome: outcomeSuccess}}, nil, f.at(90))
		}, "was answered 401 and is recorded as success"},
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
		}, "is not recorded"},
		"an attempt without an outage, whose process was killed": {func(f forged) {
			f.asks(1, "wrong", http.StatusUnauthorized, 1)
			f.over(1, f.at(2))
		}, "is not recorded"},
	}.judge(t)
}

func TestAMissingRecordIsNoViolationBeforeItIsDue(t *testing.T) {
	t.Parallel()
	f := forge()
	f.asks(1, "wrong", http.StatusUnauthorized, 1)
	for _, complete := range []time.Time{{}, f.at(0.5)} {
		if broken := f.judge(complete); len(broken) > 0 {
			t.Errorf("complete until %v: it found %v", complete, broken)
		}
	}
}

func TestARecordReadBeforeTheResponseMayBePending(t *testing.T) {
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
		t.Errorf("it found %v, want that a success is not recorded", broken)
	}
}

func TestARecordReadTwiceCountsOnce(t *testing.T) {
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
