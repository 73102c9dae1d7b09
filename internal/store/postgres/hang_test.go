// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// hang makes every commit on the server wait for a standby that does not exist, and returns what ends that.
func hang(t *testing.T, server *testenv.Postgres) (end func()) {
	t.Helper()
	admin := connect(t, server.DSN())
	set := func(standbys string) {
		run(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '"+standbys+"'")
		run(t, admin, "SELECT pg_reload_conf()")
	}
	set("lost")
	// The server reads the setting some time later.
	ctx, cancel := context.WithCancel(t.Context())
	var committing sync.WaitGroup
	committing.Go(func() {
		for ctx.Err() == nil {
			_, _ = admin.Exec(ctx, "SELECT pg_logical_emit_message(true, 'test', '')")
			backoff.Pause(ctx, 10*time.Millisecond)
		}
	})
	eventually(t, "a commit hangs", func() bool { return waiters(t, admin) > 0 })
	cancel()
	committing.Wait()
	eventually(t, "no commit hangs", func() bool { return waiters(t, admin) == 0 })
	return func() { set("") }
}

// synchronous is a server of its own whose commits wait for standbys, where there are any.
func synchronous(t *testing.T) (*testenv.Postgres, string) {
	t.Helper()
	server, err := testenv.StartPostgres(t.Context(), "synchronous_commit=on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	dsn, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return server, dsn
}

// A lost synchronous standby is an outage: a read does not show it, and a write does not return.
func TestCommitsThatHangAreAnOutageWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	server, dsn := synchronous(t)
	settings := quick(dsn)
	settings.CheckInterval = time.Second
	s := ready(t, settings)
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, insertActive, "bob")
	eventually(t, "the store is up", up(s))
	end := hang(t, server)

	began := time.Now()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Charge(context.WithoutCancel(t.Context()), attempt("alice"), usual)
		failed <- err
	}()
	eventually(t, "the store is unavailable", isUnavailable(s))
	took := time.Since(began)
	t.Logf("away after %v", took.Round(time.Millisecond))
	if most := 5 * time.Second; took > most {
		t.Errorf("it took %v, want %v at most", took, most)
	}
	if known := s.Health(); known.Reading != nil || known.Writing == nil || !strings.Contains(known.Writing.Error(), "commit did not return") {
		t.Errorf("reading: %v, writing: %v", known.Reading, known.Writing)
	}
	if err := <-failed; err == nil {
		t.Error("the attempt was charged")
	}
	if n := waiters(t, connect(t, server.DSN())); n > 2 {
		t.Errorf("%d sessions wait for the standby", n)
	}

	end()
	eventually(t, "the store is back", func() bool { return s.Health().Up() && !s.Health().Unavailable })
	eventually(t, "the attempt does not count", func() bool {
		return value[int](t, pool, "SELECT failed_login_attempts FROM users WHERE username = 'alice'") == 0
	})
	if outcomes := value[[]string](t, pool, "SELECT array_agg(outcome) FROM login_attempts"); len(outcomes) != 1 || outcomes[0] != "unchecked" {
		t.Errorf("the outcomes are %q, want one that is unchecked", outcomes)
	}
}

// waiters is how many sessions wait for a standby.
func waiters(t *testing.T, admin *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, admin, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
}

// A long transaction of another program that holds sixty rows holds up nobody else.
func TestSixtyLockedRowsDelayNoOther(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	for i := range 60 {
		run(t, pool, insertActive, fmt.Sprintf("held-%d", i))
	}
	run(t, pool, insertActive, "free")
	eventually(t, "the store is up", up(s))
	began := time.Now()
	charge(t, s, "free")
	alone := time.Since(began) // longer on a busy machine
	run(t, pool, "UPDATE users SET failed_login_attempts = 0")
	tx := hold(t, pool, "SELECT FROM users WHERE username LIKE 'held-%' FOR UPDATE")

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var flood sync.WaitGroup
	for i := range 60 {
		flood.Go(func() {
			for ctx.Err() == nil {
				_, _ = s.Charge(ctx, attempt(fmt.Sprintf("held-%d", i)), usual)
			}
		})
	}
	var took []time.Duration
	for ctx.Err() == nil {
		began := time.Now()
		c, err := s.Charge(t.Context(), attempt("free"), usual)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if _, err := s.Settle(t.Context(), c, true); err != nil {
			t.Fatalf("%v", err)
		}
		took = append(took, time.Since(began))
		backoff.Pause(ctx, 20*time.Millisecond)
	}
	flood.Wait()
	slices.Sort(took)
	nine := took[len(took)*9/10]
	t.Logf("9 of 10 logins took at most %v, all at most %v", nine.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if most := max(2*time.Second, 20*alone); nine > most { // each would wait for its own 5s behind the locked rows
		t.Errorf("9 of 10 other logins took up to %v, want %v at most: one alone took %v", nine, most, alone)
	}
	if s.Health().Unavailable || !s.Health().Up() {
		t.Errorf("it counts as an outage: %v", s.Health().Writing)
	}
	commit(t, tx)
	eventually(t, "a row that was held is charged", func() bool {
		_, err := s.Charge(t.Context(), attempt("held-0"), usual)
		return err == nil
	})
}

// A column that gets another type beside logins makes none of them fail.
func TestAColumnThatGetsAnotherTypeDuringLoginsFailsNone(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	eventually(t, "the store is up", up(s))
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	var failed sync.Map
	var rounds [4]atomic.Int64
	for i := range rounds {
		callers.Go(func() {
			for ; ctx.Err() == nil; rounds[i].Add(1) {
				c, err := s.Charge(context.WithoutCancel(ctx), attempt("alice"), usual)
				if err == nil {
					_, err = s.Settle(context.WithoutCancel(ctx), c, true)
				}
				if err == nil {
					_, err = s.Observe(context.WithoutCancel(ctx), "alice")
				}
				if err != nil {
					failed.Store(err.Error(), true)
				}
			}
		})
	}
	for i := range 10 {
		run(t, pool, "ALTER TABLE users ALTER password_hash TYPE "+[]string{"TEXT", "VARCHAR(255)"}[i%2])
		for caller := range rounds { // no call meets two changes, for however long it takes
			before := rounds[caller].Load()
			eventually(t, "each caller has ended its call", func() bool { return rounds[caller].Load() > before })
		}
	}
	cancel()
	callers.Wait()
	failed.Range(func(err, _ any) bool {
		t.Errorf("a call failed: %v", err)
		return true
	})
}

// Settings of the role or the database make no difference, also where the driver gets all values as text.
func TestSettingsOfTheRoleMakeNoDifference(t *testing.T) {
	t.Parallel()
	for m, mode := range []string{"", "default_query_exec_mode=exec"} {
		for i, setting := range []string{
			"DateStyle = 'German, DMY'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'iso_8601'", "IntervalStyle = 'sql_standard'",
			"default_transaction_isolation = 'serializable'", "standard_conforming_strings = off", "array_nulls = off",
		} {
			if testing.Short() && i%2 != m {
				continue // each setting once, and each of a kind in another mode
			}
			t.Run(mode+" "+setting, func(t *testing.T) {
				t.Parallel()
				admin := testenv.Database(t)
				role := testenv.Role(t, admin)
				name, _ := names(t, role)
				run(t, connect(t, admin), "GRANT CREATE ON SCHEMA public TO "+name)
				run(t, connect(t, admin), "ALTER ROLE "+name+" SET "+setting)
				s := ready(t, quick(with(role, mode)))
				change := creation("alice")
				change.Lockout = user.Lockout{Attempts: 7, Duration: 90 * time.Second, Longest: 3 * time.Hour}
				after, err := s.Apply(t.Context(), change)
				if err != nil {
					t.Fatal(err)
				}
				if after.Ownership == nil || after.Ownership.Lockout != change.Lockout {
					t.Fatalf("the ownership record is %+v, want the lockout %+v", after.Ownership, change.Lockout)
				}
				for range 7 {
					if c, err := s.Charge(t.Context(), attempt("alice"), usual); err != nil || c.Verdict != store.Check {
						t.Fatalf("%+v, %v", c, err)
					}
				}
				o, err := s.Observe(t.Context(), "alice")
				if err != nil {
					t.Fatal(err)
				}
				if left := o.LockLeft(); left < 80*time.Second || left > 90*time.Second {
					t.Errorf("the lock lasts for %v, want 90 s", left)
				}
			})
		}
	}
}

// A limit of the server's that is shorter than ours is named, and makes no outage.
func TestAStatementTimeoutOfTheServerIsNamed(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	s := ready(t, quick(with(admin, "statement_timeout=200ms")))
	pool := connect(t, admin)
	run(t, pool, insertActive, "alice")
	eventually(t, "the store is up", up(s))
	run(t, pool, trigger("slow", "BEFORE UPDATE", "PERFORM pg_sleep(1); RETURN NEW;"))
	for range 3 {
		_, err := s.Charge(t.Context(), attempt("alice"), usual)
		expectUnavailable(t, err, "statement_timeout")
		if s.Health().Unavailable || !s.Health().Up() {
			t.Errorf("it counts as an outage: %v", s.Health().Writing)
		}
	}
}

// trigger is SQL that makes a row trigger on users, with this timing and body.
func trigger(name, timing, body string) string {
	return `CREATE FUNCTION ` + name + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + ` END $$;
		CREATE TRIGGER ` + name + ` ` + timing + ` ON users FOR EACH ROW EXECUTE FUNCTION ` + name + `()`
}
