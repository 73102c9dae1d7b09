// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	first, second := connect(t, Database(t)), connect(t, Database(t))
	if _, err := first.Exec(t.Context(), "CREATE TABLE users ()"); err != nil {
		t.Fatal(err)
	}
	var found *string
	if err := second.QueryRow(t.Context(), "SELECT to_regclass('users')::text").Scan(&found); err != nil {
		t.Fatal(err)
	}
	if found != nil {
		t.Error("a table of one database exists in the other")
	}
}

func TestRoleMayNotCreateTables(t *testing.T) {
	conn := connect(t, Role(t, Database(t)))
	_, err := conn.Exec(t.Context(), "CREATE TABLE users ()")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("creating a table gives %v, want insufficient_privilege", err)
	}
}

func TestHaltedServerRestartsWithItsData(t *testing.T) {
	t.Setenv("TEST_DATABASE_DSN", "")
	p, err := StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := p.exec(t.Context(), "CREATE TABLE kept ()"); err != nil {
		t.Fatal(err)
	}
	if err := p.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.ping(t.Context()); err == nil {
		t.Error("a halted server still answers")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.exec(t.Context(), "SELECT FROM kept"); err != nil {
		t.Error(err)
	}
}

func TestChangedDSNKeepsItsForm(t *testing.T) {
	tests := map[string]struct{ dsn, want string }{
		"a URL": {
			"postgres://u:p@h:1/d?sslmode=disable", "postgres://u:p@127.0.0.1:9/other?sslmode=disable",
		},
		"keywords": {
			"host=h user=u dbname=d", "host=h user=u dbname=d dbname=other host=127.0.0.1 port=9",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := withDatabase(tt.dsn, "other")
			if err == nil {
				got, err = WithAddr(got, "127.0.0.1:9")
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v, want %q", got, err, tt.want)
			}
			config, err := pgx.ParseConfig(got)
			if err != nil || config.Database != "other" || config.Port != 9 || config.User != "u" {
				t.Errorf("pgx reads %+v, %v", config, err)
			}
		})
	}
}

func TestExternalServerIsUsedAndCleanedUp(t *testing.T) {
	own := Server(t)
	t.Setenv("TEST_DATABASE_DSN", own.DSN())
	p, err := StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := p.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	role, err := p.NewRole(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, role)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("connecting to a database that should be gone gives %v", err)
	}
	if err := own.ping(t.Context()); err != nil {
		t.Errorf("the external server does not answer after Stop: %v", err)
	}
}

func TestProxySimulatesNetworkFaults(t *testing.T) {
	proxy, dsn := DatabaseProxy(t, Database(t))
	query := func(conn *pgx.Conn, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := conn.Exec(ctx, "SELECT 1")
		return err
	}
	const patience = 30 * time.Second

	conn := connect(t, dsn)
	if err := query(conn, patience); err != nil {
		t.Fatalf("without faults: %v", err)
	}

	proxy.Delay(200 * time.Millisecond)
	proxy.Delay(300 * time.Millisecond)
	started := time.Now()
	if err := query(conn, patience); err != nil {
		t.Fatalf("delayed: %v", err)
	}
	if took := time.Since(started); took < 300*time.Millisecond {
		t.Errorf("an answer delayed by 300ms came after %v", took)
	}
	proxy.Restore()

	proxy.Stall()
	if err := query(conn, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: got %v, want no answer before the deadline", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, dsn); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: a new connection got %v, want no answer before the deadline", err)
	}
	proxy.Restore()

	conn = connect(t, dsn)
	proxy.Cut()
	if err := query(conn, patience); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cut: got %v, want an immediate failure", err)
	}
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Error("cut: a new connection succeeded")
	}
	proxy.Restore()
	if err := query(connect(t, dsn), patience); err != nil {
		t.Errorf("restored: %v", err)
	}
}
