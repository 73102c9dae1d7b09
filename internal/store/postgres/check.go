// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/backoff"
)

// Whether the database is unavailable decides who decides about logins: it or, without its count of failures, each replica by
// itself. So nobody may be able to make it look away by logging in, and what a call meets with proves nothing: rows are
// locked, the pool is exhausted, the server is busy, a connection breaks. Away is
//
//   - a database to which no connection can be made, for another reason than that there are too many, or that it takes too
//     long;
//   - one that a check found to be of no use. A check waits for nobody: not for a connection of the pool when there is none
//     to be had soon, and not for the lock of a row. Its own time-out proves nothing while the connection that listens gets
//     answers: hashing may have taken the time. That there are too many connections does once we have had none for a while.
//
// A call that fails causes a check, and so does the passing of CheckInterval.

// lookAtLogIns looks whether a session may write, and whether the tables that logins need are there and may be read, those of
// an older version not taken for them. It reads no row, since the dead ones before the first may be many. lookAtTables looks at
// all tables, of which the last is of no use to the controller.
const (
	lookAtLogIns = `
SELECT pg_catalog.current_setting('transaction_read_only')::boolean
       OR EXISTS (SELECT ` + readColumns + ` FROM users WHERE false)
       OR EXISTS (SELECT suspended, lockout_exempt FROM shardinguser_ownership WHERE false)
       OR EXISTS (SELECT attempt_key, attempts FROM login_attempts WHERE false)`

	lookAtTables = lookAtLogIns + `
       OR EXISTS (SELECT FROM shardinguser_merges WHERE false)`
)

// tryWriting does what a charge does: to no account, so that no lock is waited for, but with a record, since there may be
// no room. It is undone.
const tryWriting = `
WITH written AS (
    UPDATE users SET failed_login_attempts = 0, locked_until = NULL, last_login_at = NULL WHERE false
)
INSERT INTO login_attempts (attempted_at, username, source, user_agent, outcome) VALUES (pg_catalog.now(), '', '', '', 'unknown')`

// errUndone undoes what was tried.
var errUndone = errors.New("undone")

// keepChecking checks until ctx ends.
func (s *Store) keepChecking(ctx context.Context) {
	for {
		s.check(ctx)
		// However many calls fail, they cause no more checks than this.
		if !backoff.Pause(ctx, s.timing.firstRetry) {
			return
		}
		interval := s.settings.CheckInterval
		if known := s.Health(); !known.Up() || known.Unavailable {
			interval = min(interval, s.timing.lastRetry) // its end is worth noticing soon
		}
		timer := time.NewTimer(max(0, interval-s.timing.firstRetry))
		select {
		case <-timer.C:
		case <-s.doubts:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// check finds out whether the database is unavailable.
func (s *Store) check(ctx context.Context) {
	began := time.Now()
	if s.isMismatched(ctx) {
		return
	}
	isReadOnly, err := s.look(ctx, s.settings.Role.tables())
	isWhole := err == nil
	if !isWhole {
		v := s.unread(ctx, s.meaning(err, reads, s.timing.look), err)
		if ctx.Err() != nil || !s.found(v, err) {
			return
		}
		if v.kind == unreadable { // what is missing may be none of logins' business
			isReadOnly, err = s.look(ctx, lookAtLogIns)
		}
		if err != nil {
			s.health.setUseless(v.kind)
			return
		}
	} else {
		s.health.whole()
	}
	switch {
	case isReadOnly:
		err = &pgconn.PgError{Code: codeReadOnly} // as the next write would be told
		s.found(s.meaning(err, writes, s.timing.look), err)
		s.health.setUseless(readOnly)
		return
	case isWhole:
		s.health.writable(began)
	}
	if !s.checkWrites(ctx) {
		return
	}
	s.health.setUseless(none)
}

// checkWrites finds out whether the database takes writes, where there is reason to ask. It reports whether nothing shows that it
// does not.
func (s *Store) checkWrites(ctx context.Context) bool {
	code, refuses := s.health.refusedFor()
	if doubted := s.health.takeDoubt(); !doubted && !refuses {
		return true
	}
	if s.settings.Role.servesLogIns() { // what is refused may be none of the login side's business
		// A statement's trigger runs too, though there is no row: what it raises concerns writes of rows, and a probe goes on.
		if err := s.tryToWrite(ctx); err != nil {
			v := s.weighed(ctx, s.classify(err, writes, s.timing.look), err)
			if v.kind == refusing || v.kind == readOnly {
				s.found(v, err)
				s.health.setUseless(v.kind)
			}
			if v.kind != statement {
				return false
			}
		}
	}
	err := s.prove(ctx)
	switch {
	case err == nil || isProbeMissing(err):
		if code != codeMissingRight || !s.findSuspects(ctx, &pgconn.PgError{Code: code}).lacksRight() {
			s.health.proved()
		}
		return true
	case ctx.Err() != nil:
		return false
	}
	v := s.meaning(err, writes, s.timing.look)
	if v.kind == unavailable && !isUnreachable(err) {
		return !refuses // the connection or the time fell short, which proves nothing
	}
	s.found(v, err)
	s.health.setUseless(v.kind)
	return false
}

// found records what a check failed at, and reports whether that proves anything.
func (s *Store) found(v class, err error) bool {
	if stat := s.pool.Stat(); stat.TotalConns() > stat.ConstructingConns() {
		s.health.hadConnection()
	}
	switch {
	case v.kind == statement || v.kind == conflict || v.kind == blocked || v.kind == busy:
		return false
	case isShort(err) && !s.health.isWithoutConnection(s.timing.shortage):
		return false // what is in use is ours, or was: the server may not have noticed yet that we gave it up
	case timedOut(err) && s.isHeard():
		return false // it is this process that is short of time, mostly
	case isLacking(v.code) && s.isMigrating():
		wake(s.missing)
		return false // they are being made
	}
	_ = s.took(v, err)
	return true
}

// isHeard reports whether the database that the pool uses answers, though not to the pool.
func (s *Store) isHeard() bool { return !s.settings.listensElsewhere && s.Health().Current }

// look looks at the tables by a connection of the pool and, where that fails, by one of its own: the pool says
// nothing of the database while all its connections are in use, or dead without anybody's having been told.
func (s *Store) look(ctx context.Context, sql string) (isReadOnly bool, err error) {
	isSuspect := true
	if s.health.whyUseless() != unavailable {
		limited, cancel := context.WithTimeout(ctx, s.timing.lookPool)
		defer cancel()
		err = s.ask(limited, sql, &isReadOnly)
		if err == nil || s.meaning(err, reads, s.timing.lookPool).kind != unavailable {
			return isReadOnly, err
		}
		isSuspect = !s.isBusy()
	}
	isReadOnly, err = s.lookDirectly(ctx, sql)
	if err == nil && isSuspect {
		s.pool.Reset() // who knows which of its connections are still there
	}
	return isReadOnly, err
}

func (s *Store) lookDirectly(ctx context.Context, sql string) (isReadOnly bool, err error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	conn, err := s.dial(limited)
	if err != nil {
		return false, err
	}
	defer hangUp(ctx, conn.raw)
	err = conn.QueryRow(limited, sql, pgx.QueryExecModeSimpleProtocol).Scan(&isReadOnly)
	return isReadOnly, err
}

func (s *Store) tryToWrite(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	err := s.transact(limited, func(tx pgx.Tx) error {
		_, err := tx.Exec(limited, tryWriting)
		return cmp.Or(err, errUndone)
	})
	if errors.Is(err, errUndone) {
		return nil
	}
	return err
}

// isMigrating reports whether the tables are being made for the first time, as far as is known.
func (s *Store) isMigrating() bool {
	select {
	case <-s.migrated:
		return false
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notMigrated == nil
}
