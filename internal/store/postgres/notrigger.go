// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// arrangeTrigger creates the triggers if they are missing or, without notifications, drops them. It reports whether changed
// rows are notified.
func (s *Store) arrangeTrigger(ctx context.Context) (isThere bool, err error) {
	if s.settings.NoNotifications {
		return false, s.dropTrigger(ctx)
	}
	return s.ensureTrigger(ctx)
}

// findTrigger finds our triggers on users, also disabled ones, and their function.
const findTrigger = `
SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
               WHERE tgrelid = pg_catalog.to_regclass('users')::oid AND tgname IN ('` + schema.RowTrigger + `', '` + schema.TruncateTrigger + `')),
       pg_catalog.to_regprocedure('` + schema.TriggerFunction + `()') IS NOT NULL`

// dropTrigger drops our triggers and their function, where they are there and that is the role's to do. That they cannot be
// dropped is no error; it is logged once.
func (s *Store) dropTrigger(ctx context.Context) error {
	if !s.settings.Role.makesSchema() {
		return nil
	}
	var triggers, function bool
	err := s.run(ctx, asks, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		return conn.QueryRow(ctx, findTrigger).Scan(&triggers, &function)
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	if triggers {
		err = s.drop(limited, "DROP TRIGGER IF EXISTS "+schema.RowTrigger+" ON users; DROP TRIGGER IF EXISTS "+schema.TruncateTrigger+" ON users")
	}
	if err == nil && function {
		err = s.drop(limited, "DROP FUNCTION IF EXISTS "+schema.TriggerFunction+"()")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.triggerStays(err)
	return nil
}

// drop runs a DROP. Like CREATE TRIGGER it waits for transactions that write to the table, and must not hold up logins.
func (s *Store) drop(ctx context.Context, sql string) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1::bigint)", migrationLock+1); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'; "+sql, pgx.QueryExecModeSimpleProtocol)
		return err
	})
}

// triggerStays remembers why the trigger could not be dropped, nil where it is gone, and logs what is new.
func (s *Store) triggerStays(err error) {
	var failed string
	var refusal *pgconn.PgError
	switch {
	case err == nil:
	case errors.As(err, &refusal) && refusal.Code == codeMissingRight:
		failed = "the database role does not own it"
	case errors.As(err, &refusal) && refusal.Code == "2BP01":
		failed = "a trigger of another program uses its function"
	default:
		failed = s.classify(err, asks, s.settings.StatementTimeout).sentence
	}
	s.mu.Lock()
	before := s.triggerFailed
	s.triggerFailed = failed
	s.mu.Unlock()
	if failed != "" && failed != before {
		s.settings.Log.Warn("Notifications are off, but the trigger on the table users cannot be dropped", "reason", failed,
			"remedy", "let the owner of the table run: DROP TRIGGER "+schema.RowTrigger+" ON users; DROP TRIGGER "+schema.TruncateTrigger+
				" ON users; DROP FUNCTION "+schema.TriggerFunction+"()")
	}
}
