// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
)

// Lag measures the time from the notification of a changed row to the status that reports it.
type Lag struct {
	observe  func(seconds float64)
	now      func() time.Time
	notified *memory.Map[string, time.Time] // by username
}

// longestLag is after what time a notification is forgotten: its resource was deleted, say.
const longestLag = 2 * time.Minute

// NewLag returns a Lag that calls observe with each measurement.
func NewLag(observe func(seconds float64), now func() time.Time) *Lag {
	return &Lag{observe: observe, now: now, notified: memory.NewMap[string, time.Time](now, longestLag)}
}

// Notified begins a measurement, unless an earlier change of the row is not reported yet.
func (l *Lag) Notified(username string) { l.notified.PutNew(username, l.now()) }

// Reconciled ends the measurement of a username after a reconcile. Wrote reports whether the status was written, and isDelayed
// whether it will be later. Otherwise there was nothing to report.
func (l *Lag) Reconciled(username string, wrote, isDelayed bool) {
	if isDelayed {
		return
	}
	if at, ok := l.notified.Take(username); ok && wrote {
		l.observe(l.now().Sub(at).Seconds())
	}
}
