// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"fmt"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Statements returns a tracer that creates a span for each statement within a trace. Call it after Start.
func Statements() pgx.QueryTracer {
	return statements{otelpgx.NewTracer(otelpgx.WithDisableConnectionDetailsInAttributes())}
}

// statements is the tracer of otelpgx without the texts of errors: those of the server may quote a value (from a trigger, for
// example), and those of the driver contain the user and the address.
type statements struct{ *otelpgx.Tracer }

// TraceQueryEnd implements pgx.QueryTracer. The methods below implement the tracers of other calls.
func (s statements) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceQueryEnd(ctx, conn, data)
}

// TraceCopyFromEnd is TraceQueryEnd for COPY.
func (s statements) TraceCopyFromEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceCopyFromEnd(ctx, conn, data)
}

// TraceBatchQuery is TraceQueryEnd for one statement of a batch.
func (s statements) TraceBatchQuery(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceBatchQuery(ctx, conn, data)
}

// TraceBatchEnd is TraceQueryEnd for a batch.
func (s statements) TraceBatchEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceBatchEnd(ctx, conn, data)
}

// TracePrepareEnd is TraceQueryEnd for the preparation of a statement.
func (s statements) TracePrepareEnd(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TracePrepareEnd(ctx, conn, data)
}

// TraceConnectEnd is TraceQueryEnd for a new connection.
func (s statements) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceConnectEnd(ctx, data)
}

// TraceAcquireEnd is TraceQueryEnd for the wait for a connection of the pool.
func (s statements) TraceAcquireEnd(ctx context.Context, pool *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	data.Err = bare(data.Err)
	s.Tracer.TraceAcquireEnd(ctx, pool, data)
}

// bare returns an error without values: with the SQLSTATE if the server sent one, otherwise with only its type.
func bare(err error) error {
	var refusal *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return &pgconn.PgError{Severity: refusal.Severity, Code: refusal.Code, Message: "refused"}
	}
	for _, known := range []error{pgx.ErrNoRows, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	return fmt.Errorf("failed by %T", err)
}
