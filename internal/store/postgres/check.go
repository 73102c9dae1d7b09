// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// While the database is unavailable, each replica decides logins by itself, without the counters of the others. So an attacker
// must not be able to make it seem unavailable by logging in, and the error of a call proves nothing: rows are locked, the pool
// is exhausted, the server is busy, a connection breaks. A database is unavailable if
//
//   - no connection can be made, for another reason than too many connections or a time-out;
//   - a check found it of no use for logins. A check does not wait for a connection of the pool for long, nor for the lock of a
//     row. A time-out of the check proves nothing while the listening connection gets answers: hashing may have used the time.
//     Too many connections prove it once the store has had no connection for a while.
//
// A check runs after a call failed, and every CheckInterval.

// lookAtLogins asks whether a session may write, and whether the tables that logins need exist in this version and may be read.
// It reads no row, since there may be many dead ones before the first. lookAtRecords asks for what else the ownership records
// have in this version: logins go on without it, since with two roles the owner of the tables may migrate later. lookAtChanges
// asks for what only the controller needs, and lookAtMerges for what only logins need.
const (
	lookAtLogins = `
SELECT pg_catalog.current_setting('transaction_read_only')::boolean
       OR EXISTS (SELECT ` + readColumns + ` FROM users WHERE false)
       OR EXISTS (SELECT suspended, lockout_exempt FROM shardinguser_ownership WHERE false)
       OR EXISTS (SELECT attempt_key, attempts FROM login_attempts WHERE false)`

	lookAtRecords = lookAtLogins + `
       OR EXISTS (SELECT system, password_digest, lockout_familiar, signed_out_at FROM shardinguser_ownership WHERE false)
       OR EXISTS (SELECT username, failed_login_attempts, locked_until FROM shardinguser_familiar WHERE false)`

	lookAtChanges = `
       OR EXISTS (SELECT FROM account_changes WHERE false)`

	lookAtMerges = `
       OR EXISTS (SELECT sources, logins, last_login_at FROM shardinguser_familiar WHERE false)
       OR EXISTS (SELECT familiar FROM login_attempts WHERE false)
       OR EXISTS (SELECT FROM shardinguser_merges WHERE false)`
)

// tryWriting does what a charge does and is rolled back. It writes no account, so that it waits for no lock, and one audit row,
// since the disk may be full.
const tryWriting = `
WITH written AS (
    UPDATE users SET failed_login_attempts = 0, locked_until = NULL, last_login_at = NULL WHERE false
)
INSERT INTO login_attempts (attempted_at, username, source, user_agent, outcome) VALUES (pg_catalog.now(), '', '', '', 'unknown')`

// errUndone rolls tryWriting back.
var errUndone = errors.New("undone")

// keepChecking checks until ctx ends.
func (s *Store) keepChecking(ctx context.Context) {
	for {
		s.check(ctx)
		// Any number of failed calls cause no more checks than this.
		if !backoff.Pause(ctx, s.timing.firstRetry) {
			return
		}
		interval := s.settings.CheckInterval
		if known := s.Health(); !known.Up() || known.Unavailable {
			interval = min(interval, s.timing.lastRetry) // to notice the recovery soon
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
		if v.kind == unreadable { // logins may not need what is missing
			isReadOnly, err = s.look(ctx, lookAtLogins)
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
		err = &pgconn.PgError{Code: codeReadOnly} // as the next write would get it
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

// checkWrites finds out whether the database accepts writes, if there is a reason to ask. It returns false if it does not.
func (s *Store) checkWrites(ctx context.Context) bool {
	code, refuses := s.health.refusedFor()
	if doubted := s.health.takeDoubt(); !doubted && !refuses {
		return true
	}
	if s.settings.Role.servesLogins() { // the rejected write may be one that logins do not make
		// A statement trigger runs although there is no row. Its errors concern writes of rows, so the probe follows.
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
		return !refuses // a broken connection or a time-out proves nothing
	}
	s.found(v, err)
	s.health.setUseless(v.kind)
	return false
}

// found records the failure of a check, and reports whether it proves anything.
func (s *Store) found(v class, err error) bool {
	if stat := s.pool.Stat(); stat.TotalConns() > stat.ConstructingConns() {
		s.health.hadConnection()
	}
	switch {
	case v.kind == statement || v.kind == conflict || v.kind == blocked || v.kind == busy:
		return false
	case isShort(err) && !s.health.isWithoutConnection(s.timing.shortage):
		return false // the connections are ours, or were: the server may not have noticed yet that we closed them
	case timedOut(err) && s.isHeard():
		return false // most likely this process is short of time
	case isLacking(v.code) && s.isMigrating():
		wake(s.missing)
		return false // they are being created
	}
	_ = s.took(v, err)
	return true
}

// isHeard reports whether the database that the pool uses answers, though not to the pool.
func (s *Store) isHeard() bool { return !s.settings.listensElsewhere && s.Health().Current }

// look asks by a connection of the pool and, if that fails, by one of its own: the pool says nothing of the database while all
// its connections are in use, or dead without a sign of it.
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
		s.pool.Reset() // some of its connections may be dead
	}
	return isReadOnly, err
}

func (s *Store) lookDirectly(ctx context.Context, sql string) (isReadOnly bool, err error) {
	config, err := connConfig(s.settings.DSN)
	if err != nil {
		return false, err
	}
	limited, cancel := s.limitLook(ctx, config)
	defer cancel()
	conn, err := s.dial(limited, config)
	if err != nil {
		return false, err
	}
	defer hangUp(ctx, conn.raw)
	err = conn.QueryRow(limited, sql, pgx.QueryExecModeSimpleProtocol).Scan(&isReadOnly)
	return isReadOnly, err
}

// limitLook limits a check by a connection of its own. With several hosts it also limits each attempt to connect, so that hosts
// that do not answer leave time for the others.
func (s *Store) limitLook(ctx context.Context, config *pgx.ConnConfig) (context.Context, context.CancelFunc) {
	limit := s.timing.look
	if hosts := countHosts(config); hosts > 1 {
		each := s.timing.look / 2
		config.ConnectTimeout = min(config.ConnectTimeout, each)
		limit = each * time.Duration(hosts+1)
	}
	return context.WithTimeout(ctx, limit)
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

// isMigrating reports whether the tables are being created for the first time, as far as is known.
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
