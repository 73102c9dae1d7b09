// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// hold opens a transaction of another program that has written, and so keeps the row.
func hold(t *testing.T, pool *pgxpool.Pool, sql string) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	return tx
}

// waits waits until so many sessions wait for a lock.
func waits(t *testing.T, pool *pgxpool.Pool, sessions int) {
	t.Helper()
	eventually(t, "a session waits for a lock", func() bool {
		return value[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND wait_event_type = 'Lock'") == sessions
	})
}

// promise is what a call in the background comes to.
type promise[T any] struct {
	value T
	err   error
	done  chan struct{}
}

func start[T any](call func() (T, error)) *promise[T] {
	p := &promise[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value, p.err = call()
	}()
	return p
}

func (p *promise[T]) wait(t *testing.T) (T, error) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the call did not return")
	}
	return p.value, p.err
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAChargeThatWaitedForARowDecidesByWhatItBecame(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql  string
		want store.Charge
	}{
		"a failure more": {
			"UPDATE users SET failed_login_attempts = 4",
			store.Charge{Verdict: store.Check, PasswordHash: "hash", Locks: true},
		},
		"a failure more, and the lock not yet": {
			"UPDATE users SET failed_login_attempts = 5",
			store.Charge{Verdict: store.Check, PasswordHash: "hash", Locks: true},
		},
		"a clean counter": {
			"UPDATE users SET failed_login_attempts = 0, last_login_at = now()",
			store.Charge{Verdict: store.Check, PasswordHash: "hash"},
		},
		"a lock":         {"UPDATE users SET locked_until = now() + INTERVAL '1 hour'", store.Charge{Verdict: store.Locked}},
		"a lock forever": {"UPDATE users SET locked_until = 'infinity'", store.Charge{Verdict: store.Locked}},
		"not active":     {"UPDATE users SET active = false", store.Charge{Verdict: store.Inactive}},
		"deleted":        {"DELETE FROM users", store.Charge{Verdict: store.Unknown}},
		"renamed":        {"UPDATE users SET username = 'bob'", store.Charge{Verdict: store.Unknown}},
		"another hash": {
			"UPDATE users SET password_hash = 'another', roles = '[\"x\"]'",
			store.Charge{Verdict: store.Check, PasswordHash: "another", Roles: []string{"x"}, Locks: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, "INSERT INTO users (username, password_hash, failed_login_attempts) VALUES ('alice', 'hash', 4)")
			tx := hold(t, pool, tt.sql)
			call := start(func() (store.Charge, error) { return s.Charge(t.Context(), attempt("alice"), usual) })
			waits(t, pool, 1)
			commit(t, tx)
			got, err := call.wait(t)
			if err != nil {
				t.Fatal(err)
			}
			if got.Verdict != tt.want.Verdict || got.PasswordHash != tt.want.PasswordHash || got.Locks != tt.want.Locks ||
				len(got.Roles) != len(tt.want.Roles) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestAChargeTakesTheTimeAfterItsWait(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, "UPDATE users SET failed_login_attempts = 5, locked_until = clock_timestamp() + INTERVAL '300 ms'")
	tx := hold(t, pool, "SELECT FROM users FOR UPDATE") // and so leaves no newer row behind
	call := start(func() (store.Charge, error) {
		return s.Charge(t.Context(), attempt("alice"), store.Limits{Attempts: 1, Duration: time.Minute})
	})
	waits(t, pool, 1)
	eventually(t, "the lock expires", func() bool {
		return value[bool](t, pool, "SELECT locked_until <= clock_timestamp() FROM users")
	})
	over := value[time.Time](t, pool, "SELECT clock_timestamp()")
	commit(t, tx)
	c, err := call.wait(t)
	if err != nil || c.Verdict != store.Check {
		t.Fatalf("got %+v, %v; want a check, since the lock expired during the wait", c, err)
	}
	if until := value[time.Time](t, pool, "SELECT locked_until::timestamptz FROM users"); until.Before(over.Add(time.Minute)) {
		t.Errorf("locked until %v, want a minute from %v or later", until, over)
	}
	if at := value[time.Time](t, pool, "SELECT attempted_at FROM login_attempts"); at.Before(over) {
		t.Errorf("the attempt is recorded at %v, want %v or later", at, over)
	}
}

func TestASettlementThatWaitedForARowDecidesByWhatItBecame(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql      string
		accepted bool
		failed   int
		locked   bool
	}{
		"a failure more": {"UPDATE users SET failed_login_attempts = failed_login_attempts + 1", true, 0, false},
		"a longer lock":  {"UPDATE users SET locked_until = now() + INTERVAL '1 hour'", true, 5, true},
		"another hash":   {"UPDATE users SET password_hash = 'another'", false, 5, true},
		"not active":     {"UPDATE users SET active = false", false, 5, true},
		"an unlock":      {"UPDATE users SET failed_login_attempts = 0, locked_until = NULL", true, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, "INSERT INTO users (username, password_hash, failed_login_attempts) VALUES ('alice', 'hash', 4)")
			c := charge(t, s, "alice")
			tx := hold(t, pool, tt.sql)
			call := start(func() (bool, error) { return s.Settle(t.Context(), c, true) })
			waits(t, pool, 1)
			commit(t, tx)
			accepted, err := call.wait(t)
			if err != nil || accepted != tt.accepted {
				t.Errorf("accepted is %t, %v, want %t", accepted, err, tt.accepted)
			}
			if failed := value[int](t, pool, "SELECT failed_login_attempts FROM users"); failed != tt.failed {
				t.Errorf("the counter is %d, want %d", failed, tt.failed)
			}
			if locked := value[bool](t, pool, "SELECT locked_until IS NOT NULL FROM users"); locked != tt.locked {
				t.Errorf("locked is %t, want %t", locked, tt.locked)
			}
		})
	}
}
