// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	rowsChannel  = "shardinguser_rows"  // carries usernames; an empty one stands for any
	probeChannel = "shardinguser_probe" // carries the self-tests of watchers

	// triggerFunction has its version in the name: another function gets another one, so that replicas of two versions
	// do not replace each other's.
	triggerFunction = "shardinguser_notify_v1"
)

// Triggers on the table users: for rows, and for TRUNCATE.
const (
	rowTrigger      = triggerFunction + "_rows"
	truncateTrigger = triggerFunction + "_truncate"
	triggerCount    = 2
)

// countTriggers counts ours on the table users that are enabled.
const countTriggers = `
SELECT count(*) FROM pg_trigger
WHERE tgrelid = to_regclass('users') AND tgenabled <> 'D' AND tgname IN ('` + rowTrigger + `', '` + truncateTrigger + `')`

// triggers are made where they are missing. They run in other programs' transactions: whatever goes wrong in them must
// not be their problem. They keep silent about the two columns that change with every log-in. Which columns changed is
// found out in the function, since columns that a trigger's WHEN names could not be altered by their owner any more.
const triggers = `
DO $do$
BEGIN
    IF to_regprocedure('` + triggerFunction + `()') IS NULL THEN
        CREATE FUNCTION ` + triggerFunction + `() RETURNS trigger LANGUAGE plpgsql AS $fn$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM pg_catalog.pg_notify('` + rowsChannel + `', '');
                RETURN NULL;
            END IF;
            IF TG_OP = 'UPDATE' AND (OLD.username, OLD.password_hash, OLD.roles::text, OLD.active, OLD.locked_until)
                IS NOT DISTINCT FROM (NEW.username, NEW.password_hash, NEW.roles::text, NEW.active, NEW.locked_until) THEN
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' THEN
                PERFORM pg_catalog.pg_notify('` + rowsChannel + `', OLD.username);
            END IF;
            IF TG_OP <> 'DELETE' THEN
                PERFORM pg_catalog.pg_notify('` + rowsChannel + `', NEW.username);
            END IF;
            RETURN NULL;
        EXCEPTION WHEN OTHERS THEN
            RETURN NULL;  -- the sweep finds what was not told
        END
        $fn$;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = '` + rowTrigger + `') THEN
        CREATE TRIGGER ` + rowTrigger + ` AFTER INSERT OR UPDATE OR DELETE ON users
            FOR EACH ROW EXECUTE FUNCTION ` + triggerFunction + `();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = '` + truncateTrigger + `') THEN
        CREATE TRIGGER ` + truncateTrigger + ` AFTER TRUNCATE ON users
            FOR EACH STATEMENT EXECUTE FUNCTION ` + triggerFunction + `();
    END IF;
END
$do$`

// ensureTrigger makes the triggers where they are missing and that is the role's to do, and tells whether they are there.
// That they may not be made is no error; it is logged once. That there is no table is one.
func (s *Store) ensureTrigger(ctx context.Context) (bool, error) {
	var count int
	err := s.run(ctx, asks, s.settings.StatementTimeout, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, countTriggers).Scan(&count)
	})
	if err != nil {
		return false, err
	}
	if count == triggerCount || !s.settings.Role.makesSchema() {
		s.triggerIs("")
		return count == triggerCount, nil
	}

	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	if err := s.makeTrigger(limited); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		v := s.judge(err, writes, s.settings.StatementTimeout)
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
	return true, nil
}

// makeTrigger makes the triggers in one transaction, one replica after the other.
func (s *Store) makeTrigger(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1::bigint)", migrationLock+1); err != nil {
			return err
		}
		var count int
		if err := tx.QueryRow(ctx, countTriggers).Scan(&count); err != nil || count == triggerCount {
			return err
		}
		// CREATE TRIGGER waits for transactions that write to the table, and makes all that come later wait behind it:
		// log-ins must not stand still because of us.
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, triggers); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, countTriggers).Scan(&count); err != nil || count == triggerCount {
			return err
		}
		return &store.UnavailableError{Sentence: "The trigger is there, and somebody disabled it."}
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
	remedy := "GRANT TRIGGER ON TABLE users, and CREATE on its schema, to the role"
	if s.settings.Role == RoleController {
		remedy = "config/database/roles.sql makes it"
	}
	s.settings.Log.Warn("There can be no trigger on the table users: changes are found by polling",
		"reason", failed, "remedy", remedy)
}
