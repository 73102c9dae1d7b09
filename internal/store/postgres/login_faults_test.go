// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// chargedOnce expects that counter and trail agree, and that no call was charged twice. A call that was given up may
// still be on its way in the database.
func chargedOnce(t *testing.T, pool *pgxpool.Pool, calls int) {
	t.Helper()
	eventually(t, "the database is at rest", func() bool {
		return value[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND state = 'active' AND pid <> pg_backend_pid()") == 0
	})
	failed := value[int](t, pool, "SELECT failed_login_attempts FROM users")
	records := value[int](t, pool, "SELECT count(*) FROM login_attempts WHERE outcome = 'pending'")
	if failed != records || failed > calls {
		t.Errorf("the counter is %d with %d records, after %d calls", failed, records, calls)
	}
}

func TestAChargeThatIsCancelledInTheMidstIsChargedOnceOrNot(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	endless := store.Limits{Attempts: 1000, Duration: time.Minute}

	tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call := start(func() (store.Charge, error) { return s.Charge(ctx, attempt("alice"), endless) })
	waits(t, pool, 1)
	cancel()
	if c, err := call.wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", c, err)
	}
	commit(t, tx)
	chargedOnce(t, pool, 1)

	// At whatever moment it is given up.
	const calls = 60
	for i := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
		_, _ = s.Charge(ctx, attempt("alice"), endless)
		cancel()
	}
	chargedOnce(t, pool, 1+calls)
	if !s.Health().Up() {
		t.Error("it says that the database is down")
	}
}

func TestAConnectionCutBetweenChargeAndSettlementLosesNothing(t *testing.T) {
	t.Parallel()
	direct := databaseWithSchema(t)
	proxy, dsn := testenv.DatabaseProxy(t, direct)
	s := ready(t, quick(dsn))
	pool := connect(t, direct)
	run(t, pool, insertActive, "alice")
	for range 4 {
		charge(t, s, "alice")
	}
	last := charge(t, s, "alice")
	proxy.Cut()
	_, err := s.Settle(t.Context(), last, true)
	expectUnavailable(t, err, "")
	if c, err := s.Charge(t.Context(), attempt("alice"), usual); err == nil {
		t.Errorf("charged without a database: %+v", c)
	}
	if value[bool](t, pool, "SELECT locked_until IS NULL FROM users") {
		t.Error("the charge did not stay")
	}

	proxy.Restore()
	eventually(t, "the success is settled", func() bool {
		accepted, err := s.Settle(t.Context(), last, true)
		return err == nil && accepted
	})
	if value[bool](t, pool, "SELECT locked_until IS NOT NULL FROM users") {
		t.Error("the success did not lift its lock")
	}
}

func TestAChargeWhoseAnswerIsLostIsChargedOnceOrNot(t *testing.T) {
	t.Parallel()
	direct := databaseWithSchema(t)
	proxy, dsn := testenv.DatabaseProxy(t, direct)
	settings := quick(dsn)
	settings.StatementTimeout = 2 * time.Second
	s := open(t, settings)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, direct)
	run(t, pool, insertActive, "alice")
	charge(t, s, "alice")

	tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
	call := start(func() (store.Charge, error) { return s.Charge(t.Context(), attempt("alice"), usual) })
	waits(t, pool, 1)
	proxy.Stall()
	commit(t, tx)
	_, err := call.wait(t)
	expectUnavailable(t, err, "did not answer within 2s")
	proxy.Restore()
	chargedOnce(t, pool, 2)
}

func TestARowThatCannotBeChargedIsNotChecked(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	eventually(t, "the store is up", up(s))
	run(t, pool, "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
	run(t, pool, "CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep()")
	c, err := s.Charge(t.Context(), attempt("alice"), usual)
	expectRejected(t, err, "skips the write to the row")
	if c.PasswordHash != "" || c.Verdict != "" {
		t.Errorf("it gives away %+v", c)
	}
	if n := value[int](t, pool, "SELECT count(*) FROM login_attempts"); n != 0 {
		t.Errorf("%d records, want none", n)
	}
	if !s.Health().Up() {
		t.Error("it says that the database is down")
	}
}
