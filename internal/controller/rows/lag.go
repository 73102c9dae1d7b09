// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"maps"
	"sync"
	"time"
)

// Lag measures the time from the notification of a changed row to the status that reports it.
type Lag struct {
	observe func(seconds float64)
	now     func() time.Time

	mu       sync.Mutex
	notified map[string]time.Time // by username
	pruned   time.Time
}

// longestLag is after what time a notification is forgotten: its resource was deleted, say.
const longestLag = 2 * time.Minute

// NewLag returns a Lag that calls observe with each measurement.
func NewLag(observe func(seconds float64), now func() time.Time) *Lag {
	return &Lag{observe: observe, now: now, notified: map[string]time.Time{}, pruned: now()}
}

// Notified begins a measurement, unless an earlier change of the row is not reported yet.
func (l *Lag) Notified(username string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Sub(l.pruned) > longestLag {
		l.pruned = now
		maps.DeleteFunc(l.notified, func(_ string, at time.Time) bool { return now.Sub(at) > longestLag })
	}
	if _, ok := l.notified[username]; !ok {
		l.notified[username] = now
	}
}

// Reconciled ends the measurement of a username after a reconcile. Wrote reports whether the status was written, and isDelayed
// whether it will be later. Otherwise there was nothing to report.
func (l *Lag) Reconciled(username string, wrote, isDelayed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.notified[username]
	if !ok || isDelayed {
		return
	}
	delete(l.notified, username)
	if wrote {
		l.observe(l.now().Sub(at).Seconds())
	}
}
