// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestPgBouncerConnectsToItsDatabase(t *testing.T) {
	admin := Database(t)
	b, err := StartPgBouncer(t.Context(), Role(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := b.DSN("default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	var database string
	err = errors.Join(conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&database), conn.Close(t.Context()))
	if err != nil || database != conn.Config().Database {
		t.Errorf("connected to %q, %v", database, err)
	}
	for range 2 {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Error("PgBouncer answers after Stop")
	}
}

func TestMissingPgBouncerIsReported(t *testing.T) {
	t.Setenv("PGBOUNCER", "/nowhere/pgbouncer")
	_, err := StartPgBouncer(t.Context(), "host=127.0.0.1")
	if err == nil || err.Error() != "PGBOUNCER is /nowhere/pgbouncer, which is not a program" {
		t.Errorf("got the error %v", err)
	}
}
