// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
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
	at := place{role: "app", schema: "accounts"}
	for code, want := range map[string]struct {
		kind  kind
		words string
	}{
		"40001": {conflict, ""},
		"40P01": {conflict, ""},
		"23505": {conflict, ""},
		"25006": {readOnly, "read-only"},
		"28P01": {away, "refused the log-in"},
		"28000": {away, "refused the log-in"},
		"3D000": {away, "does not exist"},
		"3F000": {refusing, "not there yet"},
		"42P07": {refusing, "rename that one"},
		"42P01": {refusing, "not there yet"},
		"42703": {refusing, "column"},
		"42501": {refusing, `GRANT USAGE, CREATE ON SCHEMA "accounts" TO "app"`},
		"53100": {refusing, "disk is full"},
		"53200": {refusing, "short of resources (SQLSTATE 53200)"},
		"53300": {away, "max_connections"},
		"55P03": {away, "did not answer within 5s"},
		"57014": {away, "did not answer within 5s"},
		"57P01": {away, "starting up or shutting down"},
		"57P02": {away, "starting up or shutting down"},
		"57P03": {away, "starting up or shutting down"},
		"57P05": {away, "ended the call"},
		"08006": {away, "broke"},
		"08P01": {away, "broke"},
		"26000": {away, "default_query_exec_mode=exec"},
		"42P05": {away, "default_query_exec_mode=exec"},
		"23514": {statement, "SQLSTATE 23514"},
		"22001": {statement, "SQLSTATE 22001"},
		"P0001": {statement, "SQLSTATE P0001"},
		"XX000": {refusing, "SQLSTATE XX000"},
		"":      {refusing, "SQLSTATE"},
	} {
		err := fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: "canary", Detail: "canary", Hint: "canary", Where: "canary"})
		got := judge(err, at, 5*time.Second)
		if got.kind != want.kind || !strings.Contains(got.sentence, want.words) || strings.Contains(got.sentence, "canary") {
			t.Errorf("%q: got %d, %q; want %d, %q", code, got.kind, got.sentence, want.kind, want.words)
		}
	}
}

func TestARightThatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	at := place{role: `a"pp`, schema: "public"}
	for message, want := range map[string]string{
		"permission denied for table users":       `GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "users" TO "a""pp";`,
		"permission denied for schema accounts":   `GRANT USAGE, CREATE ON SCHEMA "accounts" TO "a""pp";`,
		`permission denied for database "shards"`: `GRANT CONNECT ON DATABASE "shards" TO "a""pp";`,
		"keine Berechtigung für Tabelle users":    `ON TABLE users, shardinguser_ownership, login_attempts TO "a""pp";`,
	} {
		got := judge(&pgconn.PgError{Code: "42501", Message: message}, at, 0)
		if !strings.Contains(got.sentence, want) {
			t.Errorf("%s: got %s, want %s", message, got.sentence, want)
		}
	}
}

func TestAPoolerThatRefusesOurStartUpParametersIsToldOf(t *testing.T) {
	t.Parallel()
	got := judge(&pgconn.PgError{Code: "08P01", Message: "unsupported startup parameter: search_path"}, place{role: "app", schema: "public"}, 0)
	if got.kind != away || !strings.Contains(got.sentence, "ignore_startup_parameters = search_path") {
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
		{dial(syscall.ECONNREFUSED), "Nothing answers at 192.0.2.1:5432"},
		{dial(syscall.EHOSTUNREACH), "There is no way to 192.0.2.1:5432."},
		{dial(&net.DNSError{Name: "db.example", IsNotFound: true}), `"db.example" cannot be resolved`},
		{context.DeadlineExceeded, "did not answer within 5s"},
		{io.ErrUnexpectedEOF, "broke"},
		{dial(syscall.ECONNRESET), "broke"},
		{pgconn.ErrReadOnlyConnection, "target_session_attrs"},
		{errors.New("canary"), "The database cannot be reached."},
	} {
		got := judge(fmt.Errorf("wrapped: %w", test.err), place{}, 5*time.Second)
		if got.kind != away || !strings.Contains(got.sentence, test.want) || strings.Contains(got.sentence, "canary") {
			t.Errorf("%v: got %d, %q; want %q", test.err, got.kind, got.sentence, test.want)
		}
	}
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
				errs = append(errs, err, s.Apply(t.Context(), creation("alice")), s.Migrate(t.Context()))
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

func TestADSNThatCannotBeReadOrIsEmptyIsToldOf(t *testing.T) {
	t.Parallel()
	_, err := Open(Settings{DSN: func() (string, error) { return "", errors.New("no file") }})
	expectUnavailable(t, err, "no file")
	_, err = Open(Settings{DSN: fixed(" \n")})
	expectUnavailable(t, err, "is empty")
}
