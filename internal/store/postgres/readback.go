// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Apply makes a change and returns the account as it was read back. Its errors are package store's sentinels and the
// context's.
func (s *Store) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	if change.Verb == user.Nothing {
		return s.Observe(ctx, change.Username)
	}
	sql, err := statementFor(change)
	if err != nil {
		return user.Observed{}, err
	}
	args, err := s.arguments(change)
	if err != nil {
		return user.Observed{}, err
	}
	var (
		after  user.Observed
		record *string
	)
	patience := s.timing.blocked
	if s.lanes.isCrowded() && len(change.Endangered) == 0 {
		patience, args["lock_timeout"] = 0, milliseconds(s.timing.lock/5)
	}
	err = s.patiently(ctx, change.Username, patience, func() error {
		return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			var readErr error
			err := s.makeChange(ctx, conn, sql, args, change, &record)
			if err != nil && !errors.Is(err, errMaybeFirst) {
				return err
			}
			if err == nil { // it is committed
				s.announce(record)
			}
			if after, readErr = s.readBack(ctx, conn, change.Username); readErr != nil {
				return readErr
			}
			return decide(err, change, after)
		})
	})
	return after, err
}

// errMaybeFirst says that another writer was there first, unless the account is as it was planned on.
var errMaybeFirst = errors.New("another writer may have been there first")

// makeChange runs the statement. A change that ends an account, or clears its lock on request, is checked before the commit:
// a trigger may restore the account or the lock, and the ownership record must not say otherwise. Record gets that of the change.
func (s *Store) makeChange(ctx context.Context, conn *conn, sql string, args pgx.NamedArgs, change user.Change, record **string) error {
	isEnd := change.Verb == user.Delete || change.Verb == user.Deactivate || change.Verb == user.Suspend
	lifts := change.Unlock != "" && change.ClearLockout
	if !isEnd && !lifts {
		return s.change(ctx, conn, sql, args, change, record)
	}
	sent, skipped := false, false
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		err := s.change(ctx, tx, sql, args, change, record)
		sent = err == nil
		if skipped = err == errMaybeFirst; skipped && isEnd { //nolint:errorlint // a wrapped one is of a statement that failed
			return s.seen(ctx, tx, change.Username) // nothing was recorded; a trigger may do something else in place of the change
		}
		if err != nil && !skipped {
			return err
		}
		if _, err := tx.Exec(ctx, runDeferred); err != nil {
			return err
		}
		var isBack bool
		if err := tx.QueryRow(ctx, askBack, change.Username, string(change.Verb)).Scan(&isBack); err != nil {
			return err
		}
		switch {
		case isBack && isEnd:
			return errBack
		case isBack:
			return errRelocked
		}
		return nil
	})
	switch {
	case err == nil && skipped:
		return errMaybeFirst
	case err != nil && sent: // the error may be the rollback's, of a connection that broke at the commit
		return &sentError{err}
	}
	return err
}

// seen fails where row-level security may hide the row, so that it cannot be known whether the account has ended.
func (s *Store) seen(ctx context.Context, tx pgx.Tx, username string) error {
	var isHidden bool
	err := tx.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM users u WHERE u.username::text = $1::text) AND "+hides, username).Scan(&isHidden)
	if err == nil && isHidden {
		return errHidden
	}
	return err
}

// errHidden says that an account may be there that the role cannot see.
var errHidden = errors.New("row-level security may hide the account")

// runDeferred runs deferred triggers and constraints, which would else run at the commit.
const runDeferred = "SET CONSTRAINTS ALL IMMEDIATE"

// askBack asks whether a row is there that was deleted, active that was deactivated, or locked though the lock was lifted.
const askBack = `SELECT EXISTS (SELECT FROM users u WHERE u.username::text = $1::text AND CASE $2::text
    WHEN '` + string(user.Delete) + `' THEN true
    WHEN '` + string(user.Deactivate) + `' THEN u.active IS DISTINCT FROM false
    WHEN '` + string(user.Suspend) + `' THEN u.active IS DISTINCT FROM false
    ELSE u.locked_until::timestamptz > pg_catalog.clock_timestamp() END)`

// errRelocked says that a trigger locked an account again, in the transaction that unlocked it. Nothing was changed.
var errRelocked = errors.New("the account is locked again before the transaction's end")

// errBack says that a trigger restored an account that was ended, in the same transaction. Nothing was changed.
var errBack = errors.New("the account is back before the transaction's end")

// querier is a connection, or a transaction on it.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// change runs the statement. A unique key of users may be violated for one of two reasons: the name is taken by now, or
// the row violates a unique index of another program. The account that is read back shows which. Record gets that of the change.
func (s *Store) change(
	ctx context.Context, conn querier, sql string, args pgx.NamedArgs, change user.Change, record **string,
) error {
	var (
		fenced   bool
		notified *string
	)
	err := conn.QueryRow(ctx, sql, args).Scan(&fenced, &notified, record)
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && refusal.Code == codeUniqueViolation && !schema.IsOurs(refusal.TableName):
		return fmt.Errorf("%w: %w", errMaybeFirst, err)
	case err != nil:
		return err
	case fenced && notified == nil:
		return errMaybeFirst // the row was skipped, or is not as the verb needs it
	case fenced:
		return nil
	}
	if len(change.Endangered) > 0 {
		var last bool
		if err := conn.QueryRow(ctx, isLastHolder, args).Scan(&last); err != nil {
			return err
		}
		if last {
			return store.ErrLastHolder
		}
	}
	return store.ErrConflict
}

// decide distinguishes a change that came too late from one that the database rejects: after the first, the account is no
// longer as the change needs it. A row that was skipped without an error is left to the caller, which plans again.
func decide(err error, change user.Change, after user.Observed) error {
	if err == nil {
		return nil
	}
	exists, revision := after.Row != nil, int64(0)
	if after.Ownership != nil {
		revision = after.Ownership.Revision
	}
	var refusal *pgconn.PgError
	switch {
	case revision != change.Revision, exists && change.Verb == user.Create, !exists && change.Verb != user.Create:
		return store.ErrConflict
	case errors.As(err, &refusal):
		return refusal
	}
	return nil
}

// readBack reads the account on the connection that changed it.
func (s *Store) readBack(ctx context.Context, conn *conn, username string) (user.Observed, error) {
	var list map[string]user.Observed
	err := replanned(func() (err error) {
		list, err = snapshotOn(ctx, conn, []string{username}, nil)
		return err
	})
	if err != nil {
		return user.Observed{}, &sentError{err}
	}
	return list[username], nil
}

// sentError is an error after the database received a part of a call, whatever the driver reports of the rest.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }

// SafeToRetry is what pgconn.SafeToRetry asks.
func (e *sentError) SafeToRetry() bool { return false }
