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

// A probe is one small committed write to a table of the operator, on a connection of its own. It proves whether the database
// accepts writes: no other program has a trigger there, each probe writes a row of its own and so waits for no lock, and its
// commit waits for what any commit waits for, such as a synchronous standby.

// probeWrite also deletes rows of interrupted probes.
const probeWrite = `
WITH old AS (
    DELETE FROM shardinguser_probes WHERE id = ANY (ARRAY(
        SELECT p.id FROM shardinguser_probes p WHERE p.probed_at < pg_catalog.now() - INTERVAL '1 minute' LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO shardinguser_probes (id) VALUES ($1::text)`

// errHangs says that the database answers, but does not complete a write.
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

// probe makes one probe. A time-out proves that writes hang only if a read on the same connection was answered before it, and
// another one on a new connection after it. Otherwise this process or the server is merely short of time.
func (s *Store) probe(ctx context.Context) error {
	config, err := connConfig(s.settings.DSN)
	if err != nil {
		return err
	}
	limited, cancel := s.limitLook(ctx, config)
	defer cancel()
	// The end of the context cancels the statement at the server: otherwise a backend would continue to wait for a standby.
	conn, err := s.dial(limited, config)
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

// isProbeMissing reports whether a probe proves nothing, since its table does not exist yet, or is not granted to the role.
func isProbeMissing(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && (refusal.Code == codeUndefinedTable || refusal.Code == codeMissingRight)
}
