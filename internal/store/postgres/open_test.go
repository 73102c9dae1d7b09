// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// ofKind returns the findings of a kind.
func ofKind(t *testing.T, s *Store, kind string) []store.Finding {
	t.Helper()
	findings, err := s.InspectTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(findings, func(f store.Finding) bool { return f.Kind != kind })
}

func TestAnOpenSchemaIsFoundWithTheStatementThatClosesIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ open, path, object, who, remedy string }{
		"all roles may create":        {"GRANT CREATE ON SCHEMA public TO PUBLIC", "", "public", "PUBLIC", "REVOKE CREATE ON SCHEMA"},
		"a stranger may create":       {"GRANT CREATE ON SCHEMA public TO {stranger}", "", "public", "{stranger}", "REVOKE CREATE ON SCHEMA"},
		"a stranger's schema":         {"CREATE SCHEMA theirs AUTHORIZATION {stranger}", "theirs,public", "theirs", "{stranger}", "ALTER SCHEMA"},
		"a schema that is to be made": {"GRANT CREATE ON DATABASE {database} TO PUBLIC", "late,public", "late", "PUBLIC", "REVOKE CREATE ON DATABASE"},
		"the schema of the role's name": {
			"GRANT CREATE ON DATABASE {database} TO {stranger}", "%22$user%22,public", "{role}", "{stranger}", "REVOKE CREATE ON DATABASE",
		},
		"the owner of the table may create": {"GRANT CREATE ON SCHEMA public TO {stranger}; ALTER TABLE users OWNER TO {stranger}", "", "", "", ""},
		"a member of the owner may create":  {"ALTER TABLE users OWNER TO {role}; GRANT {role} TO {stranger}; GRANT CREATE ON SCHEMA public TO {stranger}", "", "", "", ""},
		"a schema that is not in the path":  {"CREATE SCHEMA theirs AUTHORIZATION {stranger}", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := testenv.Database(t)
			dsn := testenv.Role(t, admin)
			role, database := names(t, dsn)
			stranger, _ := names(t, testenv.Role(t, admin))
			filled := strings.NewReplacer("{stranger}", stranger, "{database}", database, "{role}", role)
			pool := connect(t, admin)
			migrated(t, admin)
			run(t, pool, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+role)
			if test.path != "" {
				dsn, admin = with(dsn, "search_path="+test.path), with(admin, "search_path="+filled.Replace(strings.ReplaceAll(test.path, "$user", "{role}")))
			}
			for _, dsn := range []string{dsn, admin} {
				if found := ofKind(t, open(t, quick(dsn)), store.FindingOpenSchema); len(found) > 0 {
					t.Fatalf("before, it finds %v", found)
				}
			}
			run(t, pool, filled.Replace(test.open))
			for _, dsn := range []string{dsn, admin} { // a superuser has strangers too
				found := ofKind(t, open(t, quick(dsn)), store.FindingOpenSchema)
				switch {
				case test.object == "" && len(found) == 0:
				case len(found) != 1 || found[0].Object != schema.Ident(filled.Replace(test.object)) || !strings.Contains(found[0].Consequence, test.remedy) ||
					!strings.Contains(found[0].Consequence, filled.Replace(test.who)+" may create"):
					t.Errorf("it finds %v", found)
				}
			}
		})
	}
}

func TestAnOpenSchemaIsLoggedOnceAndAgainWhenItIsClosed(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO PUBLIC")
	var log logged
	settings := quick(admin)
	settings.Log, settings.InspectInterval = log.logger(), settings.CheckInterval
	inspections := &counted{text: "aclexplode"}
	settings.Tracer = inspections
	s := ready(t, settings)
	isOpen := func() bool {
		return slices.ContainsFunc(s.Health().Findings, func(f store.Finding) bool { return f.Kind == store.FindingOpenSchema })
	}
	eventually(t, "the schema is found open", isOpen)
	seen := inspections.count.Load()
	eventually(t, "it is inspected again", func() bool { return inspections.count.Load() > seen+2 })
	if n := strings.Count(log.String(), "kind=open-schema"); n != 1 || !strings.Contains(log.String(), "REVOKE CREATE ON SCHEMA") {
		t.Errorf("it is logged %d times:\n%s", n, log.String())
	}
	run(t, pool, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	eventually(t, "the schema is found closed", func() bool { return !isOpen() })
}

func TestTheFunctionOfAStrangerBecomesNoTrigger(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE SEQUENCE runs; GRANT ALL ON SEQUENCE runs TO PUBLIC")
	stranger := testenv.Role(t, admin)
	role, _ := names(t, stranger)
	run(t, connect(t, stranger), "CREATE FUNCTION "+schema.TriggerFunction+"() RETURNS trigger LANGUAGE plpgsql AS "+
		"'BEGIN PERFORM nextval(''runs''); RETURN NULL; END'")
	for _, dsn := range []string{admin, testenv.Role(t, admin)} { // a superuser, and a role
		var log logged
		settings := quick(dsn)
		settings.Log = log.logger()
		s := ready(t, settings)
		run(t, pool, "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
		watch(t, s)
		name, _ := names(t, dsn)
		if _, err := s.Apply(t.Context(), creation(name)); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+": the log names the owner", func() bool { return strings.Contains(log.String(), "belongs to the role "+role) })
		if found := ofKind(t, s, store.FindingForeignOwner); len(found) != 1 || !strings.Contains(found[0].Consequence, role) {
			t.Errorf("%s: it finds %v", name, found)
		}
		if s.Health().Notified {
			t.Errorf("%s: it relies on the stranger's function", name)
		}
	}
	if value[bool](t, pool, "SELECT is_called FROM runs") {
		t.Error("the function of the stranger ran")
	}
}

func TestTheTriggerRunsNothingOfAStrangersInOtherPrograms(t *testing.T) {
	t.Parallel()
	admin, dsn := openSchema(t)
	s := ready(t, quick(dsn))
	w := watch(t, s)
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "notifications pass", notified(s))
	program, err := pgx.Connect(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(context.WithoutCancel(t.Context()), program) })
	for _, sql := range []string{
		"SET search_path = strangers, public, pg_catalog",
		"CREATE TYPE pg_temp.text AS ENUM ('a')",
		"UPDATE public.users SET active = false",
		"UPDATE public.users SET failed_login_attempts = 3",
		"INSERT INTO public.users (username, password_hash) VALUES ('bob', '!')",
		"DELETE FROM public.users",
		"TRUNCATE public.users",
	} {
		w.forget()
		if _, err := program.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	w.told(t, "alice")
	ranNowhere(t, admin)
}

func TestAnOlderFunctionOfTheTriggerIsReplaced(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	pool := connect(t, admin)
	const source = "SELECT prosrc FROM pg_proc WHERE proname = '" + schema.TriggerFunction + "'"
	run(t, pool, "CREATE OR REPLACE FUNCTION "+schema.TriggerFunction+"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
	migrated(t, admin)
	if value[string](t, pool, source) != schema.TriggerBody {
		t.Error("the function is the older one")
	}
	run(t, pool, "CREATE OR REPLACE FUNCTION "+schema.TriggerFunction+"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, pool, fmt.Sprintf("GRANT ALL ON ALL TABLES IN SCHEMA public TO %s; GRANT USAGE ON SCHEMA public TO %s", role, role))
	s := ready(t, quick(dsn)) // which may not
	if there, err := s.ensureTrigger(t.Context()); !there || err != nil {
		t.Errorf("the triggers are there: %v, %v", there, err)
	}
}
