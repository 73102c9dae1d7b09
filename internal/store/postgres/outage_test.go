// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func expectUnavailable(t *testing.T, err error, words string) {
	t.Helper()
	var unavailable *store.UnavailableError
	if !errors.As(err, &unavailable) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want an UnavailableError that says %q", err, words)
	}
}

// expectRejected checks that an error concerns one row, and what it says.
func expectRejected(t *testing.T, err error, words ...string) {
	t.Helper()
	var rejected *store.RejectedError
	if !errors.As(err, &rejected) || !errors.Is(err, store.ErrRejected) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want a RejectedError that says %q", err, words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want it to say %q", err, w)
		}
	}
}

// expectTrouble checks which calls are expected to fail.
func expectTrouble(t *testing.T, s *Store, reading, writing bool) {
	t.Helper()
	known := s.Health()
	if (known.Reading != nil) != reading || (known.Writing != nil) != writing {
		t.Errorf("reading: %v, writing: %v", known.Reading, known.Writing)
	}
}

func TestADatabaseThatIsNotThereYetIsTakenUpWhenItComes(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	proxy.Cut()
	var log logged
	settings := quick(dsn)
	settings.Log = log.logger()
	s := maintained(t, settings)
	w := watch(t, s)
	_, err := s.Observe(t.Context(), "alice")
	expectUnavailable(t, err, "Cannot connect to the database at "+proxy.Addr()+": connection refused")
	if s.Health().Up() {
		t.Error("it says that the database is up")
	}
	eventually(t, "the outage is in the log", func() bool { return strings.Contains(log.String(), "is unavailable") })

	proxy.Restore()
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
	w.told(t, "alice")
	eventually(t, "the recovery is announced", func() bool { return w.recoveries() > 0 })
	eventually(t, "the store is up", up(s))
	if n := strings.Count(log.String(), "connection refused"); n != 1 {
		t.Errorf("the outage is in the log %d times: %s", n, log.String())
	}
}

func TestAConnectionThatBreaksIsAnOutageAndItsEndIsAnnounced(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	s := ready(t, quick(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	proxy.Cut()
	eventually(t, "the store is down", func() bool { return !s.Health().Up() })
	expectTrouble(t, s, true, true)
	expectUnavailable(t, applied(t, s, creation("alice")), "")
	proxy.Restore()
	eventually(t, "the recovery is announced", func() bool { return w.recoveries() > 0 })
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
	w.told(t, "alice")
}

func TestADatabaseThatDoesNotAnswerIsSlowAndNothingHangs(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	settings := quick(dsn)
	settings.StatementTimeout = 2 * time.Second
	s := open(t, settings)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	_, err := s.Observe(t.Context(), "alice")
	expectUnavailable(t, err, "did not answer within 2s")
	proxy.Restore()
	eventually(t, "it answers again", func() bool {
		_, err := s.Observe(t.Context(), "alice")
		return err == nil
	})
}

func TestAReadOnlyDatabaseIsReportedAndLeft(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	_, database := names(t, dsn)
	admin := connect(t, testenv.Server(t).DSN())
	run(t, admin, "ALTER DATABASE "+database+" SET default_transaction_read_only = on")
	s.Pool().Reset() // as when a former primary cuts its clients

	expectUnavailable(t, applied(t, s, creation("alice")), "read-only")
	for range 20 { // reading goes on, and is no reason to call those who want to write
		if _, err := s.Observe(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.recoveries(); n != 0 || s.Health().Up() {
		t.Errorf("%d recoveries were announced, and up is %v", n, s.Health().Up())
	}
	expectTrouble(t, s, false, true)

	run(t, admin, "ALTER DATABASE "+database+" RESET default_transaction_read_only")
	eventually(t, "the recovery is announced", func() bool { return w.recoveries() > 0 })
	// A session that began before that stays read-only, until a write has met it.
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
	eventually(t, "the store is up", up(s))
	expectTrouble(t, s, false, false)
}

func TestAPasswordThatIsRotatedInTheDSNsFileNeedsNoRestart(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	file := filepath.Join(t.TempDir(), "dsn")
	write := func(dsn string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(dsn+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(dsn)
	settings := quick("")
	settings.DSN = func() (string, error) {
		content, err := os.ReadFile(file)
		return string(content), err
	}
	s := ready(t, settings)
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))

	run(t, pool, "ALTER ROLE "+role+" PASSWORD 'the-next-one'")
	run(t, pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
	eventually(t, "the login is refused", func() bool {
		_, err := s.Observe(t.Context(), "alice")
		return err != nil && strings.Contains(err.Error(), "rejected the login")
	})
	old, err := connConfig(fixed(dsn))
	if err != nil {
		t.Fatal(err)
	}
	write(strings.Replace(dsn, old.Password, "the-next-one", 1))
	eventually(t, "a row can be created", func() bool { return applied(t, s, creation("alice")) == nil })
	w.told(t, "alice")
}

func TestAWriteThatWaitsForALockIsNoOutage(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	settings := quick(dsn)
	settings.StatementTimeout = 2 * time.Second
	s := ready(t, settings)
	pool := connect(t, dsn)
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	o, err := s.Observe(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE users SET failed_login_attempts = 1"); err != nil {
		t.Fatal(err)
	}
	change := creation("alice")
	change.Verb, change.Revision, change.ClearLockout = "update", o.Ownership.Revision, true
	expectUnavailable(t, applied(t, s, change), "Another transaction holds a lock")
	if !s.Health().Up() {
		t.Error("it says that the database is down")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a change is made", func() bool {
		// The one before may have come through after all.
		o, err := s.Observe(t.Context(), "alice")
		if err == nil {
			change.Revision = o.Ownership.Revision
			_, err = s.Apply(t.Context(), change)
		}
		return err == nil
	})
}

func TestARejectedRowIsNoOutage(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	run(t, connect(t, dsn), "ALTER TABLE users ADD CONSTRAINT lower_case CHECK (username = lower(username))")
	eventually(t, "the store is up", up(s))
	expectRejected(t, applied(t, s, creation("ALICE")), `constraint "lower_case" of table "users"`)
	if !s.Health().Up() {
		t.Error("it says that the database is down")
	}
}

func TestSeveralHostsAreTriedForOneThatTakesWrites(t *testing.T) {
	t.Parallel()
	dsn := testenv.Database(t)
	proxy := testenv.NewProxy(t, "127.0.0.1:1")
	proxy.Cut()
	host := strings.SplitN(strings.SplitN(dsn, "@", 2)[1], "/", 2)[0]
	several := with(strings.Replace(dsn, host, proxy.Addr()+","+host, 1), "target_session_attrs=read-write")
	s := ready(t, quick(several))
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Error(err)
	}
}

func TestTimesThatNoCalendarHasAreReadAllTheSame(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insert, "alice")
	for sql, locked := range map[string]bool{
		"'infinity'": true, "'-infinity'": false, "'20000-01-01'": true, "'0044-03-15 BC'": false, "NULL": false,
	} {
		run(t, pool, "UPDATE users SET locked_until = "+sql+", last_login_at = "+sql)
		o, err := s.Observe(t.Context(), "alice")
		if err != nil || o.Locked() != locked {
			t.Errorf("%s: locked is %v, %v", sql, o.Locked(), err)
			continue
		}
		if o.Row.LockedUntil != nil {
			if _, err := o.Row.LockedUntil.MarshalJSON(); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}

func TestACloseDuringAnOutageDoesNotHang(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	s := open(t, quick(dsn))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Observe(ctx, "alice"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want the context's own error", err)
	}
	began := time.Now()
	s.Close()
	if took := time.Since(began); took > closeTimeout+10*time.Second {
		t.Errorf("closing took %v", took)
	}
}
