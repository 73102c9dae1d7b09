// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestLinkDropsAnswersAndResetsConnections(t *testing.T) {
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
	if _, err := direct.Exec(t.Context(), "CREATE TABLE marks (mark TEXT)"); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, through)
	write := func(conn *pgx.Conn, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := conn.Exec(ctx, "INSERT INTO marks VALUES ('once')")
		return err
	}

	link.Deafen()
	if err := write(conn, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want no answer before the deadline", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for rows := 0; rows == 0; {
		if err := direct.QueryRow(ctx, "SELECT count(*) FROM marks").Scan(&rows); err != nil {
			t.Fatalf("the server did not execute the statement whose answer was lost: %v", err)
		}
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}

	conn = connect(t, through)
	link.Reset(0)
	if err := write(conn, startTimeout); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reset: got %v, want an immediate failure", err)
	}
	if err := link.Restore(); err != nil {
		t.Fatal(err)
	}
	if err := write(connect(t, through), startTimeout); err != nil {
		t.Errorf("restored: %v", err)
	}
}
