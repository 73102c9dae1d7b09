// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A sign of life is a row among those of the probes, which the controller's role may already write. Its ID is that of the scope
// and the process. Probes, and other signs of life, delete rows that are older than a minute: they are no signs of life any more.
var (
	ofScope = signsOf("@cluster::text", "@system::text")

	markAlive = `
WITH old AS (
    DELETE FROM shardinguser_probes WHERE id = ANY (ARRAY(
        SELECT p.id FROM shardinguser_probes p
        WHERE p.probed_at < pg_catalog.now() - INTERVAL '1 minute' AND p.id <> ` + ofScope + ` || @process::text LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO shardinguser_probes (id) VALUES (` + ofScope + ` || @process::text)
ON CONFLICT (id) DO UPDATE SET probed_at = pg_catalog.now()`

	markStopped = `DELETE FROM shardinguser_probes WHERE id = ` + ofScope + ` || @process::text`

	lookForLife = `SELECT ` + isAlive(ofScope)
)

// signsOf returns the SQL of the beginning of the IDs of a scope's signs of life, for SQL of its cluster and its system.
func signsOf(cluster, system string) string {
	return `('manager/' || ` + cluster + ` || '/' || ` + system + ` || '/')`
}

// isAlive returns the SQL of whether an ID with this beginning is recent. @alive_for are the microseconds that it counts.
func isAlive(signs string) string {
	return `EXISTS (SELECT FROM shardinguser_probes p
               WHERE pg_catalog.starts_with(p.id, ` + signs + `)
                 AND p.probed_at > pg_catalog.now() - @alive_for::bigint::float8 * INTERVAL '1 microsecond')`
}

// MarkAlive records that a process of this scope runs. The record counts for store.AliveFor.
func (s *Store) MarkAlive(ctx context.Context, scope store.Scope, process string) error {
	return s.mark(ctx, markAlive, scope, process)
}

// MarkStopped records that the process does not run any more.
func (s *Store) MarkStopped(ctx context.Context, scope store.Scope, process string) error {
	return s.mark(ctx, markStopped, scope, process)
}

// mark says nothing about the health of the database: users may be unwritable while this table is not, or the other way round.
func (s *Store) mark(ctx context.Context, statement string, scope store.Scope, process string) error {
	if err := s.Health().Writing; err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	pooled, err := s.pool.Acquire(limited)
	if err == nil {
		defer pooled.Release()
		_, err = s.on(pooled.Conn()).Exec(limited, statement, pgx.NamedArgs{
			"cluster": scope.Cluster, "system": scope.System, "process": process,
		})
	}
	if err != nil {
		return s.classify(err, asks, s.settings.StatementTimeout).unavailable(err)
	}
	return nil
}

// IsAlive reports whether an operator of this scope recorded recently that it runs. An operator of a version before this record
// never does.
func (s *Store) IsAlive(ctx context.Context, scope store.Scope) (alive bool, err error) {
	err = s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		return conn.QueryRow(ctx, lookForLife, pgx.NamedArgs{
			"cluster": scope.Cluster, "system": scope.System, "alive_for": store.AliveFor.Microseconds(),
		}).Scan(&alive)
	})
	return alive, err
}
