// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// unsent reports whether an error says that the database cannot have got the call.
func unsent(t *testing.T, err error) bool {
	t.Helper()
	var unavailable *store.UnavailableError
	if !errors.As(err, &unavailable) {
		t.Fatalf("got %v, want an UnavailableError", err)
	}
	return unavailable.Unsent
}

func chargeFails(t *testing.T, s *Store, username string) error {
	t.Helper()
	c, err := s.Charge(t.Context(), attempt(username), usual)
	if err == nil {
		t.Fatalf("got %+v, want an error", c)
	}
	return err
}

// awayMeanwhile reports whether the database was ever away while do ran.
func awayMeanwhile(s *Store, do func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	was := false
	for {
		was = was || s.Health().Unavailable
		select {
		case <-done:
			return was
		case <-time.After(time.Millisecond):
		}
	}
}

func TestWithoutAConnectionTheDatabaseIsUnavailableAtOnce(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	s := open(t, quick(dsn)) // nobody checks
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	charge(t, s, "alice")
	if s.Health().Unavailable {
		t.Error("it is unavailable from the beginning")
	}
	proxy.Cut()
	eventually(t, "the connection is no more", func() bool {
		return unsent(t, chargeFails(t, s, "alice")) // the cut may come in the midst of a first one
	})
	if !s.Health().Unavailable {
		t.Error("it is not away")
	}
	_, err := s.Observe(t.Context(), "alice")
	if !unsent(t, err) || !unsent(t, applied(t, s, creation("alice"))) {
		t.Error("another call is not said to be unsent")
	}
}

func TestAUselessDSNMakesTheDatabaseUnavailableUnsent(t *testing.T) {
	t.Parallel()
	good := testenv.Database(t)
	var mu sync.Mutex
	dsn := good
	settings := quick("")
	settings.DSN = func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return dsn, nil
	}
	s := ready(t, settings)
	for _, useless := range []string{"", "postgres://u@127.0.0.1:1/db", with(good, "sslmode=verify-full")} {
		mu.Lock()
		dsn = useless
		mu.Unlock()
		s.Pool().Reset()
		if err := chargeFails(t, s, "alice"); !unsent(t, err) || !s.Health().Unavailable {
			t.Errorf("unsent is %t, and away is %t after: %v", unsent(t, err), s.Health().Unavailable, err)
		}
		mu.Lock()
		dsn = good
		mu.Unlock()
		eventually(t, "it is back", func() bool { return !s.Health().Unavailable })
		charge(t, s, "alice")
	}
}

func TestAStatementOnABrokenConnectionIsNotReportedUnsent(t *testing.T) {
	t.Parallel()
	direct := testenv.Database(t)
	proxy, dsn := testenv.DatabaseProxy(t, direct)
	settings := quick(dsn)
	settings.StatementTimeout = 3 * time.Second
	pool := connect(t, direct)
	for name, disturb := range map[string]func(){"it is cut": proxy.Cut, "nothing passes": proxy.Stall} {
		s := open(t, settings)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		run(t, pool, "DELETE FROM users")
		run(t, pool, "DELETE FROM login_attempts")
		run(t, pool, insertActive, "alice")
		tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
		call := start(func() (store.Charge, error) { return s.Charge(t.Context(), attempt("alice"), usual) })
		waits(t, pool, 1)
		disturb()
		if _, err := call.wait(t); unsent(t, err) {
			t.Errorf("%s: it is said to be unsent: %v", name, err)
		}
		commit(t, tx)
		chargedOnce(t, pool, 1)
		proxy.Restore()
	}
}

func TestAStoppedServerGetsNoStatementOnAClosedConnection(t *testing.T) {
	t.Parallel()
	server, err := testenv.StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	settings := quick(server.DSN())
	settings.MaxConns = 20
	s := open(t, settings)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const calls = 20
	atOnce := func() []error {
		var all sync.WaitGroup
		errs, begin := make([]error, calls), make(chan struct{})
		for i := range errs {
			all.Go(func() {
				<-begin
				_, errs[i] = s.Charge(t.Context(), attempt("alice"), usual)
			})
		}
		close(begin)
		all.Wait()
		return errs
	}
	for range 2 {
		eventually(t, "there are connections", func() bool {
			atOnce()
			return s.Pool().Stat().IdleConns() > calls/2
		})
		if err := server.Halt(t.Context()); err != nil { // at once, before a second's idling makes the pool ask
			t.Fatal(err)
		}
		for _, err := range atOnce() {
			if !unsent(t, err) {
				t.Errorf("it is not said to be unsent: %v", err)
			}
		}
		if !s.Health().Unavailable {
			t.Error("it is not away")
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionsThatTheServerEndedAreNotUsed(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, insertActive, "alice")
	for range 15 {
		run(t, pool, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND application_name = $1", applicationName)
		charge(t, s, "alice")
	}
}

func TestADatabaseMissingAtTheStartIsUnavailableUntilItComes(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	for name, disturb := range map[string]func(){"nothing answers": proxy.Cut, "the network swallows": proxy.Stall} {
		t.Run(name, func(t *testing.T) {
			disturb()
			s := open(t, Settings{DSN: fixed(dsn), MinIdleConns: -1}) // by the usual times
			if s.Health().Unavailable {
				t.Error("it is unavailable before anybody looked")
			}
			background(t, func(ctx context.Context) { _ = s.Maintain(ctx) })
			eventually(t, "it is unavailable", isUnavailable(s))
			proxy.Restore()
			eventually(t, "it is back", func() bool { return !s.Health().Unavailable })
			charge(t, s, "alice")
		})
	}
}

func TestAnOutageAndItsEndAreNoticedWithoutCalls(t *testing.T) {
	t.Parallel()
	proxy, dsn := testenv.DatabaseProxy(t, databaseWithSchema(t))
	s := ready(t, Settings{DSN: fixed(dsn)})
	for name, disturb := range map[string]func(){"it is cut": proxy.Cut, "the network swallows": proxy.Stall} {
		disturb()
		eventually(t, name+", and it is unavailable", isUnavailable(s))
		proxy.Restore()
		eventually(t, name+", and it is back", func() bool { return !s.Health().Unavailable })
		charge(t, s, "alice")
	}
}

func TestALoginFloodDoesNotMakeTheDatabaseUnavailable(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	few := testenv.Role(t, admin)
	role, _ := names(t, few)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	for name, settings := range map[string]Settings{
		"of the pool": {DSN: fixed(few), MaxConns: 2}, "of the server": {DSN: fixed(few), MaxConns: 10},
	} {
		run(t, pool, "ALTER ROLE "+role+" CONNECTION LIMIT -1")
		settings.MinIdleConns, settings.CheckInterval, settings.StatementTimeout = -1, 100*time.Millisecond, 400*time.Millisecond
		s := open(t, settings)
		s.timing.lookPool, s.timing.look = 100*time.Millisecond, patience // a connection of their own may take its time
		background(t, func(ctx context.Context) { _ = s.Maintain(ctx) })
		watch(t, s)
		eventually(t, "it listens", func() bool { return s.Health().Current })
		run(t, pool, "DELETE FROM users")
		run(t, pool, "INSERT INTO users (username, password_hash) SELECT 'user-' || n, 'hash' FROM generate_series(1, 2) n")
		if name == "of the server" {
			run(t, pool, "ALTER ROLE "+role+" CONNECTION LIMIT 3") // one of which listens
		}
		tx := hold(t, pool, "SELECT FROM users FOR UPDATE")
		var busy atomic.Int32
		away := awayMeanwhile(s, func() {
			for range 3 {
				var flood sync.WaitGroup
				for i := range 10 {
					flood.Go(func() {
						if err := chargeFails(t, s, fmt.Sprintf("user-%d", 1+i%2)); unsent(t, err) {
							busy.Add(1)
						}
					})
				}
				flood.Wait()
			}
		})
		if away || !s.Health().Up() || busy.Load() == 0 {
			t.Errorf("%s: away is %t, up is %t, and %d calls got no connection: %v", name, away, s.Health().Up(), busy.Load(), s.Health().Writing)
		}
		commit(t, tx)
	}
}

func TestAServerWithoutFreeConnectionsIsUnavailableAfterAWhile(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	few := testenv.Role(t, admin)
	role, _ := names(t, few)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	s := open(t, quick(few))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	charge(t, s, "alice")
	run(t, pool, "ALTER ROLE "+role+" CONNECTION LIMIT 0")
	s.timing.shortage = time.Hour
	s.Pool().Reset()
	_ = chargeFails(t, s, "alice")
	if s.check(t.Context()); s.Health().Unavailable {
		t.Error("it is unavailable as soon as its own connections are gone")
	}
	s.timing.shortage = time.Millisecond
	backoff.Pause(t.Context(), s.timing.shortage)
	if s.check(t.Context()); !s.Health().Unavailable {
		t.Error("it is not away, though it has no connection and gets none")
	}
	run(t, pool, "ALTER ROLE "+role+" CONNECTION LIMIT 1")
	// The server counts a connection that it refused until that one's process has ended.
	eventually(t, "the database is available", func() bool { s.check(t.Context()); return !s.Health().Unavailable })
}
