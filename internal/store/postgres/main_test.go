// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// patience is how long a test waits for something that has to come.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	if err := testenv.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if code == 0 {
		err := goleak.Find()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// A template is a database that tests get copies of. The first who asks fills it.
type template struct {
	once sync.Once
	dsn  string
}

// copy returns the DSN of a fresh copy. Fill gets an empty database, and leaves nobody connected to it.
func (m *template) copy(t *testing.T, fill func(dsn string)) string {
	t.Helper()
	m.once.Do(func() {
		dsn, err := testenv.Server(t).NewDatabase(t.Context()) // it outlives the test
		if err != nil {
			t.Fatal(err)
		}
		fill(dsn)
		m.dsn = dsn
	})
	if m.dsn == "" {
		t.Fatal("the test that came first did not fill the template")
	}
	return testenv.DatabaseLike(t, m.dsn)
}

var schemaTemplate template

// databaseWithSchema is the DSN of a fresh database with a complete schema. Tests of the migrations take testenv.Database, which is
// empty.
func databaseWithSchema(t *testing.T) string {
	t.Helper()
	return schemaTemplate.copy(t, func(dsn string) {
		s := open(t, quick(dsn))
		defer s.Close()
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// fixed is a DSN that does not change.
func fixed(dsn string) DSNSource { return func() (string, error) { return dsn, nil } }

// quick are settings under which a test does not wait for long.
func quick(dsn string) Settings {
	return Settings{
		DSN: fixed(dsn), MinIdleConns: -1, ResyncInterval: 300 * time.Millisecond, PollInterval: 100 * time.Millisecond,
		CheckInterval: 500 * time.Millisecond,
	}
}

// open opens a store that is closed when the test ends.
func open(t *testing.T, settings Settings) *Store {
	t.Helper()
	s, err := Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	s.timing.lastRetry, s.observer.Timing.LastRetry = 200*time.Millisecond, 200*time.Millisecond
	s.observer.Timing.Requests = 50 * time.Millisecond
	s.timing.catalogue = patience // a busy machine does not keep the catalog from explaining a refusal
	t.Cleanup(s.Close)
	return s
}

// maintained opens a store, and maintains it until the test ends.
func maintained(t *testing.T, settings Settings) *Store {
	t.Helper()
	s := open(t, settings)
	background(t, func(ctx context.Context) {
		if err := s.Maintain(ctx); err != nil {
			t.Errorf("Maintain: %v", err)
		}
	})
	return s
}

// ready is maintained, and waits until the schema is complete.
func ready(t *testing.T, settings Settings) *Store {
	t.Helper()
	s := maintained(t, settings)
	select {
	case <-s.migrated:
	case <-time.After(patience):
		t.Fatal("the schema did not become complete")
	}
	return s
}

// up returns a condition for eventually.
func up(s *Store) func() bool { return func() bool { return s.Health().Up() } }

// unavailable and notified are as up.
func isUnavailable(s *Store) func() bool { return func() bool { return s.Health().Unavailable } }
func notified(s *Store) func() bool      { return func() bool { return s.Health().Notified } }

// background runs do until the test ends.
func background(t *testing.T, do func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("%s: it did not come about", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// connect is a pool of connections apart from the store's, in UTC as the sharding manager's are.
func connect(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	config, err := parse(fixed(dsn))
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = "another program"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// run runs statements.
func run(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// value is what a query yields in its only row and column.
func value[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// names are the role and the database of a DSN.
func names(t *testing.T, dsn string) (role, database string) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return config.User, config.Database
}

// with is the DSN, a URL, with one more parameter.
func with(dsn, parameter string) string {
	if parameter == "" {
		return dsn
	}
	if strings.Contains(dsn, "?") {
		return dsn + "&" + parameter
	}
	return dsn + "?" + parameter
}

// applied is the error of a change.
func applied(t *testing.T, s interface {
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
}, change user.Change,
) error {
	t.Helper()
	_, err := s.Apply(t.Context(), change)
	return err
}

// creation is a change that creates a row.
func creation(username string) user.Change {
	return user.Change{
		Verb: user.Create, Username: username, Deletion: "Delete", Generation: 1, Active: true,
		Owner: user.Owner{Cluster: "cluster", Namespace: "team", Name: "name-" + username, UID: "uid-" + username},
	}
}

// logged collects what is logged.
type logged struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
