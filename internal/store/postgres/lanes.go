// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/backoff"
)

// blockedFor is how long a row counts as locked by another transaction after a write found it so.
const blockedFor = 10 * time.Second

// lanes keeps connections free for others while another transaction has locked some rows. Writes to a row that was found locked
// wait in a lane that takes a fifth of the pool, so that a hundred of them hold up nobody else.
type lanes struct {
	places chan struct{} // of the slow lane

	mu      sync.Mutex
	blocked map[string]time.Time // by username, until when the row counts as locked
}

// newLanes is for a pool of so many connections.
func newLanes(connections int) *lanes {
	return &lanes{places: make(chan struct{}, max(1, connections/5)), blocked: map[string]time.Time{}}
}

// crowd is how many rows have to be locked for changes of rows not to wait any more: each takes a reconciler from others.
const crowd = 4

// isCrowded reports whether many rows were found locked lately.
func (l *lanes) isCrowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.blocked) > crowd
}

// enter waits for a place where the row is known to be locked, or returns errBlocked where it may not wait and there is none.
// Leave has to be called when the write has ended. Another error is the context's.
func (l *lanes) enter(ctx context.Context, username string, mayWait bool) (leave func(isBlocked bool), err error) {
	l.mu.Lock()
	_, isSlow := l.blocked[username]
	l.mu.Unlock()
	if !isSlow {
		return func(isBlocked bool) { l.note(username, isBlocked) }, nil
	}
	select {
	case l.places <- struct{}{}:
	default:
		if !mayWait {
			return nil, errBlocked
		}
		select {
		case l.places <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func(isBlocked bool) {
		<-l.places
		l.note(username, isBlocked)
	}, nil
}

// patiently makes a write, and makes it again while another transaction has locked the row, for no longer than this in all; 0 is
// once. Between its tries it holds no connection.
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

// note remembers a row that was found locked, and forgets one that was not.
func (l *lanes) note(username string, isBlocked bool) {
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
