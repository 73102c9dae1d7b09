// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

var usual = store.Limits{Attempts: 5, Duration: 15 * time.Minute}

func attempt(username string) store.Attempt {
	return store.Attempt{Username: username, Alias: "digest", Source: "192.0.2.7", UserAgent: "a browser"}
}

// insertActive makes a row that may log in.
const insertActive = "INSERT INTO users (username, password_hash) VALUES ($1, 'hash')"

func charge(t *testing.T, s *Store, username string) store.Charged {
	t.Helper()
	c, err := s.Charge(t.Context(), attempt(username), usual)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// replicas are stores of their own on one database.
func replicas(t *testing.T, dsns ...string) []*Store {
	t.Helper()
	var list []*Store
	for _, dsn := range dsns {
		settings := quick(dsn)
		settings.MaxConns = 8
		settings.StatementTimeout = patience // of a hundred that wait for one row, the last waits for long
		list = append(list, ready(t, settings))
	}
	return list
}

func TestOf100ChargesByFourReplicasFiveAreCheckedAndOneLocks(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string][4]string{
		"as usual": {},
		"where roles have other isolation levels by default": {
			"default_transaction_isolation=repeatable%20read", "default_transaction_isolation=serializable",
			"default_transaction_isolation=repeatable%20read", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Database(t)
			var dsns []string
			for _, p := range parameters {
				dsns = append(dsns, with(dsn, p))
			}
			stores := replicas(t, dsns...)
			pool := connect(t, dsn)
			for _, username := range []string{"alice", "bob", "carol"} {
				run(t, pool, insertActive, username)
				verdicts, locks := chargeAtOnce(t, 100, stores, username, usual)
				if want := map[store.Verdict]int{store.Check: 5, store.Locked: 95}; !maps.Equal(verdicts, want) || locks != 1 {
					t.Errorf("%s: the verdicts are %v, and %d locked; want %v and 1", username, verdicts, locks, want)
				}
			}
			if n := value[int](t, pool, "SELECT count(*) FROM login_attempts"); n != 300 {
				t.Errorf("%d records, want 300", n)
			}
			if n := value[int](t, pool, "SELECT count(*) FROM users JOIN login_attempts USING (username) "+
				"WHERE users.locked_until = login_attempts.locked_until AT TIME ZONE 'UTC' AND outcome = 'pending'"); n != 3 {
				t.Errorf("%d rows have the lock that is on record, want 3", n)
			}
		})
	}
}

// chargeAtOnce counts the verdicts of charges that are made at once, and those that wrote a lock.
func chargeAtOnce(t *testing.T, n int, stores []*Store, username string, limits store.Limits) (map[store.Verdict]int, int) {
	t.Helper()
	var (
		mu       sync.Mutex
		all      sync.WaitGroup
		verdicts = map[store.Verdict]int{}
		locks    = 0
		start    = make(chan struct{})
	)
	for i := range n {
		all.Go(func() {
			<-start
			c, err := stores[i%len(stores)].Charge(t.Context(), attempt(username), limits)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			verdicts[c.Verdict]++
			if c.Locks {
				locks++
			}
		})
	}
	close(start)
	all.Wait()
	return verdicts, locks
}

func TestChargesAndFailuresOfAnotherProgramAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	stores := replicas(t, dsn, dsn)
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	other := start(func() (n int, err error) {
		for ; n < 50 && err == nil; n++ {
			_, err = pool.Exec(t.Context(), "UPDATE users SET failed_login_attempts = failed_login_attempts + 1")
		}
		return n, err
	})
	chargeAtOnce(t, 50, stores, "alice", store.Limits{Attempts: 1000, Duration: time.Minute})
	if _, err := other.wait(t); err != nil {
		t.Fatal(err)
	}
	if failed := value[int](t, pool, "SELECT failed_login_attempts FROM users"); failed != 100 {
		t.Errorf("the counter is %d, want 100", failed)
	}
}

func TestFailuresOnOneReplicaAndAnotherLockOnBothAndAfterARestart(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	one, two := ready(t, quick(dsn)), ready(t, quick(dsn))
	run(t, connect(t, dsn), insertActive, "alice")
	for range 4 {
		charge(t, one, "alice")
	}
	if c := charge(t, two, "alice"); !c.Locks {
		t.Errorf("got %+v, want the lock", c)
	}
	one.Close()
	for _, s := range []*Store{two, ready(t, quick(dsn))} {
		if c := charge(t, s, "alice"); c.Verdict != store.Locked {
			t.Errorf("got %+v, want a refusal", c)
		}
	}
}

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
		want store.Charged
	}{
		"a failure more": {
			"UPDATE users SET failed_login_attempts = 4",
			store.Charged{Verdict: store.Check, PasswordHash: "hash", Locks: true},
		},
		"a failure more, and the lock not yet": {
			"UPDATE users SET failed_login_attempts = 5",
			store.Charged{Verdict: store.Check, PasswordHash: "hash", Locks: true},
		},
		"a clean counter": {
			"UPDATE users SET failed_login_attempts = 0, last_login_at = now()",
			store.Charged{Verdict: store.Check, PasswordHash: "hash"},
		},
		"a lock":         {"UPDATE users SET locked_until = now() + INTERVAL '1 hour'", store.Charged{Verdict: store.Locked}},
		"a lock forever": {"UPDATE users SET locked_until = 'infinity'", store.Charged{Verdict: store.Locked}},
		"not active":     {"UPDATE users SET active = false", store.Charged{Verdict: store.Inactive}},
		"deleted":        {"DELETE FROM users", store.Charged{Verdict: store.Unknown}},
		"renamed":        {"UPDATE users SET username = 'bob'", store.Charged{Verdict: store.Unknown}},
		"another hash": {
			"UPDATE users SET password_hash = 'another', roles = '[\"x\"]'",
			store.Charged{Verdict: store.Check, PasswordHash: "another", Roles: []string{"x"}, Locks: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s := ready(t, quick(dsn))
			pool := connect(t, dsn)
			run(t, pool, "INSERT INTO users (username, password_hash, failed_login_attempts) VALUES ('alice', 'hash', 4)")
			tx := hold(t, pool, tt.sql)
			call := start(func() (store.Charged, error) { return s.Charge(t.Context(), attempt("alice"), usual) })
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

func TestAChargeTellsTheTimeOnceItsWaitIsOver(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	run(t, pool, "UPDATE users SET failed_login_attempts = 5, locked_until = clock_timestamp() + INTERVAL '300 ms'")
	tx := hold(t, pool, "SELECT FROM users FOR UPDATE") // and so leaves no newer row behind
	call := start(func() (store.Charged, error) {
		return s.Charge(t.Context(), attempt("alice"), store.Limits{Attempts: 1, Duration: time.Minute})
	})
	waits(t, pool, 1)
	eventually(t, "the lock runs out", func() bool {
		return value[bool](t, pool, "SELECT locked_until <= clock_timestamp() FROM users")
	})
	over := value[time.Time](t, pool, "SELECT clock_timestamp()")
	commit(t, tx)
	c, err := call.wait(t)
	if err != nil || c.Verdict != store.Check {
		t.Fatalf("got %+v, %v; want a check, since the lock ran out during the wait", c, err)
	}
	if until := value[time.Time](t, pool, "SELECT locked_until::timestamptz FROM users"); until.Before(over.Add(time.Minute)) {
		t.Errorf("locked until %v, want a minute from %v or later", until, over)
	}
	if at := value[time.Time](t, pool, "SELECT attempted_at FROM login_attempts"); at.Before(over) {
		t.Errorf("the attempt is on record at %v, want %v or later", at, over)
	}
}

func TestASettlementThatWaitedForARowDecidesByWhatItBecame(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql    string
		stands bool
		failed int
		locked bool
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
			stands, err := call.wait(t)
			if err != nil || stands != tt.stands {
				t.Errorf("stands is %t, %v, want %t", stands, err, tt.stands)
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

func TestADatabaseThatIsNotInUTF8HasNoAccountThatItCannotWrite(t *testing.T) {
	t.Parallel()
	for encoding, parameter := range map[string]string{"LATIN1": "client_encoding=UTF8", "EUC_JP": ""} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			dsn := with(testenv.Database(t), parameter)
			_, database := names(t, dsn)
			admin := connect(t, testenv.Server(t).DSN())
			run(t, admin, "DROP DATABASE "+database)
			run(t, admin, "CREATE DATABASE "+database+" TEMPLATE template0 LOCALE 'C' ENCODING '"+encoding+"'")
			s := ready(t, quick(dsn))
			run(t, connect(t, dsn), insertActive, "admin")
			for username, want := range map[string]store.Verdict{
				"admin": store.Check, "аdmin": store.Unknown, "日本": store.Unknown,
			} {
				a := store.Attempt{Username: username, Alias: "digest", Source: username, UserAgent: username}
				if c, err := s.Charge(t.Context(), a, usual); err != nil || c.Verdict != want {
					t.Errorf("%s: got %+v, %v, want %s", username, c, err, want)
				}
			}
			snapshot, err := s.Snapshot(t.Context(), []string{"x", "аdmin", "y", "日本", "admin", "Ünal", "\x00"})
			if err != nil || len(snapshot) != 7 || snapshot["admin"].Row == nil {
				t.Errorf("the snapshot is %+v, %v", snapshot, err)
			}
			for username, o := range snapshot {
				if !o.Now.Equal(snapshot["admin"].Now) || (o.Row != nil) != (username == "admin") {
					t.Errorf("of %q there is %+v", username, o)
				}
			}
		})
	}
}

func TestAColumnThatRoundsTimesKeepsALockItsOwn(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, "ALTER TABLE users ALTER locked_until TYPE TIMESTAMP(0)")
	run(t, pool, insertActive, "alice")
	var last store.Charged
	for range 5 {
		last = charge(t, s, "alice")
	}
	if stands, err := s.Settle(t.Context(), last, true); err != nil || !stands {
		t.Errorf("stands is %t, %v", stands, err)
	}
	if value[bool](t, pool, "SELECT locked_until IS NOT NULL FROM users") {
		t.Error("the success did not lift its lock")
	}
}

func TestSeveralReplicasPurgeAtOnce(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	stores := replicas(t, dsn, dsn, dsn)
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent) "+
		"SELECT now() - n * INTERVAL '1 hour', 'alice', 'failed', '', '' FROM generate_series(1, 1000) n")
	purged := make(chan int)
	for _, s := range stores {
		go func() {
			sum := 0
			for {
				n, err := s.PurgeAttempts(t.Context(), 100*time.Hour+time.Minute, 70)
				if err != nil {
					t.Error(err)
				}
				if sum += n; n == 0 {
					break
				}
			}
			purged <- sum
		}()
	}
	sum := 0
	for range stores {
		sum += <-purged
	}
	if left := value[int](t, pool, "SELECT count(*) FROM login_attempts"); sum != 900 || left != 100 {
		t.Errorf("%d were purged and %d are left, want 900 and 100", sum, left)
	}
}
