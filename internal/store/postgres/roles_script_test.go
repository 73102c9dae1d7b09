// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// granted is what the catalog says that a role may do with a table, one privilege of one column a line, or of the whole.
func granted(t *testing.T, admin *pgxpool.Pool, role, table string) []string {
	t.Helper()
	rows, err := admin.Query(t.Context(), `
SELECT acl.privilege_type FROM pg_class c, aclexplode(c.relacl) acl
WHERE c.oid = $1::text::regclass AND acl.grantee = $2::text::regrole
UNION ALL
SELECT acl.privilege_type || ' ' || a.attname FROM pg_attribute a, aclexplode(a.attacl) acl
WHERE a.attrelid = $1::text::regclass AND acl.grantee = $2::text::regrole
ORDER BY 1`, table, role)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// lines is a right in the way of granted.
func (r right) lines() []string {
	var lines []string
	for _, match := range regexp.MustCompile(`([A-Z]+)( \([^)]*\))?`).FindAllStringSubmatch(r.privileges, -1) {
		if match[2] == "" {
			lines = append(lines, match[1])
			continue
		}
		for column := range strings.SplitSeq(strings.Trim(match[2], " ()"), ", ") {
			lines = append(lines, match[1]+" "+column)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestTheScriptGrantsWhatTheRolesNeedHoweverOftenItRuns(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	pool := connect(t, admin)
	controller, login := testenv.TwoRoles(t, admin)
	for name, spoil := range map[string]string{
		"the first time": "", "again": "",
		"after more was granted": "GRANT ALL ON ALL TABLES IN SCHEMA public TO %[1]s; GRANT CREATE ON SCHEMA public TO %[1]s",
		"where one owned it all": "ALTER TABLE users OWNER TO %[1]s; ALTER TABLE login_attempts OWNER TO %[1]s; " +
			"ALTER FUNCTION shardinguser_notify_v1 OWNER TO %[1]s; ALTER TABLE shardinguser_ownership OWNER TO %[1]s",
	} {
		for dsn, role := range map[string]Role{controller: RoleController, login: RoleLogin} {
			to, _ := names(t, dsn)
			if spoil != "" {
				run(t, pool, strings.ReplaceAll(spoil, "%[1]s", to))
			}
			testenv.GrantRoles(t, admin, controller, login)
			for _, table := range []string{schema.Users, schema.Ownership, schema.Attempts, schema.Changes, schema.Merges, schema.Versions} {
				var want []string
				for _, r := range role.rights() {
					if r.table == table {
						want = r.lines()
					}
				}
				if got := granted(t, pool, to, table); !slices.Equal(got, want) {
					t.Errorf("%s: of %s the role %d has\n%q\nwant\n%q", name, table, role, got, want)
				}
			}
			owned := value[int](t, pool, `SELECT (SELECT count(*) FROM pg_class WHERE relowner = $1::text::regrole)
				+ (SELECT count(*) FROM pg_proc WHERE proowner = $1::text::regrole)`, to)
			if owned != 0 || value[bool](t, pool, "SELECT has_schema_privilege($1::text, 'public', 'CREATE')", to) {
				t.Errorf("%s: the role %d owns %d objects, or may create some", name, role, owned)
			}
		}
	}
	// The default users depend on what only the sequence tells.
	if fresh, err := open(t, quick(controller)).Fresh(t.Context()); err != nil || !fresh {
		t.Errorf("Fresh = %v, %v, want true", fresh, err)
	}
}

// countTriggers counts the operator's triggers that are enabled.
func countTriggers(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, `
SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('users') AND tgenabled <> 'D' AND tgname LIKE 'shardinguser_notify_v1%'`)
}

func TestTheScriptMakesTheTriggersThatTheOperatorMakes(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../../config/database/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, statement, _ := strings.Cut(schema.Triggers, "\n\nDO ")
	if !strings.Contains(string(script), "\nDO "+statement) {
		t.Error("the script has another statement: run make generate")
	}
	for _, name := range []string{schema.TriggerFunction + "()", schema.RowTrigger, schema.TruncateTrigger, "'" + observer.RowsChannel + "'"} {
		if !strings.Contains(statement, name) {
			t.Errorf("the statement does not name %s", name)
		}
	}
	admin := testenv.Database(t)
	pool := connect(t, admin)
	run(t, pool, plainTable)
	testenv.TwoRoles(t, admin)
	if n := countTriggers(t, pool); n != schema.TriggerCount {
		t.Errorf("%d triggers are there, want %d", n, schema.TriggerCount)
	}
}

func TestTheScriptMakesTheRolesWhereTheyAreNotThere(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	_, database := names(t, admin)
	owner := testenv.Role(t, admin) // an administrator of no more than this database
	ownerName, _ := names(t, owner)
	run(t, pool, "ALTER ROLE "+ownerName+" CREATEROLE; ALTER DATABASE "+database+" OWNER TO "+ownerName)
	migrated(t, owner)
	for _, name := range []string{"controller_", "login_"} {
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			if conn, err := pgx.Connect(ctx, admin); err == nil {
				_, err = conn.Exec(ctx, "DROP OWNED BY "+name+database+"; DROP ROLE "+name+database)
				if err := errors.Join(err, conn.Close(ctx)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		printed, err := testenv.Psql(t.Context(), owner, "config/database/roles.sql", "controller=controller_"+database, "login=login_"+database)
		if err != nil || printed != "" {
			t.Errorf("it printed %q, %v", printed, err)
		}
	}
	may := value[bool](t, pool, `SELECT bool_and(rolcanlogin AND NOT rolsuper AND NOT rolcreaterole AND NOT rolcreatedb AND NOT rolbypassrls)
		AND count(*) = 2 FROM pg_roles WHERE rolname IN ($1, $2)`, "controller_"+database, "login_"+database)
	if !may {
		t.Error("the roles are not two that may log in, and nothing more")
	}
}
