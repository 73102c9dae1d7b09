// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/storetest"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The table as another program may have made it.
const (
	plainTable = `CREATE TABLE users (
    username VARCHAR(255) PRIMARY KEY,
    password_hash VARCHAR(255) NOT NULL,
    roles JSONB NOT NULL DEFAULT '[]'::jsonb,
    active BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_login_at TIMESTAMP,
    failed_login_attempts INTEGER NOT NULL DEFAULT 0,
    locked_until TIMESTAMP
)`
	widerTable = `CREATE TABLE users (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    username VARCHAR(255) PRIMARY KEY,
    email TEXT,
    password_hash VARCHAR(255),
    roles JSONB DEFAULT '[]'::jsonb,
    active BOOLEAN DEFAULT true,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_login_at TIMESTAMP,
    failed_login_attempts INTEGER DEFAULT 0,
    locked_until TIMESTAMP,
    preferences JSONB
)`
	zonedTable = `CREATE TABLE users (
    username VARCHAR(255) PRIMARY KEY,
    password_hash VARCHAR(255) NOT NULL,
    roles JSONB NOT NULL DEFAULT '[]'::jsonb,
    active BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_login_at TIMESTAMPTZ,
    failed_login_attempts INTEGER NOT NULL DEFAULT 0,
    locked_until TIMESTAMPTZ
)`
)

// variant is a database that the store may meet: the DSNs of the store and of the other program.
type variant struct{ dsn, other string }

func TestTheStoreOnPostgresKeepsTheStoresPromises(t *testing.T) {
	variants := map[string]struct {
		prepare func(t *testing.T, admin string) variant
		fill    string // fills the columns that only the other program knows
		harness storetest.Harness
		isWhole bool // under -short, too
	}{
		"on an empty database": {prepare: func(_ *testing.T, admin string) variant {
			return variant{admin, admin}
		}, isWhole: true},
		"on a table that another program made, owns and has filled": {prepare: anothersTable},
		"on a table with more columns, of which many may be NULL": {
			prepare: func(t *testing.T, admin string) variant {
				t.Helper()
				run(t, connect(t, admin), widerTable)
				return variant{admin, admin}
			},
			fill:    `UPDATE users SET email = 'someone@example.com', preferences = '{"a": 1}' WHERE username = $1`,
			harness: storetest.Harness{Nullable: true},
		},
		"on a table with TIMESTAMPTZ columns": {prepare: func(t *testing.T, admin string) variant {
			t.Helper()
			run(t, connect(t, admin), zonedTable)
			return variant{admin, admin}
		}},
		"on a database in Tokyo": {prepare: func(t *testing.T, admin string) variant {
			t.Helper()
			_, database := names(t, admin)
			run(t, connect(t, admin), "ALTER DATABASE "+database+" SET timezone = 'Asia/Tokyo'")
			return variant{admin, admin}
		}},
		"on a database in Los Angeles, as a role that thinks it is there": {prepare: losAngeles},
		"through a pooler's way of speaking, in a schema of its own": {prepare: func(t *testing.T, admin string) variant {
			t.Helper()
			run(t, connect(t, admin), "CREATE SCHEMA accounts")
			dsn := with(admin, "search_path=accounts")
			return variant{with(dsn, "default_query_exec_mode=exec"), dsn}
		}},
	}
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsns := v.prepare(t, testenv.Database(t))
			settings := quick(dsns.dsn)
			settings.StatementTimeout = patience // some promises are about a hundred calls at once
			s := ready(t, settings)
			clean := connect(t, dsns.dsn)
			other := connect(t, dsns.other)
			promises(v.isWhole)(t, func(t *testing.T) storetest.Harness {
				t.Helper()
				run(t, clean, emptied)
				harness := v.harness
				harness.Store = s
				harness.Other = program{other, v.fill, clean}
				return harness
			})
		})
	}
}

// emptied leaves nothing of the promise before.
const emptied = "DELETE FROM users; DELETE FROM shardinguser_ownership; DELETE FROM login_attempts; DELETE FROM account_changes; DELETE FROM shardinguser_merges; DELETE FROM shardinguser_familiar"

// promises is the suite for a variant, or a sample of it. Under -short the whole suite runs for the two variants that differ most: one
// role on its own table, and two roles on a table with more columns. A stranger's objects are the third, and make each statement slow.
func promises(isWhole bool) func(*testing.T, func(*testing.T) storetest.Harness) {
	if testing.Short() && !isWhole {
		return storetest.RunSample
	}
	return storetest.Run
}

// anothersTable is a table that belongs to another role, which granted no more than it has to.
func anothersTable(t *testing.T, admin string) variant {
	t.Helper()
	theirs, ours := testenv.Role(t, admin), testenv.Role(t, admin)
	owner, _ := names(t, theirs)
	role, _ := names(t, ours)
	pool := connect(t, admin)
	run(t, pool, "GRANT USAGE, CREATE ON SCHEMA public TO "+owner+", "+role)
	made := connect(t, theirs)
	run(t, made, plainTable)
	run(t, made, "INSERT INTO users (username, password_hash) SELECT 'legacy-' || n, '!' FROM generate_series(1, 20) n")
	run(t, made, "GRANT SELECT, INSERT, UPDATE, DELETE ON users TO "+role)
	return variant{dsn: ours, other: theirs}
}

func losAngeles(t *testing.T, admin string) variant {
	t.Helper()
	dsn := testenv.Role(t, admin)
	role, database := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "ALTER DATABASE "+database+" SET timezone = 'America/Los_Angeles'")
	run(t, pool, "ALTER ROLE "+role+" SET timezone = 'America/Los_Angeles'")
	run(t, pool, "ALTER ROLE "+role+" SET search_path = nowhere")
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	return variant{dsn: dsn, other: dsn}
}

// program writes with SQL of its own, as the sharding manager does.
type program struct {
	pool  *pgxpool.Pool
	fill  string
	audit *pgxpool.Pool // of the operator's own role: the trail is its own
}

func (p program) Insert(t *testing.T, username string, row storetest.Row) {
	t.Helper()
	run(t, p.pool, "INSERT INTO users (username, password_hash, roles, active) VALUES ($1, $2, $3, $4)",
		username, row.Hash, row.Roles, row.Active)
	if p.fill != "" {
		run(t, p.pool, p.fill, username)
	}
}

func (p program) Columns(t *testing.T, username string) map[string]any {
	t.Helper()
	rows, err := p.pool.Query(t.Context(), "SELECT * FROM users WHERE username = $1", username)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return columns
}

func (p program) Fail(t *testing.T, username string) {
	t.Helper()
	failed := value[int](t, p.pool, "UPDATE users SET failed_login_attempts = failed_login_attempts + 1 WHERE username = $1 "+
		"RETURNING failed_login_attempts", username)
	if failed >= 5 {
		run(t, p.pool, "UPDATE users SET locked_until = now() + INTERVAL '15 minutes' WHERE username = $1", username)
	}
}

func (p program) LogIn(t *testing.T, username string) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET last_login_at = now() WHERE username = $1", username)
}

func (p program) Lock(t *testing.T, username string, left time.Duration) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET locked_until = now() + $2 WHERE username = $1", username, left)
}

func (p program) SetRoles(t *testing.T, username, json string) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET roles = $2 WHERE username = $1", username, json)
}

func (p program) SetHash(t *testing.T, username string, hash *string) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET password_hash = $2 WHERE username = $1", username, hash)
}

func (p program) SetActive(t *testing.T, username string, active *bool) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET active = $2 WHERE username = $1", username, active)
}

func (p program) SetFailed(t *testing.T, username string, failed *int) {
	t.Helper()
	run(t, p.pool, "UPDATE users SET failed_login_attempts = $2 WHERE username = $1", username, failed)
}

func (p program) Attempts(t *testing.T) []store.Record {
	t.Helper()
	rows, err := p.audit.Query(t.Context(),
		"SELECT id, attempted_at, username, source, user_agent, outcome FROM login_attempts ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	records, err := pgx.CollectRows(rows, pgx.RowToStructByPos[store.Record])
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func (p program) Age(t *testing.T, by time.Duration) {
	t.Helper()
	run(t, p.audit, "UPDATE login_attempts SET attempted_at = attempted_at - $1::interval", by)
	run(t, p.audit, "UPDATE shardinguser_familiar SET last_login_at = last_login_at - $1::interval, locked_until = locked_until - $1::interval, "+
		"logins = (SELECT array_agg(login - $1::interval ORDER BY place) FROM unnest(logins) WITH ORDINALITY AS l (login, place))", by)
	run(t, p.audit, "UPDATE account_changes SET changed_at = changed_at - $1::interval", by)
}

func (p program) Delete(t *testing.T, username string) {
	t.Helper()
	run(t, p.pool, "DELETE FROM users WHERE username = $1", username)
}

func (p program) Now(t *testing.T) time.Time {
	t.Helper()
	return value[time.Time](t, p.pool, "SELECT now()")
}
