// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"testing"
	"time"
)

func TestTheJudgeCountsTheChecksOfAnOutage(t *testing.T) {
	t.Parallel()
	none := time.Time{}
	histories{
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
		"six checks, two of them in an outage, and then a login": {func(f forged) {
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
		"two more after a lock of the outage expired": {func(f forged) {
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
		"checks of an outage that were lost with their process": {func(f forged) {
			f.mark(&f.solid, f.at(0))
			for i := range 6 {
				f.merged(1+i/2, 1+float64(i), outcomeFailed)
			}
			f.over(1, f.at(2.5))
		}, ""},
		"a check by the fallback under a known lock": {func(f forged) {
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
		"credentials recognised under a known lock": {func(f forged) {
			f.mark(&f.calm, f.at(-50))
			f.locked()
			a := f.begin(attempt{user: "vera", password: "right", process: 1, verify: true, sent: f.at(10)})
			f.end(a, http.StatusOK, f.at(10.1))
		}, "was let pass under a lock"},
	}.judge(t)
}
