// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestALinkMakesTheServersAnswersVanishAndResetsConnections(t *testing.T) {
	admin := Database(t)
	link, through, err := DatabaseLink(admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	})
	direct := connect(t, admin)
	if _, err := direct.Exec(t.Context(), "CREATE TABLE told (what TEXT)"); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, through)
	tell := func(conn *pgx.Conn, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := conn.Exec(ctx, "INSERT INTO told VALUES ('once')")
		return err
	}

	link.Deafen()
	if err := tell(conn, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want nothing until the deadline", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for told := 0; told == 0; {
		if err := direct.QueryRow(ctx, "SELECT count(*) FROM told").Scan(&told); err != nil {
			t.Fatalf("what nobody was told of was not done: %v", err)
		}
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}

	conn = connect(t, through)
	link.Reset(0)
	if err := tell(conn, startTimeout); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reset: got %v, want a failure at once", err)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := tell(connect(t, through), startTimeout); err != nil {
		t.Errorf("restored: %v", err)
	}
}
