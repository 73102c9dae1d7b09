// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A probe is one tiny committed write to a table of ours, on a connection of its own. It proves whether the database takes
// writes: no other program has a trigger there, no lock is waited for since each probe writes a row of its own, and the
// commit waits for whatever commits wait for, a synchronous standby too.

// probeWrite also deletes the rows of probes that were cut off.
const probeWrite = `
WITH old AS (
    DELETE FROM shardinguser_probes WHERE id = ANY (ARRAY(
        SELECT p.id FROM shardinguser_probes p WHERE p.probed_at < pg_catalog.now() - INTERVAL '1 minute' LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO shardinguser_probes (id) VALUES ($1::text)`

// errHangs says that the database answers, and does not complete a write.
var errHangs = errors.New("a commit does not return")

// shared is an answer that concurrent callers share, and callers that ask about the same subject shortly after.
type shared[T any] struct {
	mu      sync.Mutex
	at      time.Time
	subject string
	answer  T
}

// get returns the last answer if it is about this subject and younger than age. Otherwise it asks.
func (s *shared[T]) get(subject string, age time.Duration, ask func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || s.subject != subject || time.Since(s.at) >= age {
		s.subject, s.answer = subject, ask()
		s.at = time.Now()
	}
	return s.answer
}

// prove probes, unless a result is fresh. The error is the driver's, or errHangs.
func (s *Store) prove(ctx context.Context) error {
	return s.proofs.get("", s.timing.proof, func() error { return s.probe(context.WithoutCancel(ctx)) })
}

// probe makes one probe. A time-out proves that writes hang only where a read on the same connection was answered before it
// and another one, on a new connection, is answered after it: else this process or the server is merely short of time.
func (s *Store) probe(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	// The context's end cancels the statement at the server: a backend that waits for a standby would wait on without us.
	conn, err := s.dial(limited)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn.raw)
	if _, err := conn.Exec(limited, "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	writing, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	// Exec mode, since a statement cannot be prepared once through a pooler.
	_, err = conn.Exec(writing, probeWrite, pgx.QueryExecModeExec, rand.Text())
	if err == nil || !timedOut(err) {
		return err
	}
	if _, lookErr := s.lookDirectly(ctx, s.settings.Role.tables()); lookErr != nil {
		return err
	}
	return errHangs
}

// isProbeMissing reports whether a probe says nothing, since its table is not there yet, or not granted to the role.
func isProbeMissing(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && (refusal.Code == codeUndefinedTable || refusal.Code == codeMissingRight)
}
