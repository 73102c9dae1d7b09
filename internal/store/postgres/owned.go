// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// listOwnedBy goes by the order of the primary key, whatever the database's collation.
const listOwnedBy = `
SELECT o.username, o.cluster, o.system, o.namespace, o.name, o.uid, u.username IS NOT NULL, COALESCE(u.active, false)
FROM (SELECT * FROM shardinguser_ownership
      WHERE state = 'owned' AND cluster = @cluster AND system = @system AND username::text > @after::text ORDER BY username LIMIT @limit::bigint) o
LEFT JOIN users u ON u.username::text = o.username::text
ORDER BY o.username`

// listReleasedBy is listOwnedBy of the released records whose rows are active.
const listReleasedBy = `
SELECT o.username, o.cluster, o.system, o.namespace, o.name, o.uid, true, true
FROM shardinguser_ownership o JOIN users u ON u.username::text = o.username::text
WHERE o.state = 'released' AND o.cluster = @cluster AND o.system = @system AND o.username::text > @after::text AND u.active
ORDER BY o.username LIMIT @limit::bigint`

// Owned reads the next ownership records of a scope that follow a username, at most limit of them. Its errors are Observe's.
func (s *Store) Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return s.records(ctx, listOwnedBy, scope, after, limit)
}

// Released reads the next released records whose rows are active, as Owned reads those that are owned.
func (s *Store) Released(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return s.records(ctx, listReleasedBy, scope, after, limit)
}

func (s *Store) records(ctx context.Context, list string, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	var records []store.Owned
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, list, pgx.NamedArgs{"cluster": scope.Cluster, "system": scope.System, "after": after, "limit": limit})
		if err != nil {
			return err
		}
		records, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o store.Owned, err error) {
			err = row.Scan(&o.Username, &o.Owner.Cluster, &o.Owner.System, &o.Owner.Namespace, &o.Owner.Name, &o.Owner.UID, &o.RowExists, &o.Active)
			return o, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}
