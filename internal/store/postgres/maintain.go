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
	// Where one table went and the others did not, migrating makes nothing: that must not be tried without a pause.
	for delay := s.newDelay(); ctx.Err() == nil; delay.wait(ctx) {
		s.migrateAtLast(ctx)
		s.keepChecking(ctx)
	}
	return nil
}

// migrateAtLast returns when the schema is complete or ctx has ended. Failures are logged where they change the
// database's state.
func (s *Store) migrateAtLast(ctx context.Context) {
	delay := s.newDelay()
	for s.Migrate(ctx) != nil {
		if !delay.wait(ctx) {
			return
		}
	}
	s.settings.Log.Info("The database's schema is complete")
}

// keepChecking returns when ctx has ended, or when the tables have gone and have to be made again.
func (s *Store) keepChecking(ctx context.Context) {
	for {
		code := s.check(ctx)
		if code == codeUndefinedTable {
			return
		}
		interval := s.settings.CheckInterval
		if !s.Up() {
			interval = min(interval, s.timing.lastRetry) // its end is worth noticing soon
		}
		if !pause(ctx, interval) {
			return
		}
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
