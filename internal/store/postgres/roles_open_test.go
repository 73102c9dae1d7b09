// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// runScript runs config/database/roles.sql for two fresh roles.
func runScript(t *testing.T, dsn string, variables ...string) error {
	t.Helper()
	for _, variable := range []string{"controller", "login"} {
		role, _ := names(t, testenv.Role(t, testenv.Server(t).DSN()))
		variables = append(variables, variable+"="+role)
	}
	_, err := testenv.Psql(t.Context(), dsn, "config/database/roles.sql", variables...)
	return err
}

func TestTheScriptClosesTheSchemasAndTemporaryTables(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	_, database := names(t, admin)
	pool := connect(t, admin)
	stranger, _ := names(t, testenv.Role(t, admin))
	run(t, pool, "CREATE SCHEMA accounts; GRANT CREATE ON SCHEMA public, accounts TO PUBLIC")
	run(t, connect(t, with(admin, "search_path=accounts")), plainTable)
	if err := runScript(t, admin, "users_schema=accounts"); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"schema|public|CREATE", "schema|accounts|CREATE", "database|" + database + "|TEMPORARY"} {
		kind, rest, _ := strings.Cut(what, "|")
		object, privilege, _ := strings.Cut(rest, "|")
		if value[bool](t, pool, "SELECT has_"+kind+"_privilege($1::text, $2::text, $3::text)", stranger, object, privilege) {
			t.Errorf("a stranger has %s on the %s %s", privilege, kind, object)
		}
	}
}

func TestTheScriptFailsWhereAStrangerMayStillCreate(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	_, database := names(t, admin)
	pool := connect(t, admin)
	run(t, pool, plainTable)
	stranger, _ := names(t, testenv.Role(t, admin))
	run(t, pool, "GRANT CREATE ON SCHEMA public TO PUBLIC, "+stranger)
	err := runScript(t, admin)
	for _, want := range []string{stranger + " may create objects in the schema public", "REVOKE CREATE ON SCHEMA public FROM " + stranger, "trusted="} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it ends with %v, want %s", err, want)
		}
	}
	if !value[bool](t, pool, "SELECT has_schema_privilege('public', 'CREATE')") || value[int](t, pool,
		"SELECT count(*) FROM information_schema.table_privileges WHERE table_name = 'users' AND grantee <> CURRENT_USER") > 0 {
		t.Error("a part of it was done")
	}
	if err := runScript(t, admin, "trusted="+stranger); err != nil {
		t.Errorf("with the role trusted it ends with %v", err)
	}

	// The owner of the table may not revoke what the owner of the schema granted.
	run(t, pool, "REVOKE CREATE ON SCHEMA public FROM "+stranger+"; GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT TEMPORARY ON DATABASE "+database+" TO PUBLIC")
	owner := testenv.Role(t, admin)
	role, _ := names(t, owner)
	run(t, pool, "ALTER TABLE users OWNER TO "+role+"; ALTER ROLE "+role+" CREATEROLE; GRANT USAGE ON SCHEMA public TO "+role+" WITH GRANT OPTION")
	if err := runScript(t, owner); err == nil || !strings.Contains(err.Error(), "PUBLIC may create objects in the schema public") {
		t.Errorf("as the owner of the table it ends with %v", err)
	}
}

func TestTheScriptRunsNothingOfAStrangers(t *testing.T) {
	t.Parallel()
	admin, dsn := openSchema(t)
	migrated(t, with(strings.Split(dsn, "&search_path")[0], "search_path=public"))
	stranger := value[string](t, connect(t, admin), "SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = 'holds' LIMIT 1")
	for _, variables := range [][]string{{"users_schema=strangers"}, {"users_schema=strangers", "migrate=on", "notifications=off"}} {
		if err := runScript(t, admin, append(variables, "trusted="+stranger)...); err != nil {
			t.Error(err)
		}
	}
	ranNowhere(t, admin)
}

// A sharding manager that owns the table could not start without CREATE.
func TestTheScriptKeepsWhatTheTablesOwnerMayCreate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before string
		want   bool
	}{
		"by name":         {"GRANT CREATE ON SCHEMA public TO $owner", true},
		"through PUBLIC":  {"GRANT CREATE ON SCHEMA public TO PUBLIC", true},
		"where it has no": {"SELECT", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := testenv.Database(t)
			pool := connect(t, admin)
			owner, _ := names(t, testenv.Role(t, admin))
			run(t, pool, plainTable+"; ALTER TABLE users OWNER TO "+owner+"; "+strings.ReplaceAll(tt.before, "$owner", owner))
			if err := runScript(t, admin); err != nil {
				t.Fatal(err)
			}
			if got := value[bool](t, pool, "SELECT has_schema_privilege($1::text, 'public', 'CREATE')", owner); got != tt.want {
				t.Errorf("the owner may create objects: %v, want %v", got, tt.want)
			}
		})
	}
}
