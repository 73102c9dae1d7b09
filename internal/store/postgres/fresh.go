// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
)

// askUsed asks whether there is an ownership record, or ever was one. Records of deleted rows are purged after a while, but the
// sequence of their revisions never goes back. A role that may not read it gets true. askFresh also asks whether there is no row.
const (
	askUsed = `
SELECT EXISTS (SELECT FROM shardinguser_ownership)
    OR CASE WHEN pg_catalog.has_sequence_privilege(revisions, 'SELECT') THEN pg_catalog.pg_sequence_last_value(revisions) IS NOT NULL ELSE true END
FROM (SELECT pg_catalog.pg_get_serial_sequence('shardinguser_ownership', 'revision')::regclass AS revisions) AS note`

	askFresh = `SELECT NOT EXISTS (SELECT FROM users) AND NOT (` + askUsed + `)`
)

// Fresh reports whether this database never had an account. In doubt it is false. Its errors are Observe's.
func (s *Store) Fresh(ctx context.Context) (bool, error) {
	var fresh bool
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		return conn.QueryRow(ctx, askFresh).Scan(&fresh)
	})
	return fresh, err
}
