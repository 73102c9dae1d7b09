// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// blockedFor is how long a row counts as locked by another transaction after a write found it so.
const blockedFor = 10 * time.Second

// lanes keeps connections free for others while another transaction has locked some rows. Writes to a row that was found locked
// wait in a lane that takes a fifth of the pool, so that a hundred of them do not delay others.
type lanes struct {
	slots chan struct{} // slots of the slow lane

	mu      sync.Mutex
	blocked map[string]time.Time // by username, until when the row counts as locked
}

// newLanes returns the lanes of a pool of so many connections.
func newLanes(connections int) *lanes {
	return &lanes{slots: make(chan struct{}, max(1, connections/5)), blocked: map[string]time.Time{}}
}

// crowd is the number of locked rows from which on changes no longer wait: each blocks a worker of the controller.
const crowd = 4

// isCrowded reports whether many rows were recently found locked.
func (l *lanes) isCrowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.blocked) > crowd
}

// enter waits for a slot if the row is known to be locked. It returns errBlocked if it may not wait and there is none. The caller
// calls leave when the write has ended. Another error is that of the context.
func (l *lanes) enter(ctx context.Context, username string, mayWait bool) (leave func(isBlocked bool), err error) {
	l.mu.Lock()
	_, isSlow := l.blocked[username]
	l.mu.Unlock()
	if !isSlow {
		return func(isBlocked bool) { l.record(username, isBlocked) }, nil
	}
	select {
	case l.slots <- struct{}{}:
	default:
		if !mayWait {
			return nil, errBlocked
		}
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func(isBlocked bool) {
		<-l.slots
		l.record(username, isBlocked)
	}, nil
}

// patiently makes a write, and retries it while another transaction has locked the row, for this time in all; 0 is once. Between
// tries it holds no connection.
func (s *Store) patiently(ctx context.Context, username string, longest time.Duration, write func() error) error {
	deadline := time.Now().Add(longest)
	for {
		leave, err := s.lanes.enter(ctx, username, longest > 0)
		if errors.Is(err, errBlocked) {
			return classifyRefusal(&pgconn.PgError{Code: codeLockNotAvailable}, dsnIdentity{}, 0).unavailable(err)
		}
		if err != nil {
			return err
		}
		err = write()
		isBlocked := errors.Is(err, errBlocked)
		leave(isBlocked)
		if !isBlocked || time.Now().Add(s.timing.lock).After(deadline) || !backoff.Pause(ctx, s.timing.lock/10) {
			return err
		}
	}
}

// record records a row that was found locked, and removes one that was not.
func (l *lanes) record(username string, isBlocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isBlocked {
		delete(l.blocked, username)
		return
	}
	now := time.Now()
	for name, until := range l.blocked {
		if now.After(until) {
			delete(l.blocked, name)
		}
	}
	l.blocked[username] = now.Add(blockedFor)
}
