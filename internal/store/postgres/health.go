// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// health is what is known of the database.
//
// A database may answer and reject writes: a standby, a full disk. Then a successful read proves nothing and is no recovery.
// Otherwise a subscriber that waits for the recovery would write, fail, and be called again after the next read.
type health struct {
	log *slog.Logger

	mu       sync.Mutex
	answered bool // ever
	failure  *store.UnavailableError
	kind     kind            // of the failure
	code     string          // its SQLSTATE; "" where there is none
	failedAt time.Time       // when it was last met
	logged   map[string]bool // sentences that were logged since the database answered last

	// useless is why the database is unavailable for logins, as a check or a failure to connect showed; none where it is not. A
	// check ends it. It is apart from failure, which may concern calls that logins do not make.
	useless kind

	writesDoubted bool // a write did not return, or failed in a way that a probe explains

	connectedAt time.Time // when there was last known to be a connection

	notifying bool
	alive     time.Time                  // when the listening connection was last known to be alive
	waiting   map[chan struct{}]struct{} // each gets one when the database answers again
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, logged: map[string]bool{}, waiting: map[chan struct{}]struct{}{}}
}

// succeeded records a call that the database answered.
func (h *health) succeeded(access access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered = true
	switch {
	case h.kind == unreadable && isLacking(h.code):
		// Other calls do not need what is missing, and prove nothing.
	case access == writes || h.kind == unavailable || (access == reads && h.kind == unreadable):
		h.recover()
	}
}

// whole records that all tables exist, with all their columns, and may be read.
func (h *health) whole() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered = true
	if h.kind == unavailable || h.kind == unreadable {
		h.recover()
	}
}

// writable records that the database said at this time that it accepts writes. A later failure may be of another server.
func (h *health) writable(asked time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kind == readOnly && h.failedAt.Before(asked) {
		h.recover()
	}
}

// recover is called with the lock held.
func (h *health) recover() {
	if h.failure == nil {
		return
	}
	h.failure, h.kind = nil, none
	clear(h.logged)
	h.log.Info("The database is available again")
	h.wakeWaiting()
}

// announce has subscribers retry what failed.
func (h *health) announce() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeWaiting()
}

// wakeWaiting is called with the lock held.
func (h *health) wakeWaiting() {
	for recovered := range h.waiting {
		wake(recovered)
	}
}

// failed records a call that failed. An error of one row or one statement says nothing of the database, and a check follows a
// doubtful one.
func (h *health) failed(kind kind, code string, err *store.UnavailableError) {
	switch kind {
	case statement, blocked, busy, doubtful, conflict, none:
		return
	case unavailable, unreadable, readOnly, refusing:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure, h.kind, h.code, h.failedAt = err, kind, code, time.Now()
	// Several sentences may alternate; each is logged once.
	const most = 16
	if sentence := err.Error(); !h.logged[sentence] && len(h.logged) < most {
		h.logged[sentence] = true
		h.log.Warn("The database is unavailable", "reason", sentence)
	}
}

// known returns what is known of the database. Subscribers of a current store know every change older than this age.
func (h *health) known(age time.Duration) store.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := store.Health{
		Answered: h.answered, Unavailable: h.useless != none, Notified: h.notifying,
		Current: h.notifying && time.Since(h.alive) < age,
	}
	if h.failure == nil {
		return known // not a nil pointer in an error
	}
	known.Writing = h.failure
	if h.kind != readOnly && h.kind != refusing {
		known.Reading = h.failure
	}
	return known
}

// refusedFor reports whether writes are rejected, and with which SQLSTATE.
func (h *health) refusedFor() (code string, refuses bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.code, h.kind == refusing
}

// proved records that a probe wrote, and that nothing else is known to prevent writes.
func (h *health) proved() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kind == refusing {
		h.recover()
	}
}

func (h *health) doubtWrites() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writesDoubted = true
}

// takeDoubt reports whether writes are doubted, and ends the doubt.
func (h *health) takeDoubt() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	doubted := h.writesDoubted
	h.writesDoubted = false
	return doubted
}

func (h *health) whyUseless() kind {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.useless
}

func (h *health) setUseless(why kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.useless = why
}

// hadConnection records that there is a connection, or was one until now.
func (h *health) hadConnection() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connectedAt = time.Now()
}

// isWithoutConnection reports whether there has been none for so long.
func (h *health) isWithoutConnection(since time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.connectedAt) >= since
}

// join has a value sent to a channel when the database answers again after it did not.
func (h *health) join(recovered chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting[recovered] = struct{}{}
}

func (h *health) leave(recovered chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, recovered)
}

// setNotifying records whether subscribers learn of changes by notifications.
func (h *health) setNotifying(notifying bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notifying, h.alive = notifying, time.Now()
}

// markAlive records that the listening connection is alive and that all its notifications were passed on.
func (h *health) markAlive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alive = time.Now()
}
