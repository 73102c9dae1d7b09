// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// The size of the relation does not shrink when rows are deleted, since free space is reused. So the size is estimated from the
// rows: from a sample of about a thousand pages, or from all rows of a small table. The columns are named, since the login role may
// not read all of them.
const sizeAttempts = `
SELECT a.outcome,
       (pg_catalog.count(*)::float8 * p.scale)::bigint,
       (pg_catalog.sum(@overhead::integer + 2 * pg_catalog.pg_column_size(a.username) + pg_catalog.pg_column_size(a.user_agent)
           + COALESCE(pg_catalog.pg_column_size(a.attempt_key), 0))::float8 * p.scale)::bigint
FROM (SELECT s.percent, 100::float8 / s.percent AS scale FROM (
    SELECT LEAST(100::float8, 100000::float8 * pg_catalog.current_setting('block_size')::float8
        / GREATEST(1, pg_catalog.pg_relation_size('login_attempts'::regclass))::float8) AS percent
) s) p,
LATERAL (SELECT outcome, username, user_agent, attempt_key FROM login_attempts TABLESAMPLE SYSTEM (p.percent)) a
GROUP BY a.outcome, p.scale`

// rowOverhead is the bytes of a row besides its username (also in an index), user agent and key: the row's header, its other columns,
// the entries in five indexes, and what fill factors leave free. TestTheEstimatedSizeIsThatOfTheTable compares.
const rowOverhead = 280

// trimAttempts keeps attempts by which locks grow.
const trimAttempts = `
DELETE FROM login_attempts WHERE id = ANY (ARRAY(
    SELECT a.id FROM login_attempts a
    WHERE a.outcome = @outcome::text
      AND (a.locked_until IS NULL OR a.attempted_at < pg_catalog.now() - @growth::bigint::float8 * INTERVAL '1 microsecond')
      AND (a.outcome <> 'pending' OR a.attempted_at < pg_catalog.now() - @pending::bigint::float8 * INTERVAL '1 microsecond')
    ORDER BY a.attempted_at LIMIT @batch::bigint
    FOR UPDATE SKIP LOCKED
))`

// trimTime is how many times as long as other statements one batch may take: it passes over older rows of other outcomes.
const trimTime = 12

// TrailSize estimates how much the audit trail holds. Its errors are package store's sentinels and that of the context.
func (s *Store) TrailSize(ctx context.Context) (store.TrailSize, error) {
	size := store.TrailSize{}
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, sizeAttempts, pgx.NamedArgs{"overhead": rowOverhead})
		if err != nil {
			return err
		}
		clear(size)
		var outcome string
		var part store.TrailPart
		_, err = pgx.ForEachRow(rows, []any{&outcome, &part.Rows, &part.Bytes}, func() error {
			size[store.Outcome(outcome)] = part
			return nil
		})
		return err
	})
	return size, err
}

// TrimAttempts deletes the oldest attempts of an outcome, at most a batch of them, and returns how many. Several replicas may do it at
// once. Its errors are package store's sentinels and that of the context.
func (s *Store) TrimAttempts(ctx context.Context, outcome store.Outcome, batch int) (int, error) {
	var trimmed int64
	err := s.run(ctx, writes, trimTime*s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		tag, err := conn.Exec(ctx, trimAttempts, pgx.NamedArgs{
			"outcome": string(outcome), "growth": store.GrowthPeriod.Microseconds(), "pending": store.PendingTime.Microseconds(), "batch": max(0, batch),
		})
		trimmed = tag.RowsAffected()
		return err
	})
	return int(trimmed), err
}
