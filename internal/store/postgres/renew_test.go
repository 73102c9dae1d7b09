// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// server starts a server that ends with the test.
func server(t *testing.T, start func() (*testenv.Postgres, error)) *testenv.Postgres {
	t.Helper()
	started, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	return started
}

func anotherServer(t *testing.T) *testenv.Postgres {
	t.Helper()
	return server(t, func() (*testenv.Postgres, error) { return testenv.StartPostgres(t.Context()) })
}

func newDatabase(t *testing.T, server *testenv.Postgres) string {
	t.Helper()
	dsn, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func hostOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// file is a DSN that changes.
type file struct{ dsn atomic.Pointer[string] }

func (f *file) write(dsn string) { f.dsn.Store(&dsn) }

func (f *file) read() (string, error) { return *f.dsn.Load(), nil }

// relay is an address that moves as an entry of DNS does: connections that are there go on to the former server.
type relay struct {
	listener net.Listener
	upstream atomic.Pointer[string]
	open     sync.WaitGroup
}

func newRelay(t *testing.T, dsn string) *relay {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener}
	r.lead(t, dsn)
	r.open.Go(r.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		r.open.Wait() // the store's connections were closed before
	})
	return r
}

// lead makes new connections lead to the server of a DSN.
func (r *relay) lead(t *testing.T, dsn string) {
	t.Helper()
	host := hostOf(t, dsn)
	r.upstream.Store(&host)
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", *r.upstream.Load()) //nolint:noctx // ends with its client
		if err != nil {
			_ = client.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			r.open.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				_, _ = way[0].Close(), way[1].Close()
			})
		}
	}
}

// ourSessions counts the operator's sessions in the database of a pool.
func ourSessions(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	return value[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
		"AND application_name = $1", applicationName)
}

// A switch makes the DSN of a store lead to another database while the former one goes on.
type switchOver struct {
	from, to string // direct DSNs
	settings Settings
	move     func()
}

var switchOvers = map[string]func(t *testing.T) switchOver{
	"the file names another database of the server": func(t *testing.T) switchOver {
		t.Helper()
		return byFile(testenv.Database(t), testenv.Database(t))
	},
	"the file names a database of another server": func(t *testing.T) switchOver {
		t.Helper()
		return byFile(testenv.Database(t), newDatabase(t, anotherServer(t)))
	},
	"both files name another database, one after the other": func(t *testing.T) switchOver {
		t.Helper()
		over := byFile(testenv.Database(t), testenv.Database(t))
		var direct file
		direct.write(over.from)
		over.settings.ListenDSN = direct.read
		pool := over.move
		over.move = func() {
			direct.write(over.to)
			time.AfterFunc(2*time.Second, pool)
		}
		return over
	},
	"the address moves to another server": func(t *testing.T) switchOver {
		t.Helper()
		other := anotherServer(t)
		from := testenv.Database(t)
		_, name := names(t, from)
		admin := connect(t, other.DSN())
		run(t, admin, "CREATE DATABASE "+name)
		old, err := connConfig(fixed(from))
		if err != nil {
			t.Fatal(err)
		}
		run(t, admin, "ALTER ROLE "+old.User+" PASSWORD '"+old.Password+"'")
		to, err := testenv.WithAddr(from, hostOf(t, other.DSN()))
		if err != nil {
			t.Fatal(err)
		}
		r := newRelay(t, from)
		through, err := testenv.WithAddr(from, r.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return switchOver{from: from, to: to, settings: quick(through), move: func() { r.lead(t, to) }}
	},
}

func byFile(from, to string) switchOver {
	var f file
	f.write(from)
	settings := quick("")
	settings.DSN = f.read
	return switchOver{from: from, to: to, settings: settings, move: func() { f.write(to) }}
}

func TestASwitchOfDatabaseLeavesNoSessionAndReportsEveryUser(t *testing.T) {
	t.Parallel()
	for name, prepare := range switchOvers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := prepare(t)
			var log logged
			over.settings.Log, over.settings.MinIdleConns = log.logger(), 5
			s := ready(t, over.settings)
			w := watch(t, s)
			from, to := connect(t, over.from), connect(t, over.to)
			for _, username := range []string{"alice", "bob"} {
				if _, err := s.Apply(t.Context(), creation(username)); err != nil {
					t.Fatal(err)
				}
				w.told(t, username)
			}
			eventually(t, "the store is current", func() bool { return s.Health().Current })
			run(t, to, plainTable)
			run(t, to, insert, "carol")
			w.forget()

			over.move()
			eventually(t, "the store is no longer current", func() bool { return !s.Health().Current })
			eventually(t, "no session is left", func() bool { return ourSessions(t, from) == 0 })
			eventually(t, "the store is current", func() bool { return s.Health().Current })
			if n := listeners(t, to); n != 1 {
				t.Errorf("%d connections listen in the new database, want 1", n)
			}
			for _, username := range []string{"alice", "bob", "carol"} {
				w.told(t, username)
			}
			for _, username := range []string{"alice", "bob"} {
				eventually(t, "the user is created", func() bool { return applied(t, s, creation(username)) == nil })
			}
			if n := ourSessions(t, from); n != 0 {
				t.Errorf("%d sessions came back", n)
			}
			if n := strings.Count(log.String(), "lead to another database"); n != 1 {
				t.Errorf("the log has the switch %d times: %s", n, log.String())
			}
		})
	}
}

func TestAfterAFailoverBehindOneAddressAllSessionsMove(t *testing.T) {
	t.Parallel()
	primary := anotherServer(t)
	from := newDatabase(t, primary)
	standby := server(t, func() (*testenv.Postgres, error) { return primary.NewStandby(t.Context()) })
	r := newRelay(t, from)
	through, err := testenv.WithAddr(from, r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var log logged
	settings := quick(through)
	settings.Log = log.logger()
	s := ready(t, settings)
	w := watch(t, s)
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	w.told(t, "alice")
	eventually(t, "the store is current", func() bool { return s.Health().Current })
	if err := standby.CatchUp(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	to, err := standby.On(from)
	if err != nil {
		t.Fatal(err)
	}
	former := connect(t, from)
	w.caughtUp(t, former)

	r.lead(t, to) // the standby, to begin with
	eventually(t, "no session is left", func() bool { return ourSessions(t, former) == 0 })
	expectUnavailable(t, applied(t, s, creation("bob")), "read-only")
	if s.Health().Current {
		t.Error("a standby cannot notify, and the store is current")
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	eventually(t, "writes resume", func() bool { return applied(t, s, creation("bob")) == nil })
	if took := time.Since(promoted); took > 10*time.Second {
		t.Errorf("writes resumed after %v", took)
	}
	eventually(t, "the store is current", func() bool { return s.Health().Current })
	w.told(t, "bob")
	if n := w.of("alice"); n != 0 {
		t.Errorf("an account that did not change was reported %d times", n)
	}
	if strings.Contains(log.String(), "lead to another database") {
		t.Errorf("the log has another database: %s", log.String())
	}
}

func TestARotatedCredentialRenewsTheSessionsOnceItIsAccepted(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	var f file
	f.write(dsn)
	var log logged
	settings := quick("")
	settings.DSN, settings.Log = f.read, log.logger()
	s := ready(t, settings)
	w := watch(t, s)
	if _, err := s.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	w.told(t, "alice")
	eventually(t, "the store is current", func() bool { return s.Health().Current })
	w.caughtUp(t, pool)
	old, err := connConfig(fixed(dsn))
	if err != nil {
		t.Fatal(err)
	}

	f.write(strings.Replace(dsn, old.Password, "the-next-one", 1)) // before the server knows it
	looks := time.NewTicker(20 * time.Millisecond)
	defer looks.Stop()
	for range 50 {
		<-looks.C
		if s.sessions.Renewals() > 0 || !s.Health().Notified {
			t.Fatal("the sessions that are there do not go on")
		}
	}
	run(t, pool, "ALTER ROLE "+role+" PASSWORD 'the-next-one'")
	eventually(t, "the sessions are renewed", func() bool { return s.sessions.Renewals() > 0 })
	eventually(t, "the store is current", func() bool { return s.Health().Current })
	if strings.Contains(log.String(), "All connections lead to") {
		t.Errorf("the rotation is in the log as a switch: %s", log.String())
	}
	if n := w.of("alice"); n != 0 {
		t.Errorf("an account that did not change was reported %d times", n)
	}
}
