// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestSQLSTATEsGetAMeaning(t *testing.T) {
	t.Parallel()
	at := dsnIdentity{role: "app", schema: "accounts"}
	for code, want := range map[string]struct {
		kind  kind
		words string
	}{
		"40001": {conflict, ""},
		"40P01": {conflict, ""},
		"23505": {statement, "SQLSTATE 23505"},
		"25006": {readOnly, "read-only"},
		"28P01": {unavailable, "rejected the login"},
		"28000": {unavailable, "rejected the login"},
		"3D000": {unavailable, "does not exist"},
		"3F000": {refusing, "do not exist yet"},
		"42P07": {refusing, "rename that one"},
		"42P01": {refusing, "do not exist yet"},
		"42703": {refusing, "column"},
		"42501": {refusing, `GRANT USAGE, CREATE ON SCHEMA "accounts" TO "app"`},
		"53100": {refusing, "disk is full"},
		"53200": {refusing, "short of resources (SQLSTATE 53200)"},
		"53300": {unavailable, "max_connections"},
		"55P03": {blocked, "holds a lock"},
		"57014": {unavailable, "statement_timeout"},
		"57P01": {unavailable, "starting up or shutting down"},
		"57P02": {unavailable, "starting up or shutting down"},
		"57P03": {unavailable, "starting up or shutting down"},
		"57P05": {unavailable, "ended the call"},
		"08006": {unavailable, "broke"},
		"08P01": {unavailable, "broke"},
		"26000": {refusing, "default_query_exec_mode=exec"},
		"42P05": {refusing, "default_query_exec_mode=exec"},
		"0A000": {statement, "SQLSTATE 0A000"},
		"23514": {statement, "SQLSTATE 23514"},
		"22001": {statement, "SQLSTATE 22001"},
		"P0001": {statement, "SQLSTATE P0001"},
		"XX000": {refusing, "SQLSTATE XX000"},
		"":      {refusing, "SQLSTATE"},
	} {
		err := fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: "canary", Detail: "canary", Hint: "canary", Where: "canary"})
		got := classify(err, at, 5*time.Second)
		if got.kind != want.kind || !strings.Contains(got.sentence, want.words) || strings.Contains(got.sentence, "canary") {
			t.Errorf("%q: got %d, %q; want %d, %q", code, got.kind, got.sentence, want.kind, want.words)
		}
	}
}

func TestARightThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	at := dsnIdentity{role: `a"pp`, schema: "public"}
	for message, want := range map[string]string{
		"permission denied for table users":       `GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "users" TO "a""pp";`,
		"permission denied for schema accounts":   `GRANT USAGE, CREATE ON SCHEMA "accounts" TO "a""pp";`,
		`permission denied for database "shards"`: `GRANT CONNECT ON DATABASE "shards" TO "a""pp";`,
		"keine Berechtigung für Tabelle users":    `ON TABLE users, shardinguser_ownership, login_attempts, account_changes, shardinguser_merges, shardinguser_probes, shardinguser_familiar TO "a""pp";`,
	} {
		got := classify(&pgconn.PgError{Code: "42501", Message: message}, at, 0)
		if !strings.Contains(got.sentence, want) {
			t.Errorf("%s: got %s, want %s", message, got.sentence, want)
		}
	}
}

func TestAPoolerThatRejectsOurStartUpParametersIsReported(t *testing.T) {
	t.Parallel()
	got := classify(&pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: search_path"}, dsnIdentity{role: "app", schema: "public"}, 0)
	if got.kind != unavailable || !strings.Contains(got.sentence, "ignore_startup_parameters = search_path") {
		t.Errorf("got %d, %q", got.kind, got.sentence)
	}
}

func TestFailuresOfTheWayToTheServerGetASentence(t *testing.T) {
	t.Parallel()
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5432}, Err: err}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{dial(syscall.ECONNREFUSED), "Cannot connect to the database at 192.0.2.1:5432"},
		{dial(syscall.EHOSTUNREACH), "there is no route to 192.0.2.1:5432."},
		{dial(&net.DNSError{Name: "db.example", IsNotFound: true}), `"db.example" cannot be resolved`},
		{dial(&net.DNSError{Name: "canary.example", IsNotFound: true}), "The database's host name cannot be resolved."},
		{context.DeadlineExceeded, "did not answer within 5s"},
		{io.ErrUnexpectedEOF, "broke"},
		{dial(syscall.ECONNRESET), "broke"},
		{pgconn.ErrReadOnlyConnection, "target_session_attrs"},
		{errors.New("canary"), "The database is unreachable; check the host and the port in the DSN."},
	} {
		got := classify(fmt.Errorf("wrapped: %w", test.err), dsnIdentity{hosts: []string{"db.example"}}, 5*time.Second)
		if got.kind != unavailable || !strings.Contains(got.sentence, test.want) || strings.Contains(got.sentence, "canary") {
			t.Errorf("%v: got %d, %q; want %q", test.err, got.kind, got.sentence, test.want)
		}
	}
}

// A connection attempt has a limit of its own, which can be shorter than that of the call.
func TestTheLimitThatEndedTheWaitIsNamed(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	s := open(t, quick("postgres://app@"+silent.Addr().String()+"/db?sslmode=disable&connect_timeout=1"))
	expectUnavailable(t, s.Migrate(t.Context()), "did not accept a connection within 1s (connect_timeout)")
	s.settings.StatementTimeout = 100 * time.Millisecond
	_, err = s.Observe(t.Context(), "alice")
	expectUnavailable(t, err, "did not answer within 100ms")
}

func TestNoSentenceEverHoldsThePassword(t *testing.T) {
	t.Parallel()
	const canary = "c4nary/p@ss word"
	good := testenv.Role(t, testenv.Database(t))
	parsed, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	at := func(edit func(*url.URL)) string {
		u := *parsed
		u.User = url.UserPassword(u.User.Username(), canary)
		edit(&u)
		return u.String()
	}
	escaped := url.QueryEscape(canary)
	for name, dsn := range map[string]string{
		"a wrong password":         at(func(*url.URL) {}),
		"nobody there":             at(func(u *url.URL) { u.Host = "127.0.0.1:1" }),
		"no such host":             at(func(u *url.URL) { u.Host = "no-such-host.invalid:5432" }),
		"no TLS":                   at(func(u *url.URL) { u.RawQuery = "sslmode=require" }),
		"a bad port":               at(func(u *url.URL) { u.RawQuery = "port=x" }),
		"a bad sslmode":            at(func(u *url.URL) { u.RawQuery = "sslmode=perhaps" }),
		"a password not escaped":   "postgres://user:" + canary + "@127.0.0.1:5432/db",
		"a password as parameter":  "postgres://127.0.0.1:1/db?user=x&password=" + escaped,
		"a broken list of pairs":   "host=127.0.0.1 user=x password='" + canary,
		"a broken pair":            "host=127.0.0.1 " + canary,
		"a missing key's password": "host=127.0.0.1 user=x sslkey=/nowhere sslcert=/nowhere sslmode=require sslpassword='" + canary + "'",
	} {
		t.Run(name, func(t *testing.T) {
			var log logged
			settings := quick(dsn)
			settings.Log = log.logger()
			var errs []error
			s, err := Open(settings)
			if err != nil {
				errs = append(errs, err)
			} else {
				defer s.Close()
				_, err := s.Observe(t.Context(), "alice")
				errs = append(errs, err, applied(t, s, creation("alice")), s.Migrate(t.Context()))
			}
			for _, err := range errs {
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("got %v, want an UnavailableError", err)
				}
				said := fmt.Sprintf("%v %+v %s %q", err, err, err, err) + log.String()
				for _, secret := range []string{canary, escaped, "c4nary", "p@ss"} {
					if strings.Contains(said, secret) {
						t.Errorf("it says %q", said)
					}
				}
			}
		})
	}
}

func TestOfADSNThatCanBeReadInTwoWaysNothingIsNamed(t *testing.T) {
	t.Parallel()
	canary := "c4nary" + strings.Repeat("x", 60) // too long for a host, so that no name server has to be asked
	for name, dsn := range map[string]string{
		"an @ in the password":                   "postgres://user:pa@c4nary-tail@127.0.0.1/db",
		"an @ and a / in the password":           "postgres://user:pa@c4nary/tail@127.0.0.1/db",
		"an @ and a : in the password":           "postgres://user:pa@c4nary:1@127.0.0.1:1/db",
		"an @ and a ? in the password":           "postgres://user:pa@c4nary?tail=@127.0.0.1/db",
		"an @ and a , in the password":           "postgres://user:pa@c4nary,tail@127.0.0.1:1/db",
		"an @ in the name":                       "postgresql://user@c4nary@127.0.0.1:1/db",
		"a / in the password":                    "postgres://c4nary:1/tail@127.0.0.1:1/db",
		"an address in the password":             "postgres://user:pa@127.0.0.4/4nary@127.0.0.1:1/db",
		"a socket in the password":               "postgres://user:pa@%2Fc4nary/tail@127.0.0.1:1/db",
		"a percent sign before a host":           "postgres://user:pa@c4nary%2Etail/db",
		"a & in a password among the parameters": "postgres://127.0.0.1:1/db?password=pa&host=c4nary&user=c4nary",
		"a space in an unquoted password":        "host=127.0.0.1 port=1 user=user password=pa c4nary dbname=db",
		"a pair in an unquoted password":         "host=127.0.0.1 port=1 user=user password=pa host=c4nary user=c4nary",
		"a password where the host is missing":   "user=user port=1 host= password=c4nary",
		"a password where the name is missing":   "host=127.0.0.1 port=1 user= password=c4nary",
		"a password in the place of a schema":    "host=127.0.0.1 port=1 search_path= password=c4nary",
		"a quote in an unquoted password":        "host=c4nary'x user=user port=1 password=pa",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := strings.ReplaceAll(dsn, "c4nary", canary)
			for what, settings := range map[string]Settings{
				"of the pool":     {DSN: fixed(dsn)},
				"of the listener": {DSN: fixed("postgres://user@127.0.0.1:1/db"), ListenDSN: fixed(dsn)},
			} {
				said := saidOf(t, settings)
				for _, secret := range []string{"c4nary", "4nary", "127.0.0.4", "tail", "password="} {
					if strings.Contains(said, secret) {
						t.Errorf("%s: it says %q", what, said)
					}
				}
			}
			// Neither is the role or the schema, whatever a server may refuse.
			for _, at := range []dsnIdentity{dsnIdentityOf(fixed(dsn), fixed(dsn)), dsnIdentityOf(fixed("host=h"), fixed(dsn)), dsnIdentityOf(fixed(dsn), fixed("host=h"))} {
				if said := fmt.Sprint(at); strings.Contains(said, "c4nary") {
					t.Errorf("the place is %q", said)
				}
			}
		})
	}
}

// saidOf is all that a store says, by errors and in its log, in its first steps.
func saidOf(t *testing.T, settings Settings) string {
	t.Helper()
	var log logged
	settings.Log, settings.MinIdleConns, settings.StatementTimeout = log.logger(), -1, time.Second
	s, err := Open(settings)
	if err != nil {
		return fmt.Sprintf("%v %+v %q", err, err, err)
	}
	defer s.Close()
	var said strings.Builder
	_, err = s.Observe(t.Context(), "alice")
	errs := []error{err, applied(t, s, creation("alice")), s.Migrate(t.Context())}
	_, err = s.runMigrations(t.Context())
	errs = append(errs, s.failure(t.Context(), err, asks, time.Second))
	o := &observed{Store: s}
	_, err = o.Listen(t.Context(), func(string, string) {})
	said.WriteString(o.Reason(err)) // as it is logged
	for _, err := range errs {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v, want an UnavailableError", err)
		}
		fmt.Fprintf(&said, "%v %+v %q\n", err, err, err)
	}
	return said.String() + log.String()
}

func TestADSNThatCanBeReadInOneWayIsNamed(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]dsnIdentity{
		"postgres://app:pa%40ss:w,rd@db.example:5432/db?sslmode=disable":     {"app", "public", []string{"db.example"}, RoleBoth},
		"postgresql://app@one.example,two.example:5433?search_path=accounts": {"app", "accounts", []string{"one.example", "two.example"}, RoleBoth},
		"postgres://app@[::1]/db":                                                 {"app", "public", []string{"::1"}, RoleBoth},
		"postgres://app@%2Fvar%2Frun/db":                                          {},
		"host=/var/run user=app sslmode=disable":                                  {"app", "public", []string{"/var/run"}, RoleBoth},
		`host = db.example user='app' password='it\'s a = secret' search_path=x `: {"app", "x", []string{"db.example"}, RoleBoth},
		"host=db.example user=app search_path='$user'":                            {"app", "", []string{"db.example"}, RoleBoth},
	} {
		got := dsnIdentityOf(fixed(dsn), fixed(dsn))
		slices.Sort(got.hosts)
		got.hosts = slices.Compact(got.hosts) // with TLS and without
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", dsn, got, want)
		}
	}
}

func TestADSNThatCannotBeReadOrIsEmptyIsReported(t *testing.T) {
	t.Parallel()
	_, err := Open(Settings{DSN: func() (string, error) { return "", errors.New("no file") }})
	expectUnavailable(t, err, "no file")
	_, err = Open(Settings{DSN: fixed(" \n")})
	expectUnavailable(t, err, "is empty")
}
