// SPDX-License-Identifier: Apache-2.0

package shardingmanager_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/test/shardingmanager"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// operatorsTable is the table as the operator creates it, which the contract defines.
const operatorsTable = `CREATE TABLE users (
    username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255) NOT NULL, roles JSONB NOT NULL DEFAULT '[]'::jsonb,
    active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, last_login_at TIMESTAMP,
    failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMP);
    INSERT INTO users (username, password_hash) VALUES ('somebody', '!')`

const owning = `; ALTER TABLE users OWNER TO $role`

// fallsBack checks that a manager serves its default accounts from memory, not from the table.
func (m *manager) fallsBack(falls bool) {
	m.t.Helper()
	if m.FellBack() != falls {
		m.t.Fatalf("it fell back: %v, want %v:\n%s", m.FellBack(), falls, m.Log())
	}
	for username, password := range shardingmanager.Defaults() {
		if m.logsIn(username, password) != falls {
			m.t.Errorf("%s logs in by the default password: %v, want %v", username, !falls, falls)
		}
	}
}

func TestRightsThatAManagerNeedsForTheDatabase(t *testing.T) {
	t.Parallel()
	const create = "; GRANT CREATE ON SCHEMA public TO $role"
	for name, tt := range map[string]struct {
		sql          string
		older, newer bool // whether they start
	}{
		"nothing at all":                     {operatorsTable, false, false},
		"SELECT and UPDATE":                  {operatorsTable + "; GRANT SELECT, UPDATE ON users TO $role", false, false},
		"all on the table, and CREATE":       {operatorsTable + "; GRANT ALL ON users TO $role" + create, false, false},
		"it owns the table, without CREATE":  {operatorsTable + owning, false, false},
		"it owns the table, with CREATE":     {operatorsTable + owning + create, true, false},
		"it owns the table with the columns": {operatorsTable + withColumns + owning + create, true, true},
		"it is a member of the owner": {operatorsTable + withColumns +
			"; ALTER TABLE users OWNER TO $other; GRANT $other TO $role; GRANT CREATE ON SCHEMA public TO $other", true, true},
	} {
		for generation, starts := range map[shardingmanager.Generation]bool{shardingmanager.Older: tt.older, shardingmanager.Newer: tt.newer} {
			t.Run(name+", "+string(generation), func(t *testing.T) {
				t.Parallel()
				i := install(t)
				i.sql(tt.sql)
				i.start(shardingmanager.Options{Generation: generation}).fallsBack(!starts)
			})
		}
	}
}

const withColumns = `; ALTER TABLE users ADD COLUMN oauth_provider VARCHAR(50), ADD COLUMN oauth_id VARCHAR(255), ADD COLUMN email VARCHAR(255)`

func TestAManagerWithoutADatabaseServesFromMemory(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.dsn = "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable"
	i.start(shardingmanager.Options{Generation: shardingmanager.Older}).fallsBack(true)
}

func TestTheScriptLetsBothGenerationsStart(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"on an empty database": "SELECT", "on the operator's table": operatorsTable,
		"in an open schema": operatorsTable + "; GRANT CREATE ON SCHEMA public TO PUBLIC",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			i.sql(before)
			for range 2 { // it may run again
				if _, err := testenv.Psql(t.Context(), i.admin, "config/database/sharding-manager.sql", "manager="+i.role, "operator="+i.other()); err != nil {
					t.Fatal(err)
				}
			}
			for _, generation := range []shardingmanager.Generation{shardingmanager.Newer, shardingmanager.Older, shardingmanager.Newer} {
				if m := i.start(shardingmanager.Options{Generation: generation}); m.FellBack() {
					t.Errorf("the %s generation fell back:\n%s", generation, m.Log())
				}
			}
			if ask[bool](i, "SELECT EXISTS (SELECT FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE')") {
				t.Error("PUBLIC may create objects in the schema")
			}
		})
	}
}

// The sharding manager names no schema. It uses the one that its role's search path leads to.
func TestTheScriptLeadsAManagerToAnotherSchema(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.sql(`CREATE SCHEMA accounts; GRANT CREATE ON SCHEMA public TO PUBLIC`)
	for range 2 {
		if _, err := testenv.Psql(t.Context(), i.admin, "config/database/sharding-manager.sql",
			"schema=accounts", "manager="+i.role, "operator="+i.other()); err != nil {
			t.Fatal(err)
		}
	}
	i.sql(`INSERT INTO accounts.users (username, password_hash) VALUES ('somebody', '!')`)
	for _, generation := range []shardingmanager.Generation{shardingmanager.Newer, shardingmanager.Older} {
		i.start(shardingmanager.Options{Generation: generation}).fallsBack(false)
	}
	if ask[bool](i, "SELECT to_regclass('public.users') IS NOT NULL") {
		t.Error("the manager created a table of its own")
	}
}

// Without the script's trigger, a stranger of the OAuth provider gets the account of a locked or inactive user.
func TestTheScriptKeepsOAuthFromOverwritingAccounts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set    string // of the account admin
		as, id string // the person that logs in by OAuth
		want   string // the username; "" if the login is refused
	}{
		"a stranger with the name of a locked account":       {"locked_until = now() + interval '1 hour'", "Admin", "666", ""},
		"a stranger with the name of an inactive account":    {"active = false", "Admin", "666", ""},
		"a stranger with the name of a locked OAuth account": {"password_hash = ''; UPDATE users SET locked_until = now() + interval '1 hour', oauth_provider = 'github', oauth_id = '1'", "Admin", "666", ""},
		"the inactive account's own user":                    {"password_hash = ''; UPDATE users SET active = false, oauth_provider = 'github', oauth_id = '1'", "Admin", "1", ""},
		"a stranger with the name of an active account":      {"active = true", "Admin", "666", "admin_1"},
		"a new user":                        {"active = true", "Zoë", "7", "zoë"},
		"a user whose email an account has": {"email = 'admin@example.com'", "admin@example.com", "1", "admin"},
		"a user whose email an account of another provider has": {"email = 'admin@example.com', oauth_provider = 'google', oauth_id = '9'", "admin@example.com", "1", "admin"},
		"the account's own user": {
			"password_hash = ''; UPDATE users SET locked_until = now() + interval '1 hour', oauth_provider = 'github', oauth_id = '1'", "Admin", "1", "admin",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			for range 2 {
				if _, err := testenv.Psql(t.Context(), i.admin, "config/database/sharding-manager.sql", "manager="+i.role, "operator="+i.other()); err != nil {
					t.Fatal(err)
				}
			}
			i.add("admin", 4)
			i.sql("UPDATE users SET " + tt.set)
			before := ask[string](i, "SELECT ROW(username, password_hash, roles, active, oauth_id)::text FROM users WHERE username = 'admin'")
			m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer})
			got, err := m.LogInByOAuth(t.Context(), "github", tt.id, tt.as)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("it is logged in as %q, %v; want %q", got, err, tt.want)
			}
			after := ask[string](i, "SELECT ROW(username, password_hash, roles, active, oauth_id)::text FROM users WHERE username = 'admin'")
			if tt.want != "admin" && after != before {
				t.Errorf("the account is overwritten: %s", after)
			}
		})
	}
}

// An administrator of a managed Postgres is not a superuser.
func TestTheScriptNeedsNoSuperuser(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"on an empty database":       "SELECT",
		"on the administrator's own": operatorsTable + "; ALTER TABLE users OWNER TO $admin",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			admin := testenv.Role(t, i.admin)
			config, err := pgx.ParseConfig(admin)
			if err != nil {
				t.Fatal(err)
			}
			operator := i.other()
			i.sql("ALTER ROLE " + config.User + " CREATEROLE; ALTER DATABASE " + config.Database + " OWNER TO " + config.User)
			if ask[int](i, "SELECT current_setting('server_version_num')::int") >= 160000 { // the creator of a role has this
				i.sql("GRANT " + i.role + ", " + operator + " TO " + config.User + " WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
			}
			i.sql(strings.ReplaceAll(before, "$admin", config.User))
			for range 2 {
				if _, err := testenv.Psql(t.Context(), admin, "config/database/sharding-manager.sql", "manager="+i.role, "operator="+operator); err != nil {
					t.Fatal(err)
				}
			}
			for _, generation := range []shardingmanager.Generation{shardingmanager.Newer, shardingmanager.Older} {
				if m := i.start(shardingmanager.Options{Generation: generation}); m.FellBack() {
					t.Errorf("the %s generation fell back:\n%s", generation, m.Log())
				}
			}
			if ask[bool](i, "SELECT pg_has_role('"+config.User+"', '"+i.role+"', 'USAGE')") {
				t.Error("the administrator is left a member of the manager's role")
			}
		})
	}
}

// A running manager loses its rights when its table gets another owner.
func TestTheScriptNamesTheOwnerOfTheTable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		owner func(i *installation, operator string) string
		says  bool
	}{
		"another role's":     {func(i *installation, _ string) string { return i.other() }, true},
		"the manager's":      {func(i *installation, _ string) string { return i.role }, false},
		"the operator's":     {func(_ *installation, operator string) string { return operator }, false},
		"an administrator's": {func(*installation, string) string { return "CURRENT_USER" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := install(t)
			operator := i.other()
			owner := tt.owner(i, operator)
			i.sql(operatorsTable + "; ALTER TABLE users OWNER TO " + owner)
			printed, err := testenv.Psql(t.Context(), i.admin, "config/database/sharding-manager.sql", "manager="+i.role, "operator="+operator)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(printed, "belonged to the role "+owner) != tt.says {
				t.Errorf("it says %q", printed)
			}
		})
	}
}

// The operator's two roles are granted after the manager's, and take nothing from it.
func TestAManagerStartsBesideTwoRolesOfTheOperator(t *testing.T) {
	t.Parallel()
	i := install(t)
	controller, login := i.other(), i.other()
	for _, run := range []struct {
		script    string
		variables []string
	}{
		{"config/database/sharding-manager.sql", []string{"manager=" + i.role, "operator=" + controller}},
		{"config/database/roles.sql", []string{"controller=" + controller, "login=" + login, "migrate=on"}},
	} {
		if _, err := testenv.Psql(t.Context(), i.admin, run.script, run.variables...); err != nil {
			t.Fatal(err)
		}
	}
	for _, generation := range []shardingmanager.Generation{shardingmanager.Newer, shardingmanager.Older} {
		if m := i.start(shardingmanager.Options{Generation: generation}); m.FellBack() {
			t.Errorf("the %s generation fell back:\n%s", generation, m.Log())
		}
	}
}

func TestEachGenerationStartsWithAnEmptyTable(t *testing.T) {
	t.Parallel()
	t.Run("the older one inserts accounts with default passwords", func(t *testing.T) {
		t.Parallel()
		i := theirs(t)
		m := i.start(shardingmanager.Options{Generation: shardingmanager.Older})
		for username, password := range shardingmanager.Defaults() {
			if !m.logsIn(username, password) {
				t.Errorf("%s does not log in:\n%s", username, m.Log())
			}
		}
		if n := ask[int](i, "SELECT count(*) FROM users"); n != 3 || m.FellBack() {
			t.Errorf("the table has %d rows:\n%s", n, m.Log())
		}
	})
	t.Run("the newer one creates the first administrator on request", func(t *testing.T) {
		t.Parallel()
		i := theirs(t)
		m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer})
		for _, tt := range []struct {
			username string
			want     int
		}{{"mallory", http.StatusCreated}, {"alice", http.StatusBadRequest}} {
			if answer, err := m.SetUp(t.Context(), tt.username, right); err != nil || answer.Status != tt.want {
				t.Errorf("%s is answered %+v, %v", tt.username, answer, err)
			}
		}
		if !m.logsIn("mallory", right) {
			t.Error("mallory does not log in")
		}
	})
	t.Run("one row keeps both from it", func(t *testing.T) {
		t.Parallel()
		i := theirs(t)
		i.sql(operatorsTable + withColumns + owning)
		i.start(shardingmanager.Options{Generation: shardingmanager.Older}).fallsBack(false)
		m := i.start(shardingmanager.Options{Generation: shardingmanager.Newer})
		if answer, err := m.SetUp(t.Context(), "mallory", right); err != nil || answer.Status != http.StatusBadRequest {
			t.Errorf("it answers %+v, %v", answer, err)
		}
	})
}
