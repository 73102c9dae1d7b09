// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// statementCounter counts the statements on users that it is notified of.
type statementCounter struct{ begun atomic.Int32 }

func (c *statementCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "users") {
		c.begun.Add(1)
	}
	return ctx
}

func (*statementCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Each connection is made by the DSN as it is then, and the tracer is no part of that.
func TestTheTracerTracesTheStatementsOfEveryConnection(t *testing.T) {
	counter := &statementCounter{}
	settings := quick(databaseWithSchema(t))
	settings.Tracer = counter
	s := ready(t, settings)
	before := counter.begun.Load()
	if _, err := s.Observe(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if counter.begun.Load() == before {
		t.Error("a statement passed unseen")
	}
}
