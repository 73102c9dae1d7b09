// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// listOwnedBy goes by the order of the primary key, whatever the database's collation.
const listOwnedBy = `
SELECT o.username, o.cluster, o.namespace, o.name, o.uid, u.username IS NOT NULL, COALESCE(u.active, false)
FROM (SELECT * FROM shardinguser_ownership
      WHERE state = 'owned' AND cluster = @cluster AND username::text > @after::text ORDER BY username LIMIT @limit::bigint) o
LEFT JOIN users u ON u.username::text = o.username::text
ORDER BY o.username`

// Owned reads the next ownership records of a cluster that follow a username, at most limit of them. Its errors are Observe's.
func (s *Store) Owned(ctx context.Context, cluster, after string, limit int) ([]store.Owned, error) {
	var records []store.Owned
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, listOwnedBy, pgx.NamedArgs{"cluster": cluster, "after": after, "limit": limit})
		if err != nil {
			return err
		}
		records, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o store.Owned, err error) {
			err = row.Scan(&o.Username, &o.Owner.Cluster, &o.Owner.Namespace, &o.Owner.Name, &o.Owner.UID, &o.RowExists, &o.Active)
			return o, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}
