// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"log/slog"
	"sync"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// health is what is known of whether the database answers.
//
// A database may answer and refuse to write: a standby, a full disk. Reading proves nothing then, and must not count
// as a recovery: whoever waits for one would try to write, fail, and be called again at once by the next reader.
type health struct {
	log *slog.Logger

	mu       sync.Mutex
	answered bool // ever
	failure  *store.UnavailableError
	kind     kind            // of the failure
	told     map[string]bool // sentences that were logged since the database answered last
	watchers map[*watcherHealth]struct{}
}

// watcherHealth is one watcher's part in it.
type watcherHealth struct {
	recovered chan struct{} // holds one when the database answers again
	notifying bool
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, told: map[string]bool{}, watchers: map[*watcherHealth]struct{}{}}
}

func (h *health) up() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answered && h.failure == nil
}

// succeeded takes note of a call that the database answered.
func (h *health) succeeded(access access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered = true
	if access == writes || h.kind == away || (access == reads && h.kind == unreadable) {
		h.recover()
	}
}

// writable takes note that the database says it takes writes.
func (h *health) writable() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kind == readOnly {
		h.recover()
	}
}

// recover is called with the lock held.
func (h *health) recover() {
	if h.failure == nil {
		return
	}
	h.failure, h.kind = nil, none
	clear(h.told)
	h.log.Info("The database answers again")
	for w := range h.watchers {
		select {
		case w.recovered <- struct{}{}:
		default: // it has not yet looked at the last one
		}
	}
}

// failed takes note of a call that failed. A refusal that concerns one row or one statement is none of the database.
func (h *health) failed(kind kind, err *store.UnavailableError) {
	if kind == statement {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure, h.kind = err, kind
	// Several sentences may take turns during one outage; each is worth one line.
	const most = 16
	if sentence := err.Error(); !h.told[sentence] && len(h.told) < most {
		h.told[sentence] = true
		h.log.Warn("The database is not available", "reason", sentence)
	}
}

// join adds a watcher.
func (h *health) join() *watcherHealth {
	w := &watcherHealth{recovered: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = struct{}{}
	return w
}

func (h *health) leave(w *watcherHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// setNotifying takes note of how a watcher learns of changes.
func (h *health) setNotifying(w *watcherHealth, notifying bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.notifying = notifying
}

func (h *health) notifying() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if !w.notifying {
			return false
		}
	}
	return len(h.watchers) > 0
}
