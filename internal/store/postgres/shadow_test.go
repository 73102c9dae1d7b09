// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// shadow is a table users of another role, in a schema, with an account that has all roles.
func shadow(create, schema string) string {
	return create + " " + schema + strings.TrimPrefix(plainTable, "CREATE TABLE ") + "; INSERT INTO " + schema +
		`users (username, password_hash, roles) VALUES ('mallory', 'hash', '["admin"]')`
}

// readsNoShadow checks that the store knows nothing of mallory, and writes where it should.
func readsNoShadow(t *testing.T, s *Store) {
	t.Helper()
	for range 10 { // whichever session it is
		o, err := s.Observe(t.Context(), "mallory")
		if err != nil || o.Row != nil {
			t.Fatalf("it observes %+v, %v", o.Row, err)
		}
		if c := charge(t, s, "mallory"); c.Verdict != store.Unknown {
			t.Fatalf("mallory's login is to be %v", c.Verdict)
		}
		accounts, err := s.Accounts(t.Context())
		if err != nil || len(accounts) != 1 || accounts[0].Username != "alice" {
			t.Fatalf("the accounts are %v, %v", accounts, err)
		}
		if c := charge(t, s, "alice"); c.Verdict != store.Check {
			t.Fatalf("alice's login is to be %v", c.Verdict)
		} else if _, err := s.Settle(t.Context(), c, true); err != nil {
			t.Fatal(err)
		}
	}
}

// temporaryObjects are what a program that shares the role and the sessions may leave in one.
func temporaryObjects(t *testing.T, tx pgx.Tx) {
	t.Helper()
	_, err := tx.Exec(t.Context(), shadow("CREATE TEMPORARY TABLE", "")+`;
CREATE TEMPORARY TABLE shardinguser_ownership (LIKE public.shardinguser_ownership);
CREATE TEMPORARY TABLE login_attempts (LIKE public.login_attempts);
CREATE TEMPORARY TABLE shardinguser_probes (LIKE public.shardinguser_probes);
CREATE TYPE pg_temp.jsonb AS ENUM ('a'); CREATE TYPE pg_temp.text AS ENUM ('a'); CREATE TYPE pg_temp.oid AS ENUM ('a');
SET search_path = pg_temp, public`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestATemporaryTableInASessionIsNeverRead(t *testing.T) {
	t.Parallel()
	for name, pooled := range map[string]bool{"direct": false, "through PgBouncer in transaction mode": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := testenv.Database(t)
			dsn := testenv.Role(t, admin)
			role, _ := names(t, dsn)
			run(t, connect(t, admin), "GRANT CREATE ON SCHEMA public TO "+role)
			migrated(t, dsn)
			run(t, connect(t, dsn), insertActive, "alice")
			settings := quick(dsn)
			if pooled {
				settings.DSN, settings.ListenDSN = fixed(throughPgBouncer(t, dsn, "public")), fixed(dsn)
			}
			s := ready(t, settings)
			leaveInSessions(t, s, pooled)
			w := watch(t, s)
			w.told(t, "alice")
			readsNoShadow(t, s)
			if err := s.probe(t.Context()); err != nil {
				t.Error(err)
			}
			if n := w.of("mallory"); n > 0 {
				t.Errorf("mallory is told %d times", n)
			}
			if findings, err := s.InspectTable(t.Context()); err != nil || len(findings) > 0 {
				t.Errorf("the findings are %v, %v", findings, err)
			}
		})
	}
}

// leaveInSessions leaves temporary objects in several sessions at once.
func leaveInSessions(t *testing.T, s *Store, pooled bool) {
	t.Helper()
	var open, done sync.WaitGroup
	const sessions = 4 // of the pooler's five
	open.Add(sessions)
	for range sessions {
		done.Go(func() {
			err := s.borrow(t.Context(), func(c *conn) error {
				if !pooled {
					defer open.Done()
					// The pool may lend a session twice.
					_, err := c.Exec(t.Context(), "DROP TABLE IF EXISTS pg_temp.users; "+shadow("CREATE TABLE", "pg_temp."))
					return err
				}
				return pgx.BeginFunc(t.Context(), c.raw, func(tx pgx.Tx) error {
					defer open.Wait() // so that each is another session
					defer open.Done()
					temporaryObjects(t, tx)
					return nil
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
}

// strangerEarlier is a database in which a stranger may create objects in the schema early, as the operator's role may. It returns an
// administrator's DSN, and those of the two roles.
func strangerEarlier(t *testing.T) (admin, ours, stranger string) {
	t.Helper()
	admin = testenv.Database(t)
	ours, stranger = testenv.Role(t, admin), testenv.Role(t, admin)
	role, _ := names(t, ours)
	other, _ := names(t, stranger)
	run(t, connect(t, admin), "CREATE SCHEMA early; GRANT USAGE, CREATE ON SCHEMA early TO "+other+", "+role)
	return admin, ours, stranger
}

func TestATableOfAStrangerEarlierInThePathIsNeverRead(t *testing.T) {
	t.Parallel()
	admin, dsn, stranger := strangerEarlier(t)
	pool := connect(t, admin)
	role, database := names(t, dsn)
	other, _ := names(t, stranger)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role+"; GRANT CREATE ON DATABASE "+database+" TO "+other)
	migrated(t, dsn)
	run(t, connect(t, dsn), insertActive, "alice")

	path := with(dsn, "search_path=%22$user%22,early,public")
	s := ready(t, quick(path)) // its sessions are there before the tables of the stranger
	readsNoShadow(t, s)
	theirs := connect(t, stranger)
	run(t, theirs, "CREATE SCHEMA "+role)
	for _, schema := range []string{role, "early"} {
		run(t, theirs, shadow("CREATE TABLE", schema+"."))
		run(t, theirs, "GRANT ALL ON "+schema+".users TO PUBLIC; GRANT USAGE ON SCHEMA "+schema+" TO PUBLIC")
	}
	readsNoShadow(t, s)
	readsNoShadow(t, ready(t, quick(path)))
}

// The table users may have another schema than the operator's own tables.
func TestAStrangersTableBeforeTwoSchemasIsNeverRead(t *testing.T) {
	t.Parallel()
	admin, dsn, stranger := strangerEarlier(t)
	pool := connect(t, admin)
	role, _ := names(t, dsn)
	run(t, pool, "CREATE SCHEMA own; CREATE SCHEMA accounts; GRANT USAGE, CREATE ON SCHEMA own TO "+role+"; GRANT USAGE ON SCHEMA accounts TO PUBLIC")
	run(t, connect(t, with(admin, "search_path=accounts")), plainTable)
	run(t, pool, "GRANT ALL ON accounts.users TO "+role)
	migrated(t, with(dsn, "search_path=own,accounts"))
	run(t, connect(t, with(dsn, "search_path=accounts")), insertActive, "alice")

	path := with(dsn, "search_path=early,own,accounts")
	s := ready(t, quick(path))
	readsNoShadow(t, s)
	theirs := connect(t, stranger)
	run(t, theirs, shadow("CREATE TABLE", "early."))
	run(t, theirs, "GRANT ALL ON early.users TO PUBLIC; GRANT USAGE ON SCHEMA early TO PUBLIC")
	readsNoShadow(t, s)
	readsNoShadow(t, ready(t, quick(path)))
}

// A statement would be prepared by one path and executed by another, and older poolers lose it.
func TestBehindAPoolerThatDropsThePathNothingIsPrepared(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	run(t, connect(t, admin), "CREATE SCHEMA accounts AUTHORIZATION "+role)
	migrated(t, with(dsn, "search_path=accounts"))
	through := strings.ReplaceAll(throughPgBouncer(t, dsn, "accounts"), "default_query_exec_mode=exec", "application_name=mine")
	settings := quick(through)
	settings.ListenDSN = fixed(with(dsn, "search_path=accounts"))
	s := ready(t, settings)
	for range 20 {
		if _, err := s.Observe(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	if c := charge(t, s, "alice"); c.Verdict != store.Check {
		t.Errorf("the login is to be %v", c.Verdict)
	}
}
