// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// shape is what the catalog says of the table users: its columns, and its indexes.
func shape(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'users'::regclass AND attnum > 0
UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = 'users'
ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func TestTheTableUsersIsMadeAsTheContractHasIt(t *testing.T) {
	t.Parallel()
	byHand := connect(t, testenv.Database(t))
	run(t, byHand, plainTable)
	run(t, byHand, "CREATE INDEX idx_users_active ON users(active) WHERE active = true")
	run(t, byHand, "CREATE INDEX idx_users_locked ON users(locked_until) WHERE locked_until IS NOT NULL")

	ours := testenv.Database(t)
	ready(t, quick(ours))
	if got, want := shape(t, connect(t, ours)), shape(t, byHand); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestATableThatAnotherProgramMadeIsNotAltered(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	run(t, pool, widerTable)
	before := shape(t, pool)
	ready(t, quick(dsn))
	if after := shape(t, pool); after != before {
		t.Errorf("the table was\n%s\nand is\n%s", before, after)
	}
}

func TestSeveralReplicasMigrateAnEmptyDatabaseAtOnce(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	results := make(chan error)
	const replicas = 4
	for range replicas {
		s := open(t, quick(dsn))
		go func() { results <- s.Migrate(t.Context()) }()
	}
	for range replicas {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	files, err := filepath.Glob("schema/migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if made := value[int](t, connect(t, dsn), "SELECT count(*) FROM shardinguser_migrations WHERE version_id > 0"); made != len(files) {
		t.Errorf("%d migrations were made, want %d", made, len(files))
	}
}

func TestAMigrationWaitsForAnotherReplicasUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	holder := connect(t, dsn)
	conn, err := holder.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1::bigint)", migrationLock); err != nil {
		t.Fatal(err)
	}
	s := maintained(t, quick(dsn)) // ends with the test, in the midst of its wait
	waiting := connect(t, dsn)
	eventually(t, "the replica waits for the lock", func() bool {
		return value[bool](t, waiting, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "+
			"AND query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid())")
	})
	select {
	case <-s.migrated:
		t.Error("it did not wait")
	default:
	}
}

func TestTheGrantThatCreatingTablesNeedsIsNamed(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")

	want := `GRANT USAGE, CREATE ON SCHEMA "public" TO "` + role + `";`
	s := open(t, quick(dsn))
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a sentence with %s", what, err, want)
		}
	}
	refused("Migrate", s.Migrate(t.Context()))
	_, err := s.Observe(t.Context(), "alice")
	refused("Observe", err)

	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if _, err := s.Observe(t.Context(), "alice"); err != nil {
		t.Errorf("with the right: %v", err)
	}
}

func TestACompleteSchemaNeedsNoRightToCreate(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	ready(t, quick(admin))
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	run(t, pool, "GRANT USAGE ON SCHEMA public TO "+role)
	run(t, pool, "GRANT SELECT ON shardinguser_migrations TO "+role)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_familiar TO "+role)

	s := ready(t, quick(dsn))
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Error(err)
	}
	o, err := s.Observe(t.Context(), "alice")
	if err != nil || o.Row == nil {
		t.Errorf("observed %+v, %v", o, err)
	}
}

func TestATableThatMayNotBeReadIsNamedWithItsGrant(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	run(t, connect(t, admin), plainTable)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, connect(t, admin), "GRANT CREATE ON SCHEMA public TO "+role)
	s := ready(t, quick(dsn))
	_, err := s.Observe(t.Context(), "alice")
	want := `GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "users" TO "` + role + `"`
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a sentence with %s", err, want)
	}
}

func TestASchemaThatDoesNotExistIsReported(t *testing.T) {
	t.Parallel()
	s := open(t, quick(with(testenv.Database(t), "search_path=nowhere")))
	err := s.Migrate(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "search_path") {
		t.Errorf("got %v", err)
	}
}

func TestATableOfAnotherProgramThatHasTheNameOfOursIsReported(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	run(t, pool, "CREATE TABLE login_attempts (who TEXT)")
	expectUnavailable(t, open(t, quick(dsn)).Migrate(t.Context()), "rename that one, or let the operator's search_path begin")

	run(t, pool, "CREATE SCHEMA ours")
	s := open(t, quick(with(dsn, "search_path=ours,public")))
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("with a schema of its own: %v", err)
	}
}

func TestTablesThatWereDroppedAreCreatedAgain(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	run(t, connect(t, dsn), "DROP TABLE users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_migrations")
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
}

// As by a dump of one table that an earlier version of the operator had.
func TestATableOfAnEarlierVersionBesideTheOthersIsMigratedAgain(t *testing.T) {
	t.Parallel()
	for _, columns := range []string{
		"shardinguser_ownership DROP COLUMN password_digest, DROP COLUMN transferred_from, DROP COLUMN transferred_at",
		"shardinguser_ownership DROP COLUMN system", "login_attempts DROP COLUMN attempts",
	} {
		dsn := databaseWithSchema(t)
		run(t, connect(t, dsn), "ALTER TABLE "+columns)
		s := open(t, quick(dsn))
		for range 2 {
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Observe(t.Context(), "alice"); err != nil {
				t.Errorf("after %s: %v", columns, err)
			}
		}
		if _, err := s.look(t.Context(), RoleBoth.tables()); err != nil {
			t.Errorf("after %s: %v", columns, err)
		}
	}
}

func TestATableThatIsDroppedWhileOthersStayIsCreatedAgain(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"users", schema.Ownership, schema.Attempts} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Database(t)
			var log logged
			settings := quick(dsn)
			settings.Log = log.logger()
			settings.CheckInterval = time.Hour // a call that finds the table missing is enough
			s := ready(t, settings)
			w := watch(t, s)
			pool := connect(t, dsn)
			before := shape(t, pool)
			if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
				t.Fatal(err)
			}
			w.told(t, "alice")
			eventually(t, "the store is notifying", notified(s))
			w.forget()
			run(t, pool, "DROP TABLE "+table)
			eventually(t, "a row can be created", func() bool {
				err := applied(t, s, creation("bob"))
				return err == nil || errors.Is(err, store.ErrConflict) // it was created, and could not be read back
			})
			w.told(t, "bob")
			if table != schema.Attempts {
				w.told(t, "alice") // the row or the ownership record is gone
			}
			eventually(t, "the recovery is announced", func() bool { return w.recoveries() > 0 })
			eventually(t, "the store is up and notifying", func() bool { return s.Health().Up() && s.Health().Notified })
			if after := shape(t, pool); after != before {
				t.Errorf("the table was\n%s\nand is\n%s", before, after)
			}
			eventually(t, "the triggers are there", func() bool { return countTriggers(t, pool) == schema.TriggerCount })
			if n := strings.Count(log.String(), "\n"); n > 15 {
				t.Errorf("%d lines were logged: %s", n, log.String())
			}
		})
	}
}

func TestSeveralReplicasMakeADroppedTableAgainAtOnce(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	ready(t, quick(dsn))
	pool := connect(t, dsn)
	const replicas = 4
	for range 2 {
		run(t, pool, "DROP TABLE users")
		results := make(chan error)
		for range replicas {
			s := open(t, quick(dsn))
			go func() { results <- s.Migrate(t.Context()) }()
		}
		for range replicas {
			// A subscriber that read between the two may have been too early, so it is notified again.
			if err := <-results; err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		}
		eventually(t, "the table is there", func() bool { return value[bool](t, pool, tablesThere) })
	}
}

func TestADroppedTableThatMayNotBeCreatedIsReportedOnce(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	if err := open(t, quick(admin)).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	run(t, pool, "GRANT SELECT ON shardinguser_migrations TO "+role)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_familiar TO "+role)
	var log logged
	settings := quick(dsn)
	settings.Log = log.logger()
	s := ready(t, settings)
	w := watch(t, s)
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
	w.told(t, "alice")
	eventually(t, "the store is up", up(s))

	run(t, pool, "DROP TABLE users")
	want := `GRANT USAGE, CREATE ON SCHEMA "public" TO "` + role + `";`
	eventually(t, "it says what is missing", func() bool {
		_, err := s.Observe(t.Context(), "alice")
		return err != nil && strings.Contains(err.Error(), want)
	})
	began, calls := time.Now(), s.Pool().Stat().AcquireCount()
	recoveries := w.recoveries()
	eventually(t, "it has tried many times", func() bool {
		if s.Health().Up() {
			t.Fatal("it says that the database is up")
		}
		return s.Pool().Stat().AcquireCount() > calls+60
	})
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("60 calls took only %v", took)
	}
	if n := w.recoveries(); n != recoveries {
		t.Errorf("%d recoveries were announced", n-recoveries)
	}
	if n := strings.Count(log.String(), "level=WARN"); n > 5 {
		t.Errorf("%d warnings were logged: %s", n, log.String())
	}

	run(t, pool, plainTable)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON users TO "+role)
	eventually(t, "the recovery is announced", func() bool { return w.recoveries() > recoveries && s.Health().Up() })
}

// A read that does not need the missing table is no recovery: it would wake all subscribers that wait for one.
func TestAnUpgradeThatMayNotAlterTablesIsReportedOnce(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	if err := open(t, quick(admin)).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	run(t, pool, "GRANT SELECT ON shardinguser_migrations TO "+role)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_probes, shardinguser_familiar TO "+role)
	run(t, pool, "ALTER TABLE shardinguser_ownership DROP COLUMN suspended, DROP COLUMN lockout_attempts, DROP COLUMN lockout_duration, "+
		"DROP COLUMN lockout_longest, DROP COLUMN lockout_exempt")
	run(t, pool, "DELETE FROM shardinguser_migrations WHERE version_id >= 4")
	var log logged
	settings := quick(dsn)
	settings.Log = log.logger()
	s := maintained(t, settings)
	w := watch(t, s)

	want := `GRANT USAGE, CREATE ON SCHEMA "public" TO "` + role + `";`
	eventually(t, "it says what is missing, and logins are others' to decide", func() bool {
		_, err := s.Observe(t.Context(), "alice")
		return err != nil && strings.Contains(err.Error(), want) && s.Health().Unavailable
	})
	calls := s.Pool().Stat().AcquireCount()
	eventually(t, "it has tried many times", func() bool {
		if s.Health().Up() || !s.Health().Unavailable {
			t.Fatal("it says that the database is of use")
		}
		return s.Pool().Stat().AcquireCount() > calls+60
	})
	if n := w.recoveries(); n != 0 {
		t.Errorf("%d recoveries were announced", n)
	}
	if n := strings.Count(log.String(), "level=WARN"); n > 5 {
		t.Errorf("%d warnings were logged: %s", n, log.String())
	}

	if err := open(t, quick(admin)).Migrate(t.Context()); err != nil { // as the tables' owner
		t.Fatal(err)
	}
	eventually(t, "the recovery is announced", func() bool { return w.recoveries() > 0 && s.Health().Up() && !s.Health().Unavailable })
}

func TestWhatWasDeletedMoreThanADayAgoIsPurgedByLaterDeletions(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	remove := func(username string) {
		t.Helper()
		change := creation(username)
		if _, err := s.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		o, err := s.Observe(t.Context(), username)
		if err != nil {
			t.Fatal(err)
		}
		change.Verb, change.Revision = "delete", o.Ownership.Revision
		if _, err := s.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	remove("old")
	remove("new")
	run(t, pool, "UPDATE shardinguser_ownership SET changed_at = now() - INTERVAL '25 hours' WHERE username = 'old'")
	remove("newest")
	left := value[[]string](t, pool, "SELECT array_agg(username::text ORDER BY username) FROM shardinguser_ownership")
	if strings.Join(left, " ") != "new newest" {
		t.Errorf("left are %q", left)
	}
}
