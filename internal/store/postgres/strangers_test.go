// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/storetest"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// calls finds what could be a call of a function, in Go or in SQL.
var calls = regexp.MustCompile(`\b([a-z_]+[a-z0-9_]*)\(`)

// functionsNamed lists the names that the sources of this package and of those below it call, and that the server has a function
// for.
func functionsNamed(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	var called []string
	sources := os.DirFS(".")
	err := fs.WalkDir(sources, ".", func(file string, _ fs.DirEntry, err error) error {
		if ext := filepath.Ext(file); err != nil || (ext != ".go" && ext != ".sql") {
			return err
		}
		source, err := fs.ReadFile(sources, file)
		for _, match := range calls.FindAllStringSubmatch(string(source), -1) {
			called = append(called, match[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value[[]string](t, pool, `SELECT array_agg(DISTINCT proname::text) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($1::text[])`, called)
}

// openSchema is a database with a schema where all roles may create objects, and a stranger has. It returns an administrator's DSN
// and one of a role for the operator, in whose path the schema is.
func openSchema(t *testing.T) (admin, ours string) {
	t.Helper()
	admin = strangersTemplate.copy(t, func(dsn string) { makeStrangers(t, dsn) })
	ours = testenv.Role(t, admin)
	role, _ := names(t, ours)
	run(t, connect(t, admin), "GRANT CREATE ON SCHEMA public TO "+role)
	return admin, with(ours, "search_path=public,strangers")
}

var strangersTemplate template

// makeStrangers makes the schema and the objects of the stranger.
func makeStrangers(t *testing.T, admin string) {
	t.Helper()
	pool, stranger := connect(t, admin), connect(t, testenv.Role(t, admin))
	defer pool.Close()
	defer stranger.Close()
	run(t, pool, "CREATE SCHEMA strangers; GRANT USAGE, CREATE ON SCHEMA strangers TO PUBLIC")
	names := functionsNamed(t, pool)
	if len(names) < 30 || !slices.Contains(names, "pg_notify") {
		t.Fatalf("only these functions are called: %v", names)
	}
	script, err := os.ReadFile("testdata/strangers.sql")
	if err != nil {
		t.Fatal(err)
	}
	objects := strings.ReplaceAll(string(script), "$1", "ARRAY['"+strings.Join(names, "', '")+"']")
	if _, err := stranger.Exec(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
}

// ranNowhere checks that nothing of a stranger's ran.
func ranNowhere(t *testing.T, admin string) {
	t.Helper()
	if value[bool](t, connect(t, admin), "SELECT is_called FROM strangers.runs") {
		t.Error("code of a stranger ran")
	}
}

func TestNothingOfAStrangerRunsWithOurRights(t *testing.T) {
	t.Parallel()
	for name, pooled := range map[string]bool{"direct": false, "through PgBouncer in transaction mode": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin, dsn := openSchema(t)
			settings := quick(dsn)
			if pooled {
				settings.DSN, settings.ListenDSN = fixed(throughPgBouncer(t, dsn, "public, strangers")), fixed(dsn)
			}
			settings.StatementTimeout = patience
			var log logged
			settings.Log = log.logger()
			s := ready(t, settings)
			clean := connect(t, with(dsn, "search_path=public"))
			promises(false)(t, func(t *testing.T) storetest.Harness {
				t.Helper()
				run(t, clean, emptied)
				return storetest.Harness{Store: s, Other: program{clean, "", clean}}
			})
			wholeStory(t, s)
			ranNowhere(t, admin)
			if strings.Contains(log.String(), "stranger's") {
				t.Errorf("it is logged:\n%s", log.String())
			}
		})
	}
}

// wholeStory does what the conformance suite does not.
func wholeStory(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "notifications pass", func() bool { return s.Health().Notified || !s.Health().Polling() })
	if _, err := s.Apply(t.Context(), creation("wholestory")); err != nil {
		t.Fatal(err)
	}
	c := charge(t, s, "wholestory")
	s.unchecked.addID("wholestory", c.ID)
	for what, call := range map[string]func() error{
		"inspect":  func() error { _, err := s.InspectTable(t.Context()); return err },
		"times":    func() error { _, err := s.inspectTimes(t.Context()); return err },
		"accounts": func() error { _, err := s.Accounts(t.Context()); return err },
		"attempts": func() error {
			_, err := s.ReadAttempts(t.Context(), store.Trail{Username: "wholestory", Since: 1e12})
			return err
		},
		"fresh":         func() error { _, err := s.Fresh(t.Context()); return err },
		"foreign names": func() error { _, err := s.unencodable(t.Context(), []string{"a"}); return err },
		"probe":         func() error { return s.probe(t.Context()) },
		"try to write":  func() error { return s.tryToWrite(t.Context()) },
		"identify":      func() error { _, err := s.identify(t.Context()); return err },
		"look":          func() error { _, err := s.lookDirectly(t.Context(), RoleBoth.tables()); return err },
		"uncharge":      func() error { return s.uncharge(t.Context(), "wholestory", openAttempts{ids: []int64{c.ID}}) },
		"drop":          func() error { return s.dropTrigger(t.Context()) },
		"make":          func() error { _, err := s.ensureTrigger(t.Context()); return err },
		"changes": func() error {
			_, err := s.Changes(t.Context(), store.ChangeQuery{Username: "wholestory", Since: 1e12, Before: 9, Limit: 9})
			return err
		},
		"purge changes": func() error { _, err := s.PurgeChanges(t.Context(), 1, 10); return err },
		"trim changes":  func() error { _, err := s.TrimChanges(t.Context(), 0); return err },
		"changes' size": func() error { _, err := s.ChangesSize(t.Context()); return err },
		"purge":         func() error { _, err := s.PurgeAttempts(t.Context(), 1, 10); return err },
		"size":          func() error { _, err := s.TrailSize(t.Context()); return err },
		"trim":          func() error { _, err := s.TrimAttempts(t.Context(), store.Failed, 10); return err },
		"rerun":         func() error { return s.rerun(t.Context()) },
		"migrate":       func() error { return s.Migrate(t.Context()) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v: %v", what, err, errors.Unwrap(err))
		}
	}
}

// throughPgBouncer starts a PgBouncer in transaction mode, which drops the search path. The role has this one.
func throughPgBouncer(t *testing.T, dsn, path string) string {
	t.Helper()
	pooler, err := testenv.StartPgBouncer(t.Context(), strings.Split(dsn, "&search_path")[0], "ignore_startup_parameters = search_path")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pooler.Stop(); err != nil {
			t.Error(err)
		}
	})
	role, _ := names(t, dsn)
	run(t, connect(t, dsn), fmt.Sprintf("ALTER ROLE %s SET search_path = %s", role, path))
	through, err := pooler.DSN("default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	return through
}

// A check of the test: what it defends against does run elsewhere.
func TestTheObjectsOfAStrangerRunInOrdinaryStatements(t *testing.T) {
	t.Parallel()
	admin, dsn := openSchema(t)
	pool := connect(t, dsn)
	run(t, pool, plainTable)
	run(t, pool, "INSERT INTO users (username, password_hash) VALUES ('alice', '!')")
	for _, sql := range []string{
		"SELECT FROM users WHERE username = 'alice'::text", "SELECT FROM users WHERE username = $1", "SELECT 2::bigint * INTERVAL '1 second'",
		"SELECT pg_try_advisory_lock($1)",
	} {
		var args []any
		if strings.Contains(sql, "$1") {
			args = append(args, "1")
		}
		if _, err := pool.Exec(t.Context(), sql, args...); err == nil || !strings.Contains(err.Error(), "a stranger's") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if !value[bool](t, connect(t, admin), "SELECT is_called FROM strangers.runs") {
		t.Error("nothing ran")
	}
}
