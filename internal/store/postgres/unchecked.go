// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
)

// A charge whose commit does not return may be committed. Then the attempt counts, and its password was never checked. Such
// attempts are kept, and taken off the counter once the database answers. That gives no attacker a guess, since the attempt
// revealed nothing.

// uncharge settles the pending attempts of one account as unchecked. They are taken off the counter only if it still holds them:
// it is at least the number of charges since the first of them. Otherwise a success, an unlock or an expired lock has cleared it,
// and taking off more would give a free guess. Of locks it clears the one that these attempts wrote.
//
// A statement before it locks the account. Otherwise the count would be older than the counter, by what other transactions did
// while this one waited. The braces are for the table of the budget, and a condition for its attempts.
const uncharge = `
WITH account AS MATERIALIZED (
    SELECT u.username, GREATEST(u.failed_login_attempts, 0)::bigint AS failed, u.locked_until::timestamptz AS locked_until
    FROM {table} u WHERE u.username::text = @username::text
),
attempt AS MATERIALIZED (
    SELECT a.id, a.locked_until FROM login_attempts a
    WHERE a.username::text = @name::text AND (a.attempt_key = ANY (@keys::text[]) OR a.id = ANY (@ids::bigint[])) AND a.outcome = 'pending'{of}
    FOR UPDATE
),
taken AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS charged, pg_catalog.min(a.id) AS first, pg_catalog.max(a.locked_until) AS lock FROM attempt a
),
since AS MATERIALIZED (
    SELECT pg_catalog.count(*) AS charged FROM taken t JOIN login_attempts a ON a.username::text = @name::text AND a.id >= t.first
    WHERE a.outcome IN ('pending', 'failed'){of}
),
written AS (
    UPDATE {table} u SET
        failed_login_attempts = c.failed - t.charged,
        locked_until = CASE WHEN c.locked_until = t.lock THEN NULL ELSE u.locked_until END
    FROM account c, taken t, since s
    WHERE u.username::text = c.username::text AND t.charged > 0 AND c.failed >= s.charged
      AND (c.locked_until IS NULL OR c.locked_until = t.lock)
),
recorded AS (
    UPDATE login_attempts a SET outcome = 'unchecked' FROM attempt t WHERE a.id = t.id
)
SELECT CASE WHEN t.lock IS NOT NULL THEN pg_catalog.pg_notify('` + observer.RowsChannel + `', @username::text)::text END FROM taken t`

const lockAccount = `
SELECT FROM users u WHERE u.username::text = @username::text AND pg_catalog.set_config('lock_timeout', @lock_timeout::text, true) IS NOT NULL
FOR NO KEY UPDATE OF u`

const (
	// mostUnchecked is how many attempts are kept. Further ones stay charged.
	mostUnchecked = 10_000

	// uncheckedRetry is the time between attempts to settle them.
	uncheckedRetry = time.Second
)

// unchecked holds attempts that may have been charged and whose password was not checked, by username.
type unchecked struct {
	mu    sync.Mutex
	by    map[string]openAttempts
	count int
}

// openAttempts are identified by their keys, or by their IDs.
type openAttempts struct {
	keys []string
	ids  []int64
}

// addKey adds an attempt whose charge did not return.
func (u *unchecked) addKey(username, key string) {
	u.add(username, openAttempts{keys: []string{key}})
}

// addID adds an attempt whose charge is known, and that could not be settled.
func (u *unchecked) addID(username string, id int64) {
	u.add(username, openAttempts{ids: []int64{id}})
}

func (u *unchecked) add(username string, more openAttempts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = map[string]openAttempts{}
	}
	if u.count += len(more.keys) + len(more.ids); u.count > mostUnchecked {
		u.count = mostUnchecked
		return
	}
	known := u.by[username]
	u.by[username] = openAttempts{keys: append(known.keys, more.keys...), ids: append(known.ids, more.ids...)}
}

// take returns all attempts, and removes them.
func (u *unchecked) take() map[string]openAttempts {
	u.mu.Lock()
	defer u.mu.Unlock()
	by := u.by
	u.by, u.count = nil, 0
	return by
}

// keepUncharging settles unchecked attempts as soon as the database accepts it, until ctx ends.
func (s *Store) keepUncharging(ctx context.Context) {
	for backoff.Pause(ctx, uncheckedRetry) {
		if s.Health().Unavailable {
			continue
		}
		by := s.unchecked.take()
		for username, list := range by {
			if err := s.uncharge(ctx, username, list); err != nil {
				s.unchecked.add(username, list) // the next round retries
			}
		}
	}
}

// uncharge settles the attempts of one account as unchecked.
func (s *Store) uncharge(ctx context.Context, username string, list openAttempts) error {
	args := pgx.NamedArgs{
		"lock_timeout": milliseconds(s.timing.lock), "username": username, "keys": list.keys, "ids": list.ids,
		"name": store.Attempt{Username: username}.Record(true).Username,
	}
	b := s.budgets(ctx)
	return s.patiently(ctx, username, s.settings.StatementTimeout, func() error {
		return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			var notified *string
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, lockAccount, args); err != nil {
					return err
				}
				for _, sql := range b.uncharge {
					if err := tx.QueryRow(ctx, sql, args).Scan(&notified); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

// mayBeMade reports whether a write with this error may have been made: the server did not answer it, and may have received
// it.
func mayBeMade(err error) bool {
	if err == nil {
		return false
	}
	var unavailable *store.UnavailableError
	if errors.As(err, &unavailable) && unavailable.Unsent {
		return false
	}
	_, answered := isAnswer(err)
	return !answered
}
