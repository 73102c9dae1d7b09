// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// checkDatabase looks whether a session may write, and whether the tables are there and may be read.
const checkDatabase = `
SELECT current_setting('transaction_read_only')::boolean,
       EXISTS (SELECT FROM users), EXISTS (SELECT FROM shardinguser_ownership), EXISTS (SELECT FROM login_attempts)`

// Maintain keeps the store usable until ctx ends, and returns nil then: it migrates as soon as the database can be
// reached, and from then on looks whether it answers, so that an outage and its end are noticed also while nobody
// calls. Every replica runs it.
func (s *Store) Maintain(ctx context.Context) error {
	delay := s.newDelay()
	for {
		// Failures are logged where they change the database's state.
		if s.Migrate(ctx) == nil {
			began := time.Now()
			s.keepChecking(ctx)
			if time.Since(began) > s.timing.lastRetry {
				delay.reset() // it had been fine
			}
		}
		if !delay.wait(ctx) {
			return nil
		}
	}
}

// keepChecking returns when ctx has ended, or when the tables have gone and have to be made again.
func (s *Store) keepChecking(ctx context.Context) {
	select {
	case <-s.missing: // from before they were made
	default:
	}
	for {
		code := s.check(ctx)
		if code == codeUndefinedTable {
			return
		}
		interval := s.settings.CheckInterval
		if !s.Up() {
			interval = min(interval, s.timing.lastRetry) // its end is worth noticing soon
		}
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-s.missing: // as a call found: look at once
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// check looks once, and returns the SQLSTATE of what went wrong, if that is what the server said.
func (s *Store) check(ctx context.Context) string {
	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	var isReadOnly, users, notes, attempts bool
	err := s.pool.QueryRow(limited, checkDatabase).Scan(&isReadOnly, &users, &notes, &attempts)
	switch {
	case ctx.Err() != nil:
		return ""
	case err != nil:
		_ = s.failure(err, reads, s.settings.StatementTimeout) // takes note of it
		return s.judge(err, reads, s.settings.StatementTimeout).code
	}
	s.health.succeeded(reads)
	if isReadOnly {
		_ = s.failure(&pgconn.PgError{Code: codeReadOnly}, writes, s.settings.StatementTimeout)
		return ""
	}
	s.health.writable()
	return ""
}

// pause waits, and tells whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// delay is a wait that doubles from the first to the last, each at random between half and whole, so that replicas do
// not come back all at once.
type delay struct{ next, first, last time.Duration }

func (s *Store) newDelay() *delay {
	return &delay{next: s.timing.firstRetry, first: s.timing.firstRetry, last: s.timing.lastRetry}
}

// wait waits, and tells whether ctx goes on.
func (d *delay) wait(ctx context.Context) bool {
	now := d.next/2 + rand.N(d.next/2+1) //nolint:gosec // no secret
	d.next = min(2*d.next, d.last)
	return pause(ctx, now)
}

func (d *delay) reset() { d.next = d.first }
