// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// inspected is what the store finds, as "kind object".
func inspected(t *testing.T, s *Store) (found []string, consequences string) {
	t.Helper()
	findings, err := s.InspectTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if !slices.Contains(store.FindingKinds(), f.Kind) {
			t.Errorf("%q is not a known kind", f.Kind)
		}
		if strings.ContainsAny(f.Consequence, "\n") || !strings.HasSuffix(f.Consequence, ".") {
			t.Errorf("%s %s: not one line that ends with a period: %q", f.Kind, f.Object, f.Consequence)
		}
		found = append(found, f.Kind+" "+f.Object)
		consequences += f.Consequence + "\n"
	}
	return found, consequences
}

func expectFindings(t *testing.T, s *Store, want ...string) (consequences string) {
	t.Helper()
	found, consequences := inspected(t, s)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("found %q\nwant  %q\n%s", found, want, consequences)
	}
	return consequences
}

// skipFunction creates a trigger function that drops the row.
const skipFunction = "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "

// A ddlCase is a change to the table, and what InspectTable then finds.
type ddlCase struct {
	ddl  string
	want []string
	says string
}

var ddlCases = map[string]ddlCase{
	"nothing about the operator's own table": {},
	"nothing about types that work": {ddl: `ALTER TABLE users ALTER username TYPE text, ALTER password_hash TYPE text,
		ALTER created_at TYPE timestamptz, ALTER updated_at TYPE timestamptz, ALTER last_login_at TYPE timestamptz,
		ALTER failed_login_attempts TYPE bigint, ALTER roles DROP DEFAULT, ALTER roles TYPE json USING roles::json`},
	"nothing about further columns that may be left out": {ddl: `ALTER TABLE users ADD id BIGSERIAL UNIQUE, ADD email TEXT,
		ADD tenant TEXT NOT NULL DEFAULT 'a', ADD key UUID DEFAULT gen_random_uuid() UNIQUE`},
	"nothing about a trigger of an older version of ours, and one that is disabled": {ddl: skipFunction + `
		CREATE TRIGGER shardinguser_notify_v0_rows AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION skip();
		CREATE TRIGGER idle AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION skip();
		ALTER TABLE users DISABLE TRIGGER idle`},
	"an array of roles": {
		ddl:  `ALTER TABLE users ALTER roles DROP DEFAULT, ALTER roles TYPE text[] USING ARRAY[]::text[]`,
		want: []string{`column-type "roles"`}, says: "text[]",
	},
	"a padded hash": {
		ddl:  `ALTER TABLE users ALTER password_hash TYPE CHAR(72)`,
		want: []string{`column-type "password_hash"`}, says: "pads values with blanks",
	},
	"a short hash": {
		ddl:  `ALTER TABLE users ALTER password_hash TYPE VARCHAR(40)`,
		want: []string{`column-type "password_hash"`}, says: "too short",
	},
	"a short username and rounded times": {
		ddl:  `ALTER TABLE users ALTER username TYPE VARCHAR(20), ALTER locked_until TYPE TIMESTAMP(0), ALTER last_login_at TYPE DATE`,
		want: []string{`column-type "username"`, `column-type "locked_until"`, `column-type "last_login_at"`}, says: "character varying(20)",
	},
	"an integer in place of a boolean, and a small counter": {
		ddl: `DROP INDEX idx_users_active; ALTER TABLE users ALTER active DROP DEFAULT, ALTER active TYPE integer USING 1,
			ALTER failed_login_attempts TYPE smallint`,
		want: []string{`column-type "active"`, `column-type "failed_login_attempts"`}, says: "32767",
	},
	"a type of an extension or of a role": {
		ddl: `CREATE TYPE state AS ENUM ('true', 'false'); DROP INDEX idx_users_active;
			ALTER TABLE users ALTER active DROP DEFAULT, ALTER active TYPE state USING 'true'`,
		want: []string{`column-type "active"`}, says: "state",
	},
	"a domain": {
		ddl:  `CREATE DOMAIN lower_name AS text CHECK (VALUE = lower(VALUE)); ALTER TABLE users ALTER username TYPE lower_name`,
		want: []string{`domain "username"`}, says: "lower_name",
	},
	"a collation without case": {
		ddl: `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			ALTER TABLE users ALTER username TYPE text COLLATE nocase`,
		want: []string{`collation "username"`}, says: "nondeterministic",
	},
	"a generated column": {
		ddl:  `ALTER TABLE users DROP updated_at, ADD updated_at TIMESTAMP GENERATED ALWAYS AS (created_at) STORED`,
		want: []string{`generated-column "updated_at"`}, says: "refuses any other",
	},
	"a column of ours that is gone": {
		ddl:  `ALTER TABLE users DROP updated_at`,
		want: []string{`missing-column "updated_at"`},
	},
	"columns that take no NULL": {
		ddl:  `ALTER TABLE users ADD tenant TEXT NOT NULL, ALTER locked_until SET NOT NULL, ALTER failed_login_attempts DROP DEFAULT`,
		want: []string{`not-null-column "failed_login_attempts"`, `not-null-column "locked_until"`, `not-null-column "tenant"`},
	},
	"no unique key": {
		ddl:  `ALTER TABLE users DROP CONSTRAINT users_pkey`,
		want: []string{`missing-unique-key "username"`}, says: "primary key",
	},
	"a unique key that is partial, and one of two columns": {
		ddl: `ALTER TABLE users DROP CONSTRAINT users_pkey; CREATE UNIQUE INDEX partial ON users (username) WHERE active;
			CREATE UNIQUE INDEX pair ON users (username, active)`,
		want: []string{`missing-unique-key "username"`, `unique-constraint pair`, `unique-constraint partial`},
	},
	"a unique key that is deferrable": {
		ddl:  `ALTER TABLE users DROP CONSTRAINT users_pkey, ADD UNIQUE (username) DEFERRABLE`,
		want: []string{`missing-unique-key "username"`}, says: "deferrable",
	},
	"unique indexes of others": {
		ddl:  `CREATE UNIQUE INDEX no_case ON users (lower(username)); ALTER TABLE users ADD email TEXT UNIQUE`,
		want: []string{`unique-constraint no_case`, `unique-constraint users_email_key`},
	},
	"constraints": {
		ddl: `CREATE TABLE roles (role TEXT PRIMARY KEY); ALTER TABLE users ADD CONSTRAINT "Short" CHECK (length(username) < 9),
			ADD CONSTRAINT alone EXCLUDE USING btree (username WITH =), ADD role TEXT REFERENCES roles`,
		want: []string{`check-constraint "Short"`, `exclusion-constraint "alone"`, `foreign-key "users_role_fkey"`},
	},
	"foreign keys to it": {
		ddl: `CREATE TABLE orders (customer TEXT REFERENCES users); CREATE TABLE notes (author TEXT REFERENCES users ON DELETE CASCADE);
			CREATE TABLE logs (username TEXT REFERENCES users ON DELETE SET NULL)`,
		want: []string{`foreign-key "logs_username_fkey"`, `foreign-key "notes_author_fkey"`, `foreign-key "orders_customer_fkey"`},
		says: "deletionPolicy to Deactivate",
	},
	"columns of a login by OAuth": {
		ddl:  `ALTER TABLE users ADD oauth_provider TEXT, ADD oauth_id TEXT`,
		want: []string{`oauth-guard "shardinguser_oauth_guard"`}, says: "sharding-manager.sql",
	},
	"columns of a login by OAuth, with a trigger that is disabled": {
		ddl: `ALTER TABLE users ADD oauth_id TEXT; CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER shardinguser_oauth_guard BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION guard();
			ALTER TABLE users DISABLE TRIGGER shardinguser_oauth_guard`,
		want: []string{`oauth-guard "shardinguser_oauth_guard"`},
	},
	"nothing about columns of a login by OAuth that are guarded": {
		ddl: `ALTER TABLE users ADD oauth_id TEXT; CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER shardinguser_oauth_guard BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION guard()`,
	},
	"triggers of others": {
		ddl: skipFunction + `CREATE TRIGGER soft_delete BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION skip();
			CREATE CONSTRAINT TRIGGER late AFTER INSERT ON users DEFERRABLE FOR EACH ROW EXECUTE FUNCTION skip()`,
		want: []string{`foreign-trigger "late"`, `foreign-trigger "soft_delete"`}, says: "before each DELETE",
	},
	"a trigger of ours that is disabled": {
		ddl:  `ALTER TABLE users DISABLE TRIGGER ` + schema.RowTrigger,
		want: []string{`notification-trigger "` + schema.RowTrigger + `"`}, says: "polls",
	},
	"a name that could not be printed as it is": {
		ddl:  "CREATE RULE \"a\x1b[2J\nb\" AS ON DELETE TO users DO ALSO NOTHING",
		want: []string{`rule "a\x1b[2J\nb"`},
	},
	"a rule": {
		ddl:  `CREATE RULE keep AS ON DELETE TO users DO INSTEAD NOTHING`,
		want: []string{`rule "keep"`}, says: "DELETE",
	},
	"a table that inherits": {
		ddl:  `CREATE TABLE admins () INHERITS (users)`,
		want: []string{`inheritance admins`},
	},
	"an unlogged table": {
		ddl:  `ALTER TABLE users SET UNLOGGED`,
		want: []string{`unlogged-table "users"`},
	},
	"a published table without a replica identity": {
		ddl:  `ALTER TABLE users REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE users`,
		want: []string{`replica-identity "users"`}, says: "every UPDATE and DELETE fails",
	},
	"a published table with one": {ddl: `CREATE PUBLICATION p FOR TABLE users`},
	"row-level security that the owner is exempt from": {
		ddl: `ALTER TABLE users ENABLE ROW LEVEL SECURITY`,
	},
	"a newer schema": {
		ddl:  `INSERT INTO shardinguser_migrations (version_id, is_applied) VALUES (999, true)`,
		want: []string{`schema-version "shardinguser_migrations"`}, says: "newer operator",
	},
}

func TestInspectTableFindsWhatTheDDLDid(t *testing.T) {
	t.Parallel()
	for name, tt := range ddlCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			if tt.ddl != "" {
				run(t, connect(t, dsn), tt.ddl)
			}
			s := open(t, quick(dsn))
			if got := expectFindings(t, s, tt.want...); !strings.Contains(got, tt.says) {
				t.Errorf("%q is not in\n%s", tt.says, got)
			}
		})
	}
}

func TestInspectTableFindsTablesOfAnotherKind(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ddl  string
		want []string
	}{
		"a partitioned table": {
			ddl: strings.TrimSuffix(strings.TrimSpace(plainTable), ";") + ` PARTITION BY LIST (username);
				CREATE TABLE users_all PARTITION OF users DEFAULT`,
			want: []string{`partitioned-table "users"`},
		},
		"a view": {
			ddl:  strings.Replace(plainTable, "CREATE TABLE users", "CREATE TABLE accounts", 1) + `; CREATE VIEW users AS SELECT * FROM accounts`,
			want: []string{`not-a-table "users"`, `notification-trigger "` + schema.RowTrigger + `"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Database(t)
			run(t, connect(t, dsn), tt.ddl)
			migrated(t, dsn)
			expectFindings(t, open(t, quick(dsn)), tt.want...)
		})
	}
}

func TestInspectTableFindsThatThereIsNoTable(t *testing.T) {
	t.Parallel()
	s := open(t, quick(testenv.Database(t)))
	expectFindings(t, s, `missing-table "users"`)
	if err := s.Health().Writing; err != nil {
		t.Errorf("an inspection says something of the database's health: %v", err)
	}
}

func TestInspectTableFindsRowLevelSecurityOfARole(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	other, _ := names(t, testenv.Role(t, admin))
	pool := connect(t, admin)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role)
	run(t, pool, `ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY reading ON users FOR SELECT TO `+role+` USING (true);
		CREATE POLICY own ON users FOR UPDATE USING (active); CREATE POLICY other ON users TO `+other)
	s := open(t, quick(dsn))
	said := expectFindings(t, s, `row-level-security "own"`, `row-level-security "reading"`, `row-level-security "users"`)
	for _, want := range []string{"no policy permits INSERT, DELETE", "BYPASSRLS"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
}

func TestInspectTableFindsWhichRightsEachRoleLacks(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	ours, theirs := quick(controller), quick(login)
	ours.Role, theirs.Role = RoleController, RoleLogin
	c, l := open(t, ours), open(t, theirs)
	expectFindings(t, c)
	expectFindings(t, l)
	both := open(t, quick(controller))
	expectFindings(t, both, `missing-right "login_attempts"`, `missing-right "shardinguser_familiar"`, `missing-right "shardinguser_merges"`, `missing-right "users"`)

	role, _ := names(t, controller)
	pool := connect(t, admin)
	run(t, pool, "REVOKE DELETE ON users FROM "+role)
	run(t, pool, "REVOKE UPDATE (active, roles) ON users FROM "+role)
	said := expectFindings(t, c, `missing-right "users"`)
	if want := `GRANT UPDATE (active, roles), DELETE ON TABLE "users" TO ` + role + "."; !strings.Contains(said, want) {
		t.Errorf("%q is not in\n%s", want, said)
	}
	expectFindings(t, l)
}

func TestInspectTableFindsSettingsOfSessions(t *testing.T) {
	t.Parallel()
	for setting, says := range map[string]string{
		"statement_timeout = '2s'":                          "after 2000 ms",
		"default_transaction_isolation = 'serializable'":    "serializable",
		"default_transaction_isolation = 'repeatable read'": "repeatable read",
		"default_transaction_read_only = on":                "read-only",
		"session_replication_role = replica":                "do not run",
		"row_security = off":                                "ALTER ROLE",
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			_, database := names(t, dsn)
			run(t, connect(t, dsn), fmt.Sprintf("ALTER DATABASE %s SET %s", database, setting))
			name, _, _ := strings.Cut(setting, " ")
			if got := expectFindings(t, open(t, quick(dsn)), "session-setting "+name); !strings.Contains(got, says) {
				t.Errorf("%q is not in\n%s", says, got)
			}
		})
	}
}

func TestMaintainReportsFindingsWhenTheyComeAndGo(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	pool := connect(t, dsn)
	run(t, pool, plainTable+"; CREATE UNIQUE INDEX no_case ON users (lower(username))")
	log := &logged{}
	settings := quick(dsn)
	settings.InspectInterval, settings.Log = 50*time.Millisecond, log.logger()
	s := ready(t, settings)
	// Before the first migration there may be others.
	eventually(t, "the finding alone is there", func() bool { return len(s.Health().Findings) == 1 && s.Health().Findings[0].Object == "no_case" })
	run(t, pool, "DROP INDEX no_case")
	eventually(t, "the finding is gone", func() bool { return len(s.Health().Findings) == 0 })
	resolved := `is resolved" kind=unique-constraint object=no_case`
	eventually(t, "the end is logged", func() bool { return strings.Contains(log.String(), resolved) })
	for _, once := range []string{`has a finding" kind=unique-constraint object=no_case`, resolved} {
		if n := strings.Count(log.String(), once); n != 1 {
			t.Errorf("%q is logged %d times", once, n)
		}
	}
	if !strings.Contains(log.String(), "unique-constraint") || !strings.Contains(log.String(), "drop the index") {
		t.Errorf("the log does not say what the finding is:\n%s", log)
	}
}

func TestMaintainInspectsATableThatWasReplaced(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	settings := quick(dsn)
	settings.InspectInterval = time.Hour
	s := ready(t, settings)
	pool := connect(t, dsn)
	run(t, pool, "DROP TABLE users")
	eventually(t, "the table is created again", func() bool {
		return value[bool](t, pool, "SELECT to_regclass('users') IS NOT NULL")
	})
	eventually(t, "nothing is found", func() bool { return len(s.Health().Findings) == 0 })
	run(t, pool, "BEGIN; DROP TABLE users; "+plainTable+"; ALTER TABLE users SET UNLOGGED; DROP TABLE shardinguser_merges; COMMIT")
	eventually(t, "the new table is inspected", func() bool {
		return slices.ContainsFunc(s.Health().Findings, func(f store.Finding) bool { return f.Kind == store.FindingUnloggedTable })
	})
}
