// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// lookAtTriggers counts our enabled triggers on the table users, and returns whether their function is another version's that the
// role may replace.
const lookAtTriggers = `
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger
        WHERE tgrelid = pg_catalog.to_regclass('users')::oid AND tgenabled <> 'D' AND tgname IN ('` + schema.RowTrigger + `', '` + schema.TruncateTrigger + `')),
       EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid = pg_catalog.to_regprocedure('` + schema.TriggerFunction + `()')::oid
               AND p.prosrc <> $1::text AND pg_catalog.pg_has_role(p.proowner, 'USAGE')
               AND pg_catalog.has_schema_privilege(p.pronamespace, 'CREATE'))`

// strangersFunction yields the owner of a function with our name, if that owner is neither a superuser, nor the role itself, nor
// the owner of the table. Its code would run with our rights.
const strangersFunction = `
SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
JOIN pg_catalog.pg_roles me ON me.rolname = CURRENT_USER
WHERE p.oid = pg_catalog.to_regprocedure('` + schema.TriggerFunction + `()')::oid AND NOT r.rolsuper
  AND CASE WHEN me.rolsuper THEN r.oid <> me.oid ELSE NOT pg_catalog.pg_has_role(r.oid, 'USAGE') END
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass('users')::oid AND c.relowner = r.oid)`

// ensureTrigger makes the triggers where they are missing and that is the role's to do, and reports whether they are there.
// That they may not be made is no error; it is logged once. That there is no table is one.
func (s *Store) ensureTrigger(ctx context.Context) (bool, error) {
	var (
		count   int
		isOther bool
	)
	err := s.run(ctx, asks, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		return conn.QueryRow(ctx, lookAtTriggers, schema.TriggerBody).Scan(&count, &isOther)
	})
	if err != nil {
		return false, err
	}
	if (count == schema.TriggerCount && !isOther) || !s.settings.Role.makesSchema() {
		s.triggerIs("")
		return count == schema.TriggerCount, nil
	}

	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	if err := s.makeTrigger(limited); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if count == schema.TriggerCount {
			return true, nil // the other version's function does as well
		}
		v := s.classify(err, writes, s.settings.StatementTimeout)
		if v.code == codeUndefinedTable {
			return false, s.failure(ctx, err, asks, s.settings.StatementTimeout)
		}
		if v.kind == conflict {
			v.sentence = store.ErrConflict.Error()
		}
		s.triggerIs(v.sentence)
		return false, nil
	}
	s.triggerIs("")
	s.settings.Log.Info("Created the triggers on the table users")
	return true, nil
}

// makeTrigger makes the triggers in one transaction, one replica after the other.
func (s *Store) makeTrigger(ctx context.Context) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1::bigint)", migrationLock+1); err != nil {
			return err
		}
		var (
			count   int
			isOther bool
			owner   string
		)
		if err := tx.QueryRow(ctx, lookAtTriggers, schema.TriggerBody).Scan(&count, &isOther); err != nil || (count == schema.TriggerCount && !isOther) {
			return err
		}
		switch err := tx.QueryRow(ctx, strangersFunction).Scan(&owner); {
		case err == nil:
			return &store.UnavailableError{Sentence: fmt.Sprintf("The function %s() belongs to the role %s, whose code must not run with "+
				"the operator's rights; drop the function.", schema.TriggerFunction, owner)}
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		// CREATE TRIGGER waits for transactions that write to the table, and makes all that come later wait behind it:
		// logins must not stand still because of us.
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, schema.Triggers); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, lookAtTriggers, schema.TriggerBody).Scan(&count, &isOther); err != nil || count == schema.TriggerCount {
			return err
		}
		return &store.UnavailableError{Sentence: "The trigger exists but is disabled; enable it."}
	})
}

// triggerIs remembers why there is no trigger, "" where there is one, and logs what is new.
func (s *Store) triggerIs(failed string) {
	s.mu.Lock()
	before := s.triggerFailed
	s.triggerFailed = failed
	s.mu.Unlock()
	if failed == "" || failed == before {
		return
	}
	remedy := "run GRANT TRIGGER ON TABLE users TO the role, and GRANT CREATE ON SCHEMA for its schema"
	if s.settings.Role == RoleController {
		remedy = "run config/database/roles.sql"
	}
	s.settings.Log.Warn("Cannot create the trigger on the table users; polling for changes",
		"reason", failed, "remedy", remedy)
}
