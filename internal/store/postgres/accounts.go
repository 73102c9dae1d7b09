// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The rows as they are, in the order of bytes, which is the same whatever the database's collation.
const (
	listRows = `
SELECT u.username, COALESCE(u.password_hash, ''), u.roles::text, COALESCE(u.active, false),
       COALESCE(u.failed_login_attempts, 0)::bigint, u.locked_until::timestamptz, u.last_login_at::timestamptz`

	listOwned = listRows + `,
       COALESCE(o.cluster, ''), COALESCE(pg_catalog.to_jsonb(o) ->> 'system', ''), COALESCE(o.namespace, ''), COALESCE(o.name, ''), COALESCE(o.uid, '')
FROM users u LEFT JOIN shardinguser_ownership o ON o.username::text = u.username::text AND o.state = 'owned'
ORDER BY u.username COLLATE "C"`

	listUnowned = listRows + `, '', '', '', '', ''
FROM users u ORDER BY u.username COLLATE "C"`
)

// Accounts reads all rows of the table users, in the order of their usernames' bytes. It needs no other table: where no
// operator ever ran, no row has an owner. Its errors are Observe's.
func (s *Store) Accounts(ctx context.Context) ([]store.Account, error) {
	var accounts []store.Account
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		var noted bool
		if err := conn.QueryRow(ctx, `SELECT pg_catalog.to_regclass('shardinguser_ownership') IS NOT NULL`).Scan(&noted); err != nil {
			return err
		}
		query := listUnowned
		if noted {
			query = listOwned
		}
		rows, err := conn.Query(ctx, query)
		if err != nil {
			return err
		}
		accounts, err = pgx.CollectRows(rows, scanListed)
		return err
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

func scanListed(result pgx.CollectableRow) (store.Account, error) {
	var (
		account       store.Account
		owner         user.Owner
		roles         *string
		failed        int64
		locked, login pgtype.Timestamptz
	)
	row := &account.Row
	err := result.Scan(&account.Username, &row.PasswordHash, &roles, &row.Active, &failed, &locked, &login,
		&owner.Cluster, &owner.System, &owner.Namespace, &owner.Name, &owner.UID)
	if err != nil {
		return store.Account{}, err
	}
	row.FailedLoginAttempts = int(failed)
	row.LockedUntil, row.LastLogin = moment(locked), moment(login)
	if roles != nil && *roles != "null" { // the sharding manager writes null where there are no roles
		row.Roles, row.RolesMalformed = parseRoles(roles)
	}
	if owner != (user.Owner{}) {
		account.Owner = &owner
	}
	return account, nil
}

// listAttempts asks for the latest first. A username, an ID or a limit of NULL is none.
const listAttempts = `
SELECT id, attempted_at, username, source, user_agent, outcome, attempts FROM login_attempts
WHERE (@username::text IS NULL OR username::text = @username::text)
  AND (@before::bigint IS NULL OR (attempted_at, id) < (SELECT b.attempted_at, b.id FROM login_attempts b WHERE b.id = @before::bigint))
  AND (@since::bigint = 0 OR attempted_at > pg_catalog.now() - @since::bigint::float8 * INTERVAL '1 microsecond')
  AND (pg_catalog.cardinality(@outcomes::text[]) = 0 OR outcome = ANY (@outcomes::text[]))
ORDER BY attempted_at DESC, id DESC LIMIT @limit::bigint`

// ReadAttempts reads the audit trail of an account or of all, the latest attempt first. Its errors are Observe's.
func (s *Store) ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error) {
	if !store.MayBeUsername(trail.Username) {
		return nil, ctx.Err()
	}
	outcomes := make([]string, 0, len(trail.Outcomes))
	for _, outcome := range trail.Outcomes {
		outcomes = append(outcomes, string(outcome))
	}
	var (
		limit    *int
		before   *int64
		username *string
	)
	if trail.Limit > 0 {
		limit = &trail.Limit
	}
	if trail.Before > 0 {
		before = &trail.Before
	}
	if trail.Username != "" { // the trail has it as Record returns it
		username = new(store.Attempt{Username: trail.Username}.Record(true).Username)
	}
	var records []store.CountedRecord
	err := s.run(ctx, reads, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		rows, err := conn.Query(ctx, listAttempts, pgx.NamedArgs{
			"username": username, "before": before, "since": trail.Since.Microseconds(), "outcomes": outcomes, "limit": limit,
		})
		if err != nil {
			return err
		}
		records, err = pgx.CollectRows(rows, pgx.RowToStructByPos[store.CountedRecord])
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}
