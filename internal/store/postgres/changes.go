// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// listChanges asks for the latest first. A limit of NULL is none, and so are a username and an ID of NULL.
const listChanges = `
SELECT id, changed_at, username, action, old_roles::text, new_roles::text, old_active, new_active, password_changed,
       cluster, system, namespace, name, uid, generation, manager, reason
FROM account_changes
WHERE (@username::text IS NULL OR username::text = @username::text) AND (@before::bigint IS NULL OR id < @before::bigint)
  AND (@since::bigint = 0 OR changed_at > pg_catalog.now() - @since::bigint::float8 * INTERVAL '1 microsecond')
  AND (pg_catalog.cardinality(@actions::text[]) = 0 OR action = ANY (@actions::text[]))
ORDER BY id DESC LIMIT @limit::bigint`

const (
	purgeChanges = `
DELETE FROM account_changes WHERE id = ANY (ARRAY(
    SELECT c.id FROM account_changes c
    WHERE c.changed_at < pg_catalog.now() - @older::bigint::float8 * INTERVAL '1 microsecond'
    ORDER BY c.changed_at LIMIT @batch::bigint
))`

	trimChanges = `
DELETE FROM account_changes WHERE id = ANY (ARRAY(SELECT c.id FROM account_changes c ORDER BY c.id LIMIT @batch::bigint))`

	// See sizeAttempts.
	sizeChanges = `
SELECT COALESCE((pg_catalog.count(*)::float8 * p.scale)::bigint, 0),
       COALESCE((pg_catalog.sum(@overhead::integer + pg_catalog.pg_column_size(c.username)::bigint + pg_catalog.pg_column_size(c.*))::float8 * p.scale)::bigint, 0)
FROM (SELECT s.percent, 100::float8 / s.percent AS scale FROM (
    SELECT LEAST(100::float8, 100000::float8 * pg_catalog.current_setting('block_size')::float8
        / GREATEST(1, pg_catalog.pg_relation_size('account_changes'::regclass))::float8) AS percent
) s) p,
LATERAL (SELECT * FROM account_changes TABLESAMPLE SYSTEM (p.percent)) c
GROUP BY p.scale`
)

// changeOverhead is the bytes of a row besides its columns and its username in an index: the entries in three indexes.
const changeOverhead = 130

// Changes reads recorded changes, the latest first. Its errors are Observe's.
func (s *Store) Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error) {
	if !store.MayBeUsername(query.Username) {
		return nil, ctx.Err()
	}
	args := pgx.NamedArgs{"username": nil, "before": nil, "limit": nil, "since": query.Since.Microseconds()}
	if query.Username != "" {
		args["username"] = store.Attempt{Username: query.Username}.Record(true).Username
	}
	if query.Before > 0 {
		args["before"] = query.Before
	}
	if query.Limit > 0 {
		args["limit"] = query.Limit
	}
	actions := make([]string, 0, len(query.Actions))
	for _, action := range query.Actions {
		actions = append(actions, string(action))
	}
	args["actions"] = actions
	var changes []store.AccountChange
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, listChanges, args)
		if err != nil {
			return err
		}
		changes, err = pgx.CollectRows(rows, scanChange)
		return err
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

func scanChange(row pgx.CollectableRow) (c store.AccountChange, err error) {
	var (
		at             pgtype.Timestamptz
		before, after  *string
		wasIn, isInNow *bool
	)
	err = row.Scan(&c.ID, &at, &c.Username, &c.Action, &before, &after, &wasIn, &isInNow, &c.PasswordChanged,
		&c.Owner.Cluster, &c.Owner.System, &c.Owner.Namespace, &c.Owner.Name, &c.Owner.UID, &c.Generation, &c.Manager, &c.Reason)
	if err != nil {
		return store.AccountChange{}, err
	}
	if t := moment(at); t != nil {
		c.Time = *t
	}
	c.OldRoles, c.NewRoles = recordedRoles(before), recordedRoles(after)
	c.OldActive, c.NewActive = wasIn, isInNow
	return c, nil
}

// recordedRoles parses roles of a record. A column of the type text was recorded as a text that holds JSON.
func recordedRoles(column *string) []string {
	if column == nil {
		return nil
	}
	var inner string
	if json.Unmarshal([]byte(*column), &inner) == nil {
		column = &inner
	}
	roles, malformed := parseRoles(column)
	if roles == nil && !malformed {
		roles = []string{}
	}
	return roles
}

// PurgeChanges deletes changes older than a time, at most one batch, and returns how many. Its errors are package store's sentinels
// and that of the context.
func (s *Store) PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	return s.deleteChanges(ctx, purgeChanges, pgx.NamedArgs{"older": olderThan.Microseconds(), "batch": max(0, batch)})
}

// TrimChanges deletes the oldest changes, at most one batch, and returns how many. Its errors are those of PurgeChanges.
func (s *Store) TrimChanges(ctx context.Context, batch int) (int, error) {
	return s.deleteChanges(ctx, trimChanges, pgx.NamedArgs{"batch": max(0, batch)})
}

func (s *Store) deleteChanges(ctx context.Context, sql string, args pgx.NamedArgs) (int, error) {
	var deleted int64
	err := s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		tag, err := conn.Exec(ctx, sql, args)
		deleted = tag.RowsAffected()
		return err
	})
	return int(deleted), err
}

// ChangesSize estimates how much the recorded changes take. Its errors are those of PurgeChanges.
func (s *Store) ChangesSize(ctx context.Context) (size store.TrailPart, err error) {
	err = s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		size = store.TrailPart{}
		rows, err := conn.Query(ctx, sizeChanges, pgx.NamedArgs{"overhead": changeOverhead})
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&size.Rows, &size.Bytes}, func() error { return nil })
		return err
	})
	return size, err
}
