// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// A sign of life is a row among those of the probes, which both roles may already write. Probes delete rows that are older than
// a minute, which by then are signs of life no more. aliveID is its ID.
const aliveID = `'manager/' || @cluster::text || '/' || @system::text`

const (
	markAlive = `
INSERT INTO shardinguser_probes (id) VALUES (` + aliveID + `)
ON CONFLICT (id) DO UPDATE SET probed_at = pg_catalog.now()`

	markStopped = `DELETE FROM shardinguser_probes WHERE id = ` + aliveID

	listAlive = `
SELECT EXISTS (SELECT FROM shardinguser_probes
               WHERE id = ` + aliveID + ` AND probed_at > pg_catalog.now() - @alive_for::bigint::float8 * INTERVAL '1 microsecond')`
)

// MarkAlive records that an operator of this scope runs. The record counts for store.AliveFor.
func (s *Store) MarkAlive(ctx context.Context, scope store.Scope) error {
	return s.mark(ctx, markAlive, scope)
}

// MarkStopped records that no operator of this scope runs any more.
func (s *Store) MarkStopped(ctx context.Context, scope store.Scope) error {
	return s.mark(ctx, markStopped, scope)
}

func (s *Store) mark(ctx context.Context, statement string, scope store.Scope) error {
	return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		_, err := conn.Exec(ctx, statement, pgx.NamedArgs{"cluster": scope.Cluster, "system": scope.System})
		return err
	})
}

// IsAlive reports whether an operator of this scope recorded recently that it runs. An operator of a version before this record
// never does.
func (s *Store) IsAlive(ctx context.Context, scope store.Scope) (alive bool, err error) {
	err = s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		return conn.QueryRow(ctx, listAlive, pgx.NamedArgs{
			"cluster": scope.Cluster, "system": scope.System, "alive_for": store.AliveFor.Microseconds(),
		}).Scan(&alive)
	})
	return alive, err
}
