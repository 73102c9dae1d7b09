// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"testing"
	"time"
)

func TestLagRunsFromTheFirstNotificationToTheStatusWrite(t *testing.T) {
	c := newClock()
	var observed []float64
	l := NewLag(func(seconds float64) { observed = append(observed, seconds) }, c.now)

	l.Reconciled("a", true, false) // a reconcile for another reason
	l.Notified("a")
	c.move(time.Second)
	l.Notified("a") // one more change before the first is reported
	c.move(time.Second)
	l.Reconciled("a", false, true) // delayed
	c.move(time.Second)
	l.Reconciled("a", true, false)
	if len(observed) != 1 || observed[0] != 3 {
		t.Errorf("measured %v, want one of 3 s", observed)
	}

	l.Notified("b")
	l.Reconciled("b", false, false) // there was nothing to report
	c.move(time.Hour)
	l.Notified("b")
	c.move(time.Second)
	l.Reconciled("b", true, false)
	if len(observed) != 2 || observed[1] != 1 {
		t.Errorf("measured %v, want a second one of 1 s", observed)
	}
	if l.notified.Len() != 0 {
		t.Errorf("%d measurements never end", l.notified.Len())
	}
}

func TestLagForgetsNotificationsOfDeletedResources(t *testing.T) {
	c := newClock()
	l := NewLag(func(float64) { t.Error("measured what was never reported") }, c.now)
	l.Notified("gone")
	c.move(2 * longestLag)
	l.Notified("here")
	if l.notified.Len() != 1 {
		t.Errorf("%d notifications are remembered, want 1", l.notified.Len())
	}
}
