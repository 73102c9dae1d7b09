// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// limited is a store whose role owns nothing, with the row of one account, and a pool of the table's owner.
func limited(t *testing.T) (s *Store, owner func(sql string), end user.Change) {
	t.Helper()
	admin := databaseWithSchema(t)
	ready(t, quick(admin))
	role := testenv.Role(t, admin)
	name, _ := names(t, role)
	pool := connect(t, admin)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+name)
	s = maintained(t, quick(role))
	eventually(t, "the store is up", up(s))
	after, err := s.Apply(t.Context(), creation("alice"))
	if err != nil {
		t.Fatal(err)
	}
	end = creation("alice")
	end.Verb, end.Revision = user.Delete, after.Ownership.Revision
	return s, func(sql string) { run(t, pool, strings.ReplaceAll(sql, "THE_ROLE", name)) }, end
}

// A row that row-level security hides is not one that is gone: its ownership record must not say so.
func TestARowThatRowSecurityHidesIsNotTakenForDeleted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policies string
		ends     bool
		short    user.Verb // the only one under -short
	}{
		"no policy": {policies: "", short: user.Delete},
		"a restrictive policy that hides the row": {
			policies: "CREATE POLICY a ON users USING (true); CREATE POLICY b ON users AS RESTRICTIVE USING (username <> 'alice')",
			short:    user.Deactivate,
		},
		"a policy for some rows": {policies: "CREATE POLICY a ON users USING (username <> 'alice')", short: user.Delete},
		"a policy of another role": {
			policies: "CREATE POLICY a ON users TO pg_monitor USING (true); CREATE POLICY b ON users TO THE_ROLE USING (username <> 'alice')",
			short:    user.Deactivate,
		},
		"a policy for all rows": {policies: "CREATE POLICY a ON users USING (true)", ends: true, short: user.Deactivate},
		"a policy for all rows, and a row that is gone": {
			policies: "CREATE POLICY a ON users USING (true); DELETE FROM users", ends: true, short: user.Delete,
		},
	} {
		for _, verb := range []user.Verb{user.Delete, user.Deactivate} {
			if testing.Short() && verb != tt.short {
				continue
			}
			t.Run(name+", "+string(verb), func(t *testing.T) {
				t.Parallel()
				s, owner, end := limited(t)
				end.Verb = verb
				owner("ALTER TABLE users ENABLE ROW LEVEL SECURITY;" + tt.policies)
				err := applied(t, s, end)
				if tt.ends {
					if err != nil {
						t.Error(err)
					}
					return
				}
				expectRejected(t, err, "row-level security")
				owner("ALTER TABLE users DISABLE ROW LEVEL SECURITY")
				if o, err := s.Observe(t.Context(), "alice"); err != nil || o.Row == nil || o.Ownership.State != user.Owned {
					t.Errorf("%+v, %v", o, err)
				}
			})
		}
	}
}

// Rights that the role has are not advised where row-level security makes reading fail.
func TestARightThatIsThereIsNotAdvised(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"row_security is off":                           "ALTER ROLE THE_ROLE SET row_security = off",
		"a policy reads a table that the role does not": "CREATE TABLE tenants (name TEXT); CREATE POLICY a ON users USING (EXISTS (SELECT FROM tenants))",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, owner, _ := limited(t)
			owner("ALTER TABLE users ENABLE ROW LEVEL SECURITY;" + sql)
			s.pool.Reset()
			_, err := s.Observe(t.Context(), "alice")
			expectUnavailable(t, err, "row-level security")
			eventually(t, "it counts as an outage", func() bool { return !s.Health().Up() })
			if text := s.Health().Writing; text == nil || strings.Contains(text.Error(), "GRANT") {
				t.Errorf("it says %v", text)
			}
		})
	}
}

// Where the catalog does not answer in time, no right is advised: it may be granted already.
func TestNoRightIsAdvisedWhereTheCauseIsUnknown(t *testing.T) {
	t.Parallel()
	s, owner, end := limited(t)
	owner("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER ROLE THE_ROLE SET row_security = off")
	s.timing.catalogue = time.Nanosecond
	s.pool.Reset()
	_, err := s.Observe(t.Context(), "alice")
	expectUnavailable(t, err, "could not be determined")
	if strings.Contains(err.Error(), "GRANT") {
		t.Errorf("it advises a right: %v", err)
	}
	end.Verb = user.Deactivate
	expectRejected(t, applied(t, s, end), "could not be determined")
}

// A right that is revoked shortly after another refusal was explained is reported as missing.
func TestARightRevokedAfterAnotherRefusalIsNamed(t *testing.T) {
	t.Parallel()
	s, owner, _ := limited(t)
	s.timing.proof = patience
	owner("ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON users FOR SELECT USING (true)")
	expectRejected(t, applied(t, s, creation("bob")), "row-level security")
	owner("ALTER TABLE users DISABLE ROW LEVEL SECURITY; REVOKE INSERT ON users FROM THE_ROLE")
	expectUnavailable(t, applied(t, s, creation("bob")), "GRANT")
}

// A trigger that keeps the counter or the lock as it was gives nobody more guesses.
func TestACounterThatATriggerKeepsGivesNobodyAGuess(t *testing.T) {
	t.Parallel()
	const again = "UPDATE users SET %s WHERE username = NEW.username AND %s; RETURN NULL;"
	for name, tt := range map[string]struct{ timing, body string }{
		"the counter": {"BEFORE UPDATE", "NEW.failed_login_attempts := OLD.failed_login_attempts; RETURN NEW;"},
		"the lock":    {"BEFORE UPDATE", "NEW.locked_until := NULL; RETURN NEW;"},
		"the counter afterwards": {
			"AFTER UPDATE", fmt.Sprintf(again, "failed_login_attempts = 0", "failed_login_attempts > 0"),
		},
		"the lock afterwards": {"AFTER UPDATE", fmt.Sprintf(again, "locked_until = NULL", "locked_until IS NOT NULL")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, insertActive, "alice")
			run(t, pool, trigger("keep", tt.timing, tt.body))
			guesses := 0
			for range 12 {
				c, err := s.Charge(t.Context(), attempt("alice"), usual)
				if err == nil && c.Verdict == store.Check {
					guesses++
				} else if err != nil && !errors.Is(err, store.ErrRejected) {
					t.Fatal(err)
				}
			}
			if guesses > 5 {
				t.Errorf("%d guesses, want 5 at most", guesses)
			}
		})
	}
}

// An error of a statement trigger says nothing of the database, also when writes are doubted.
func TestAStatementTriggerMakesNoOutage(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"42501", "53100", "42P01", "25006"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, insertActive, "alice")
			eventually(t, "the store is up", up(s))
			run(t, pool, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '`+code+`'; END $$;
				CREATE TRIGGER refuse BEFORE UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION refuse()`)
			s.health.doubtWrites()
			s.check(t.Context())
			if s.Health().Unavailable || !s.Health().Up() {
				t.Errorf("it counts as an outage: %v", s.Health().Writing)
			}
		})
	}
}

// An attempt is taken off the counter only where the counter holds it, also after what others did while the row was locked.
func TestAnUncheckedAttemptIsSettledByWhatHappenedMeanwhile(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	c := charge(t, s, "alice")
	s.timing.lock = patience
	tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
	settled := make(chan error, 1)
	go func() {
		settled <- s.uncharge(context.WithoutCancel(t.Context()), "alice", openAttempts{ids: []int64{c.ID}})
	}()
	waits(t, pool, 1)
	for _, sql := range []string{ // a success, and four attempts that failed after it
		"UPDATE users SET failed_login_attempts = 4",
		"INSERT INTO login_attempts (attempted_at, username, source, user_agent, outcome) SELECT now(), 'alice', '', '', 'failed' FROM generate_series(1, 4)",
	} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, tx)
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, pool, "SELECT failed_login_attempts FROM users"); n != 4 {
		t.Errorf("the counter is %d, want 4", n)
	}
}
