// SPDX-License-Identifier: Apache-2.0

package queue

import "testing"

// The status of an edit reports the outage, so the resource shows no pending change any more.
func TestAPendingChangeIsRememberedUntilItIsMade(t *testing.T) {
	w := NewWaitlist()
	all := requested(2)
	w.Add(all[0], Write, true)
	w.Add(all[0], Write, false)
	w.Add(all[1], Write, false)
	free := w.ReleaseAll()
	if len(free) != 2 || !free[all[0]] || free[all[1]] {
		t.Errorf("released are %v", free)
	}
}

// A request whose own call failed waits in the queue, by its backoff. The end of the outage comes first for it, too.
func TestAPendingChangeThatFailedComesFirstAfterTheOutage(t *testing.T) {
	w := NewWaitlist()
	all := requested(3)
	w.Fail(all[0], true, false) // the outage is not known yet
	w.Fail(all[1], true, true)
	w.Fail(all[2], false, true)
	w.Succeed(all[1])
	if free := w.ReleaseAll(); len(free) != 1 || !free[all[0]] {
		t.Errorf("released are %v", free)
	}
}

// A deletion without the right to it fails forever.
func TestAnEditDoesNotWaitForAThousandThatCanNeverSucceed(t *testing.T) {
	w := NewWaitlist()
	doomed := requested(1001)
	doomed, edited := doomed[:1000], doomed[1000]
	for i, request := range doomed {
		if i%2 == 0 {
			w.Fail(request, true, true)
		}
		w.Add(request, Write, true)
	}
	w.Add(edited, Write, true)
	w.Add(doomed[0], Write, true) // failed, and comes back later
	if probe := w.ReleaseProbe(); len(probe) != 1 || !probe[edited] {
		t.Errorf("%v probes in place of the edit", probe)
	}
}
