// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// mergeBatch is one statement, and so happens as a whole or not at all. Only the transaction that writes the ID continues. A
// concurrent one with the same ID waits there, before it locks a row. The rows are locked in the order of their usernames, so
// that concurrent merges cannot deadlock. As in a charge, the row and the clock decide as they are once the lock is held.
const mergeBatch = `
WITH merge AS (
    INSERT INTO shardinguser_merges (id) VALUES (@id::text) ON CONFLICT (id) DO NOTHING RETURNING id
),
missed AS MATERIALIZED (
    SELECT m.username, pg_catalog.sum(GREATEST(m.failures, 0)) AS failures, pg_catalog.max(m.locked_until) AS locked_until,
           pg_catalog.max(m.last_login) AS last_login
    FROM ROWS FROM (pg_catalog.unnest(@usernames::text[]), pg_catalog.unnest(@failures::bigint[]),
            pg_catalog.unnest(@locks::timestamptz[]), pg_catalog.unnest(@logins::timestamptz[]))
        AS m (username, failures, locked_until, last_login)
    GROUP BY m.username
),
account AS MATERIALIZED (
    SELECT u.username, GREATEST(u.failed_login_attempts, 0)::bigint AS failed, u.locked_until::timestamptz AS locked_until,
           m.failures, m.locked_until AS brought, m.last_login
    FROM merge CROSS JOIN missed m JOIN users u ON u.username::text = m.username::text
    ORDER BY u.username
    FOR NO KEY UPDATE OF u
),
found AS MATERIALIZED (
    SELECT a.*, pg_catalog.clock_timestamp() AS at FROM account a
),
judged AS MATERIALIZED (
    SELECT f.username, f.last_login, f.at,
           -- A lock that ran out leaves a clean counter: the row's for the failures, and theirs for the row.
           CASE WHEN f.brought <= f.at THEN 0 ELSE f.failures END AS failures,
           CASE WHEN f.locked_until <= f.at THEN 0 ELSE f.failed END AS failed,
           CASE WHEN f.brought > f.at THEN f.brought END AS brought,
           CASE WHEN f.locked_until > f.at THEN f.locked_until END AS lock
    FROM found f
),
counted AS MATERIALIZED (
    SELECT j.*, LEAST(j.failed::numeric + j.failures, 2147483647)::bigint AS sum, GREATEST(j.lock, j.brought) AS longest,
           COALESCE(NULLIF(p.lockout_attempts, 0), @attempts::bigint) AS attempts,
           COALESCE(NULLIF(p.lockout_duration, INTERVAL '0'), @duration::bigint::float8 * INTERVAL '1 microsecond') AS duration,
           COALESCE(p.lockout_exempt, false) AS exempt
    FROM judged j LEFT JOIN shardinguser_ownership p ON p.username::text = j.username::text AND p.state = 'owned'
),
written AS (
    UPDATE users u SET
        failed_login_attempts = CASE WHEN c.failures > 0::numeric THEN c.sum ELSE u.failed_login_attempts END,
        locked_until = CASE
            WHEN c.longest IS NOT NULL THEN c.longest
            WHEN c.failures = 0::numeric THEN u.locked_until
            WHEN c.sum >= c.attempts AND NOT c.exempt THEN c.at + c.duration
        END,
        last_login_at = CASE
            WHEN c.last_login > COALESCE(u.last_login_at::timestamptz, '-infinity') THEN c.last_login
            ELSE u.last_login_at
        END
    FROM counted c
    WHERE u.username::text = c.username::text AND (c.failures > 0::numeric OR c.brought IS NOT NULL OR c.last_login IS NOT NULL)
),
recorded AS (
    INSERT INTO login_attempts (attempted_at, username, outcome, source, user_agent)
    SELECT a.attempted_at, a.username, a.outcome, a.source, a.user_agent
    FROM merge CROSS JOIN ROWS FROM (pg_catalog.unnest(@times::timestamptz[]), pg_catalog.unnest(@names::text[]),
            pg_catalog.unnest(@outcomes::text[]), pg_catalog.unnest(@sources::text[]), pg_catalog.unnest(@agents::text[]))
        WITH ORDINALITY AS a (attempted_at, username, outcome, source, user_agent, place)
    ORDER BY a.place
),
forgotten AS (
    DELETE FROM shardinguser_merges WHERE id = ANY (ARRAY(
        SELECT old.id FROM shardinguser_merges old
        WHERE old.merged_at < pg_catalog.now() - INTERVAL '1 day' LIMIT 1000
        FOR UPDATE SKIP LOCKED
    ))
)
SELECT pg_catalog.count(*) FROM merge`

// Merge merges what happened while the database was unavailable, as package store describes. It may be called again after any
// error. Its errors are package store's ErrUnavailable, and that of the context.
func (s *Store) Merge(ctx context.Context, outage store.OfflineBatch, limits store.Limits) error {
	err := s.merge(ctx, mergeArguments(outage, limits, nil))
	if isUnencodable(err) {
		var names []string
		for _, missed := range outage.Accounts {
			names = append(names, missed.Username)
		}
		for _, r := range outage.Attempts {
			names = append(names, r.Clean().Username)
		}
		var unencodable map[string]bool
		if unencodable, err = s.unencodable(ctx, names); err == nil {
			err = s.merge(ctx, mergeArguments(outage, limits, unencodable))
		}
	}
	return err
}

func (s *Store) merge(ctx context.Context, args pgx.NamedArgs) error {
	return insist(func() error {
		return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			_, err := conn.Exec(ctx, mergeBatch, args)
			return err
		})
	})
}

// mergeArguments omits accounts that the database cannot have, and escapes usernames that it cannot encode.
func mergeArguments(outage store.OfflineBatch, limits store.Limits, unencodable map[string]bool) pgx.NamedArgs {
	var (
		usernames, names, outcomes, sources, agents []string
		failures                                    []int64
		locks, logins                               []*time.Time
		times                                       []time.Time
	)
	for _, missed := range outage.Accounts {
		if store.MayBeUsername(missed.Username) && !unencodable[missed.Username] {
			usernames, failures = append(usernames, missed.Username), append(failures, int64(missed.Failures))
			locks, logins = append(locks, missed.LockedUntil), append(logins, missed.LastLogin)
		}
	}
	for _, r := range outage.Attempts {
		r = r.Clean()
		if unencodable[r.Username] {
			r.Username = store.Attempt{UserAgent: r.Username}.Record(true).UserAgent // in ASCII
		}
		times, names, outcomes = append(times, r.Time), append(names, r.Username), append(outcomes, string(r.Outcome))
		sources, agents = append(sources, r.Source), append(agents, r.UserAgent)
	}
	return pgx.NamedArgs{
		"id": outage.ID, "attempts": limits.Attempts, "duration": limits.Duration.Microseconds(),
		"usernames": usernames, "failures": failures, "locks": locks, "logins": logins,
		"times": times, "names": names, "outcomes": outcomes, "sources": sources, "agents": agents,
	}
}
