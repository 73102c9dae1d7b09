// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

// A conn is a connection whose statements resolve names by the store's search path. Behind a pooler each transaction may have
// another session, with any path: there each statement sets it first, in its own transaction.
type conn struct {
	raw  *pgx.Conn
	path string // that each transaction sets; "" where the session has it
}

// on returns a pooled connection as a conn.
func (s *Store) on(raw *pgx.Conn) *conn {
	return &conn{raw: raw, path: s.sessions.Of(raw.PgConn()).Path.Local()}
}

// Exec runs a statement that yields no rows.
func (c *conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if c.path == "" {
		return c.raw.Exec(ctx, sql, args...)
	}
	results := c.send(ctx, sql, args)
	tag, err := results.Exec()
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return tag, err
}

// Query runs a statement that yields rows. They have to be read to their end, or closed.
func (c *conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if c.path == "" {
		return c.raw.Query(ctx, sql, args...)
	}
	results := c.send(ctx, sql, args)
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &batchRows{Rows: rows, results: results}, nil
}

// QueryRow runs a statement and returns its first row.
func (c *conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if c.path == "" {
		return c.raw.QueryRow(ctx, sql, args...)
	}
	rows, err := c.Query(ctx, sql, args...)
	return &firstRow{rows: rows, err: err}
}

// SendBatch runs the statements of a batch in one transaction.
func (c *conn) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if c.path == "" {
		return c.raw.SendBatch(ctx, batch)
	}
	with := &pgx.Batch{}
	with.Queue(session.SetPath(c.path, true))
	with.QueuedQueries = append(with.QueuedQueries, batch.QueuedQueries...)
	results := c.raw.SendBatch(ctx, with)
	_, _ = results.Exec() // its error is also that of the next ones
	return results
}

// Begin begins a transaction.
func (c *conn) Begin(ctx context.Context) (pgx.Tx, error) {
	if c.path == "" {
		return c.raw.Begin(ctx)
	}
	return c.raw.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN; " + session.SetPath(c.path, true)})
}

// send sends one statement after the one that sets the path. A batch has no mode of its own.
func (c *conn) send(ctx context.Context, sql string, args []any) pgx.BatchResults {
	if len(args) > 0 {
		if _, isMode := args[0].(pgx.QueryExecMode); isMode {
			args = args[1:]
		}
	}
	batch := &pgx.Batch{}
	batch.Queue(sql, args...)
	return c.SendBatch(ctx, batch)
}

// batchRows are the rows of the last statement of a batch. An error of the commit is known when the batch is closed.
type batchRows struct {
	pgx.Rows
	results pgx.BatchResults
	err     error
}

func (r *batchRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

func (r *batchRows) Close() {
	r.Rows.Close()
	if err := r.results.Close(); r.err == nil {
		r.err = err
	}
}

func (r *batchRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// firstRow is the row of QueryRow.
type firstRow struct {
	rows pgx.Rows
	err  error
}

func (r *firstRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// borrow runs do on a connection of the pool. Errors are the driver's.
func (s *Store) borrow(ctx context.Context, do func(*conn) error) error {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer pooled.Release()
	return do(s.on(pooled.Conn()))
}

// ask scans the only row of a query. Errors are the driver's.
func (s *Store) ask(ctx context.Context, sql string, into ...any) error {
	return s.borrow(ctx, func(c *conn) error { return c.QueryRow(ctx, sql).Scan(into...) })
}

// transact runs do in a transaction. Errors are the driver's.
func (s *Store) transact(ctx context.Context, do func(pgx.Tx) error) error {
	return s.borrow(ctx, func(c *conn) error { return pgx.BeginFunc(ctx, c, do) })
}

// dial opens a connection outside of the pool.
func (s *Store) dial(ctx context.Context, config *pgx.ConnConfig) (*conn, error) {
	s.sessions.Fit(config)
	raw, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	path, err := session.Settle(ctx, raw.PgConn(), config)
	if err != nil {
		hangUp(ctx, raw)
		return nil, err
	}
	return &conn{raw: raw, path: path.Local()}, nil
}
