// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// polling are settings without notifications.
func polling(dsn string) Settings {
	settings := quick(dsn)
	settings.NoNotifications = true
	return settings
}

// ownedTriggers counts triggers and functions of ours.
const ownedTriggers = `
SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'shardinguser%') + (SELECT count(*) FROM pg_proc WHERE proname LIKE 'shardinguser%')`

// prepareInsert inserts a row in a two-phase commit, as another program does, on one connection.
func prepareInsert(t *testing.T, pool *pgxpool.Pool, username string) error {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{"BEGIN", "INSERT INTO users (username, password_hash) VALUES ('" + username + "', '!')"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	_, err = conn.Exec(t.Context(), "PREPARE TRANSACTION '"+username+"'")
	return err
}

func TestATwoPhaseCommitWorksWithoutNotificationsOnly(t *testing.T) {
	t.Parallel()
	server, err := testenv.StartPostgres(t.Context(), "max_prepared_transactions=10")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	dsn := server.DSN()
	pool := connect(t, dsn)

	with := open(t, quick(dsn))
	if err := with.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refusal *pgconn.PgError
	if err := prepareInsert(t, pool, "alice"); !errors.As(err, &refusal) ||
		!strings.Contains(refusal.Message, "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY") {
		t.Fatalf("with the trigger, PREPARE TRANSACTION says %v", err)
	}

	without := ready(t, polling(dsn))
	if n := value[int](t, pool, ownedTriggers); n != 0 {
		t.Fatalf("%d triggers and functions are left", n)
	}
	w := watch(t, without)
	if err := prepareInsert(t, pool, "bob"); err != nil {
		t.Fatalf("without notifications, PREPARE TRANSACTION says %v", err)
	}
	run(t, pool, "COMMIT PREPARED 'bob'")
	w.told(t, "bob")
	if without.Health().Notified || !without.Health().Polling() {
		t.Errorf("notifying %v, polling %v", without.Health().Notified, without.Health().Polling())
	}
}

func TestWithoutNotificationsAllKindsOfChangesAreReported(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	s := ready(t, polling(dsn))
	w := watch(t, s)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	for _, sql := range []string{"UPDATE users SET active = false", "UPDATE users SET locked_until = now()", "DELETE FROM users"} {
		w.forget()
		run(t, pool, sql)
		w.told(t, "alice")
	}
	listeners := value[int](t, pool, `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE '-- ping')`)
	if n := value[int](t, pool, ownedTriggers); n != 0 || listeners != 0 || s.Health().Notified {
		t.Errorf("%d triggers and functions, %d listeners, notifying %v", n, listeners, s.Health().Notified)
	}
}

func TestATriggerThatAnotherReplicaMadeIsDroppedAgain(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	s := open(t, polling(dsn))
	s.observer.Timing.RetryListen = 50 * time.Millisecond
	background(t, func(ctx context.Context) { _ = s.Maintain(ctx) })
	watch(t, s)
	eventually(t, "the schema is complete", func() bool {
		select {
		case <-s.migrated:
			return true
		default:
			return false
		}
	})
	old := open(t, quick(dsn))
	if err := old.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the trigger is gone", func() bool { return value[int](t, pool, ownedTriggers) == 0 })
}

func TestTheLoginRoleDropsNoTrigger(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	ready(t, quick(dsn))
	settings := polling(dsn)
	settings.Role = RoleLogin
	s := ready(t, settings)
	s.observer.Timing.RetryListen = 50 * time.Millisecond
	pool := connect(t, dsn)
	w := watch(t, s)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
	if err := s.dropTrigger(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, pool, ownedTriggers); n != schema.TriggerCount+1 {
		t.Errorf("%d triggers and functions, want %d", n, schema.TriggerCount+1)
	}
}

func TestATriggerThatTheRoleMayNotDropIsLoggedOnce(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	ready(t, quick(admin))
	pool := connect(t, admin)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, pool, "GRANT USAGE ON SCHEMA public TO "+role)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role)
	var log logged
	settings := polling(dsn)
	settings.Log = log.logger()
	s := ready(t, settings)
	for range 3 {
		if err := s.dropTrigger(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "cannot be dropped"); n != 1 || !strings.Contains(log.String(), "does not own it") {
		t.Errorf("it is logged %d times:\n%s", n, log.String())
	}
	w := watch(t, s)
	run(t, pool, insert, "alice")
	w.told(t, "alice")
}

func TestTheScriptOfRolesDropsTheTriggersWithoutNotifications(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	run(t, pool, plainTable)
	testenv.TwoRoles(t, admin)
	if n := value[int](t, pool, ownedTriggers); n != schema.TriggerCount+1 {
		t.Fatalf("%d triggers and functions, want %d", n, schema.TriggerCount+1)
	}
	testenv.TwoRoles(t, admin, "notifications=off")
	if n := value[int](t, pool, ownedTriggers); n != 0 {
		t.Errorf("%d triggers and functions are left", n)
	}
}

func TestOfTriggersOnTheTableOnlyOursAreDropped(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, `CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	run(t, pool, `CREATE TRIGGER theirs AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION theirs()`)
	run(t, pool, `CREATE TABLE others (username text)`)
	run(t, pool, `CREATE TRIGGER ours AFTER INSERT ON others FOR EACH ROW EXECUTE FUNCTION `+schema.TriggerFunction+`()`)
	run(t, pool, `ALTER TABLE users DISABLE TRIGGER `+schema.RowTrigger)
	var log logged
	settings := polling(dsn)
	settings.Log = log.logger()
	ready(t, settings)
	left := value[string](t, pool, `SELECT string_agg(tgname, ',' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal`)
	if left != "ours,theirs" || !strings.Contains(log.String(), "a trigger of another program uses its function") {
		t.Errorf("left are %s:\n%s", left, log.String())
	}
}

// A transaction that writes to the table for long keeps the trigger from being dropped, and is not waited for.
func TestDroppingTheTriggerDuringALongTransactionBlocksNoOther(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE users SET active = false"); err != nil {
		t.Fatal(err)
	}
	s := ready(t, polling(dsn)) // though it could not be dropped
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.dropTrigger(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, pool, ownedTriggers); n != 0 {
		t.Errorf("%d triggers and functions are left", n)
	}
}
