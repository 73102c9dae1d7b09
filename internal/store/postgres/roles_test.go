// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/storetest"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// twoStores is one store by two roles, as the manager puts it together.
type twoStores struct {
	controller, login *Store
	reader            *Store // the one of the two that is asked what both may read
}

func (p twoStores) Fresh(ctx context.Context) (bool, error) { return p.controller.Fresh(ctx) }

func (p twoStores) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	return p.controller.Apply(ctx, change)
}

func (p twoStores) Released(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return p.reader.Released(ctx, scope, after, limit)
}

func (p twoStores) Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return p.reader.Owned(ctx, scope, after, limit)
}

func (p twoStores) Observe(ctx context.Context, username string) (user.Observed, error) {
	return p.reader.Observe(ctx, username)
}

func (p twoStores) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	return p.reader.Snapshot(ctx, usernames)
}

func (p twoStores) Watch(ctx context.Context, changed func([]string), recovered func()) {
	p.reader.Watch(ctx, changed, recovered)
}

func (p twoStores) Charge(ctx context.Context, a store.Attempt, l store.Limits) (store.Charge, error) {
	return p.login.Charge(ctx, a, l)
}

func (p twoStores) Settle(ctx context.Context, charged store.Charge, success bool) (bool, error) {
	return p.login.Settle(ctx, charged, success)
}

func (p twoStores) PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	return p.login.PurgeAttempts(ctx, olderThan, batch)
}

func (p twoStores) Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error) {
	return p.controller.Changes(ctx, query)
}

func (p twoStores) ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error) {
	return p.controller.ReadAttempts(ctx, trail)
}

func (p twoStores) PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	return p.controller.PurgeChanges(ctx, olderThan, batch)
}

func (p twoStores) Merge(ctx context.Context, o store.OfflineBatch, l store.Limits) error {
	return p.login.Merge(ctx, o, l)
}

// migrated makes the tables as an administrator does, who starts the operator once.
func migrated(t *testing.T, admin string) {
	t.Helper()
	if err := open(t, quick(admin)).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// openPair opens the two stores of a database, and waits until they can be used.
func openPair(t *testing.T, controller, login string, change func(*Settings)) twoStores {
	t.Helper()
	ours, theirs := quick(controller), quick(login)
	ours.Role, theirs.Role = RoleController, RoleLogin
	if change != nil {
		change(&ours)
		change(&theirs)
	}
	p := twoStores{controller: ready(t, ours)}
	theirs.Peer = p.controller
	p.login = ready(t, theirs)
	p.reader = p.controller
	return p
}

func TestTwoRolesKeepTheStoresPromisesTogether(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct {
		prepare   func(t *testing.T, admin string) // before the tables are made
		variables []string
		fill      string
		harness   storetest.Harness
		byLogin   bool // the login role reads
		isWhole   bool // under -short, too
	}{
		"on the operator's own table": {},
		"on a table that another program made and owns": {prepare: func(t *testing.T, admin string) {
			t.Helper()
			before, _ := names(t, anothersTable(t, admin).dsn)
			run(t, connect(t, admin), "REVOKE CREATE ON SCHEMA public FROM "+before) // else the script refuses
		}, byLogin: true},
		"on a table with more columns, in a schema of its own": {
			prepare: func(t *testing.T, admin string) {
				t.Helper()
				_, database := names(t, admin)
				run(t, connect(t, admin), "CREATE SCHEMA accounts; ALTER DATABASE "+database+" SET search_path = nowhere")
				run(t, connect(t, with(admin, "search_path=accounts")), widerTable)
			},
			variables: []string{"schema=accounts"},
			fill:      `UPDATE users SET email = 'someone@example.com', preferences = '{"a": 1}' WHERE username = $1`,
			harness:   storetest.Harness{Nullable: true},
			isWhole:   true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin, path := testenv.Database(t), ""
			if v.prepare != nil {
				v.prepare(t, admin)
			}
			if len(v.variables) > 0 {
				path = "search_path=accounts"
			}
			migrated(t, with(admin, path))
			controller, login := testenv.TwoRoles(t, admin, v.variables...)
			p := openPair(t, with(controller, path), with(login, path), func(s *Settings) { s.StatementTimeout = patience })
			if v.byLogin {
				p.reader = p.login
			}
			clean := connect(t, with(admin, path))
			promises(v.isWhole)(t, func(t *testing.T) storetest.Harness {
				t.Helper()
				run(t, clean, emptied)
				harness := v.harness
				harness.Store, harness.Other = p, program{clean, v.fill, clean}
				return harness
			})
			for _, s := range []*Store{p.controller, p.login} {
				if err := s.Health().Writing; err != nil || !s.Health().Up() {
					t.Errorf("in the end: up is %v, %v", s.Health().Up(), err)
				}
			}
		})
	}
}

// Statements that each role must not run. Alice's row exists, and one attempt.
func TestNeitherRoleWritesWhatIsTheOthers(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	p := openPair(t, controller, login, nil)
	if _, err := p.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	charge(t, p.login, "alice")
	run(t, connect(t, admin), "ALTER TABLE users ADD email TEXT")
	before := value[string](t, connect(t, admin), "SELECT string_agg(u::text, '') FROM users u")

	const notifier = "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
	both := []string{
		"UPDATE users SET username = 'bob'", "UPDATE users SET created_at = now()", "UPDATE users SET email = ''",
		"SELECT email FROM users", "SELECT created_at FROM users", "SELECT * FROM users", "TRUNCATE users", "ALTER TABLE users ADD mine TEXT", "DROP TABLE users",
		"ALTER TABLE users DISABLE TRIGGER shardinguser_notify_v1_rows", "CREATE TABLE mine (x INT)", notifier,
		"CREATE TRIGGER mine AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION shardinguser_notify_v1()",
		"CREATE OR REPLACE FUNCTION shardinguser_notify_v1() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"TRUNCATE login_attempts", "TRUNCATE account_changes", "UPDATE account_changes SET reason = ''", "UPDATE account_changes SET action = 'roles'",
		"UPDATE login_attempts SET username = 'bob'", "UPDATE login_attempts SET attempted_at = now()",
		"UPDATE login_attempts SET locked_until = NULL", "UPDATE login_attempts SET source = ''",
		"INSERT INTO shardinguser_migrations (version_id, is_applied) VALUES (99, true)", "DELETE FROM shardinguser_migrations",
		"UPDATE shardinguser_migrations SET is_applied = false", "DROP TABLE shardinguser_ownership, login_attempts",
		"SELECT setval('shardinguser_ownership_revision_seq', 1)", "SELECT nextval('login_attempts_id_seq')",
	}
	for dsn, statements := range map[string][]string{
		controller: append([]string{
			"UPDATE users SET last_login_at = now()",
			"INSERT INTO users (username, password_hash, last_login_at) VALUES ('bob', '!', now())",
			"INSERT INTO users (username, password_hash, failed_login_attempts) VALUES ('bob', '!', 5)",
			"INSERT INTO users (username, password_hash, locked_until) VALUES ('bob', '!', now())",
			"INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) VALUES (now(), 'bob', 'failed', '', '')",
			"UPDATE login_attempts SET outcome = 'success'", "DELETE FROM login_attempts",
			"SELECT id FROM shardinguser_merges", "INSERT INTO shardinguser_merges (id) VALUES ('x')", "DELETE FROM shardinguser_merges",
		}, both...),
		login: append([]string{
			"INSERT INTO users (username, password_hash) VALUES ('bob', '!')", "DELETE FROM users",
			"UPDATE users SET password_hash = '!'", `UPDATE users SET roles = '["admin"]'`, "UPDATE users SET active = true",
			"UPDATE users SET updated_at = now()",
			"INSERT INTO shardinguser_ownership (username) VALUES ('bob')", "DELETE FROM shardinguser_ownership",
			"UPDATE shardinguser_ownership SET password_hash = '!'", "UPDATE shardinguser_ownership SET revision = DEFAULT",
			"SELECT FROM shardinguser_ownership FOR UPDATE", "SELECT source FROM login_attempts",
			"SELECT id FROM account_changes", "DELETE FROM account_changes",
			"INSERT INTO account_changes (changed_at, username, action) VALUES (now(), 'bob', 'created')",
			"UPDATE shardinguser_merges SET id = 'x'", "INSERT INTO shardinguser_merges (id, merged_at) VALUES ('x', now())",
		}, both...),
	} {
		pool := connect(t, dsn)
		run(t, pool, "SELECT FROM users FOR NO KEY UPDATE") // a role that writes a column may
		for _, statement := range statements {
			_, err := pool.Exec(t.Context(), statement)
			var refusal *pgconn.PgError
			if !errors.As(err, &refusal) || refusal.Code != codeMissingRight {
				t.Errorf("%s, as the controller: %v: %v, want SQLSTATE %s", statement, dsn == controller, err, codeMissingRight)
			}
		}
	}
	if after := value[string](t, connect(t, admin), "SELECT string_agg(u::text, '') FROM users u"); after != before {
		t.Errorf("the row was %s and is %s", before, after)
	}
}

// The roles are made where they are not there, and logins wait for tables that the controller makes.
func TestTheLoginRoleWaitsForTheControllersTablesAndForItsRights(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	controller, login := testenv.TwoRoles(t, admin, "migrate=on")
	var log logged
	theirs := quick(login)
	theirs.Role, theirs.Log = RoleLogin, log.logger()
	s := maintained(t, theirs) // which comes first
	w := watch(t, s)
	eventually(t, "it says what it waits for", func() bool {
		_, err := s.Charge(t.Context(), attempt("alice"), usual)
		return err != nil && strings.HasPrefix(err.Error(), "The login DSN: The tables of this version do not exist yet")
	})
	if value[bool](t, pool, "SELECT to_regclass('users') IS NOT NULL") {
		t.Fatal("it made the tables")
	}

	ours := quick(controller)
	ours.Role = RoleController
	c := ready(t, ours)
	eventually(t, "it says which right is missing", func() bool {
		return s.Health().Writing != nil && strings.Contains(s.Health().Writing.Error(), `GRANT SELECT ON TABLE "shardinguser_migrations" TO `)
	})
	testenv.GrantRoles(t, admin, controller, login, "migrate=on")
	eventually(t, "the login role's store is up and notified", func() bool { return s.Health().Up() && s.Health().Notified })
	if _, err := c.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	w.told(t, "alice")
	if charged := charge(t, s, "alice"); charged.Verdict != store.Check {
		t.Errorf("charged %+v", charged)
	}
	_, err := connect(t, controller).Exec(t.Context(), "UPDATE users SET last_login_at = now()")
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.Code != codeMissingRight {
		t.Errorf("the controller, which made the table, writes the last login: %v", err)
	}
	// An upgrade adds a column to the ownership record, and a table.
	run(t, connect(t, controller), "ALTER TABLE shardinguser_ownership ADD more TEXT; CREATE TABLE shardinguser_more (x INT); "+
		"INSERT INTO shardinguser_migrations (version_id, is_applied) VALUES (99, true)")
}
