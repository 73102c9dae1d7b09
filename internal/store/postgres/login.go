// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
)

// A charge is one statement, and so one transaction, and so is a settlement. Each locks the row of the account first. Then:
//
//   - It decides by the row as it is once the lock is held, whatever the statement's snapshot shows: a SELECT that waited for its
//     row lock reads the row again, and so does the UPDATE of a row that is newer than the snapshot. (Both need READ COMMITTED.
//     If a role or a database has another default, the server rolls the waiting statement back, and it is retried.) A row that
//     was deleted meanwhile does not exist.
//   - It takes the time once the lock is held: now() is from before the wait. A CTE that is MATERIALIZED, or that writes, is
//     evaluated once, when the next one reads it.
//   - Other transactions wait no longer than a charge takes. Foreign keys to users do not wait at all: the key is not locked.

// recordedEnd is when the account of a record p ends; NULL for never. It is also right in a schema from before that column.
const recordedEnd = `(pg_catalog.to_jsonb(p) ->> 'valid_until'::text)::timestamptz`

// chargeAttempt always yields one row, except for an account whose row could not be written or does not have the written
// values: then nothing is recorded, and no password may be checked. The parts in braces are those of budgets.
const chargeAttempt = `
WITH` + patient + `
account AS MATERIALIZED (
    SELECT u.username,
           COALESCE(u.password_hash, '') AS password_hash,
           u.roles::text AS roles,
           COALESCE(u.active, false) AS active,
           GREATEST(u.failed_login_attempts, 0)::bigint AS failed,
           u.locked_until::timestamptz AS locked_until
    FROM patience, users u WHERE u.username::text = @username::text
    FOR NO KEY UPDATE OF u
),
terms AS MATERIALIZED (
    SELECT p.lockout_attempts, p.lockout_duration, p.lockout_longest, p.lockout_exempt,
           (pg_catalog.to_jsonb(p) ->> 'signed_out_at'::text)::timestamptz AS signed_out_at, -- may be missing, as recordedEnd
           ` + recordedEnd + ` AS valid_until{term}
    FROM account a JOIN shardinguser_ownership p ON p.username::text = @username::text AND p.state = 'owned'
),{budget}
found AS MATERIALIZED (
    SELECT a.username, a.password_hash, a.roles, a.active, {counter}, pg_catalog.clock_timestamp() AS at,
           COALESCE(NULLIF(p.lockout_attempts, 0), @attempts::bigint) AS attempts,
           COALESCE(NULLIF(p.lockout_duration, INTERVAL '0'), @duration::bigint::float8 * INTERVAL '1 microsecond') AS duration,
           COALESCE(p.lockout_longest, INTERVAL '0') AS longest,
           COALESCE(p.lockout_exempt, false) AS exempt,
           p.valid_until, p.signed_out_at
    FROM (VALUES (1)) AS one LEFT JOIN account a ON true LEFT JOIN terms p ON true{join}
),
judged AS MATERIALIZED (
    SELECT f.*,
           CASE WHEN f.username IS NULL THEN 'unknown'
                WHEN NOT f.active OR f.valid_until <= f.at THEN 'inactive'
                WHEN f.locked_until > f.at THEN 'locked'
                ELSE 'check'
           END AS verdict,
           -- A lock that is there and does not stop the attempt ran out.
           CASE WHEN f.locked_until IS NULL THEN LEAST(f.failed, 2147483646) + 1 ELSE 1 END AS charged
    FROM found f
),
written AS (
    UPDATE users u SET failed_login_attempts = j.charged, locked_until = ` + lockOfCharge + `
    FROM judged j WHERE u.username::text = j.username::text AND j.verdict = 'check' AND NOT j.familiar
    -- Another program's trigger may keep the counter, or the lock, as it was. Such a charge does not count.
    RETURNING u.locked_until::timestamptz AS locked_until,
        COALESCE(u.failed_login_attempts >= j.charged, false)
            AND (u.locked_until IS NOT NULL OR j.charged < j.attempts OR j.exempt) AS counts
),{written}
added AS (
    UPDATE login_attempts a SET attempts = LEAST(a.attempts, 2147483646) + 1
    FROM judged j WHERE a.id = CASE j.verdict
        WHEN 'unknown' THEN @unknown_row::bigint WHEN 'locked' THEN @locked_row::bigint WHEN 'inactive' THEN @inactive_row::bigint
    END
    RETURNING a.id, a.locked_until
),
recorded AS (
    INSERT INTO login_attempts (attempted_at, username, source, user_agent, outcome, locked_until, attempt_key{column})
    SELECT j.at,
           CASE WHEN j.aggregates THEN '' WHEN j.username IS NULL THEN @alias::text ELSE @name::text END,
           CASE WHEN j.aggregates THEN @aggregated_source::text ELSE @source::text END,
           CASE WHEN j.aggregates THEN '' ELSE @user_agent::text END,
           CASE j.verdict WHEN 'check' THEN 'pending' ELSE j.verdict END, w.locked_until, @key::text{value}
    FROM (SELECT *, verdict <> 'check' AND @aggregated::boolean AS aggregates FROM judged) j LEFT JOIN {rows} w ON true
    WHERE (j.verdict <> 'check' OR w.counts) AND NOT EXISTS (SELECT FROM added)
    RETURNING id, locked_until
)
SELECT r.id, j.verdict, r.locked_until,
       CASE j.verdict WHEN 'check' THEN j.charged ELSE 0 END,
       CASE j.verdict WHEN 'check' THEN j.password_hash ELSE '' END,
       CASE j.verdict WHEN 'check' THEN j.roles END,
       j.verdict = 'check' AND j.exempt,
       j.verdict = 'check' AND j.familiar,
       CASE WHEN j.verdict = 'check' AND j.splits THEN @network::text ELSE '' END,
       CASE WHEN j.verdict = 'check' THEN j.signed_out_at END
FROM (TABLE added UNION ALL TABLE recorded) r CROSS JOIN judged j`

// lockOfCharge is the lock that a charge writes. It grows as a number: an interval overflows.
const lockOfCharge = `CASE WHEN j.charged >= j.attempts AND NOT j.exempt THEN j.at + GREATEST(j.duration,
            CASE WHEN j.longest > j.duration THEN pg_catalog.make_interval(secs => LEAST(EXTRACT(epoch FROM j.longest)::float8, (
                SELECT EXTRACT(epoch FROM j.duration)::float8 * 2::float8 ^ LEAST(pg_catalog.count(*), 30)::float8 FROM login_attempts before
                WHERE before.username::text = @name::text AND before.locked_until IS NOT NULL AND before.outcome NOT IN ('success', 'unchecked')
                  AND before.attempted_at > j.at - @growth::bigint::float8 * INTERVAL '1 microsecond'{same})))
            END)
        END`

// askCharged reads the row in the transaction of the charge, which holds its lock: an AFTER trigger of another program may have
// reset the counter or the lock. Such a charge does not count, and no password may be checked.
const askCharged = `
SELECT COALESCE(failed_login_attempts, 0)::bigint, locked_until IS NOT NULL FROM users WHERE username::text = @username::text`

// settleAttempt yields a row if the attempt is recorded. The end of a lock, as the row has it, identifies the attempt that wrote
// it: a column may round. A second settlement writes nothing. The trigger does not see that an attempt was settled, and
// subscribers wait for that if it wrote a lock.
const settleAttempt = `
WITH` + patient + `
account AS MATERIALIZED (
    SELECT u.locked_until::timestamptz AS locked_until
    FROM patience, users u
    WHERE u.username::text = @username::text AND @success::boolean
      AND u.active AND COALESCE(u.password_hash::text, '') = @password_hash::text
    FOR NO KEY UPDATE OF u
),
attempt AS MATERIALIZED (
    SELECT a.id, a.outcome, a.locked_until, {familiar} AS familiar FROM login_attempts a WHERE a.id = @id::bigint
    FOR UPDATE
),
judged AS MATERIALIZED (
    SELECT a.id,
           a.outcome = 'pending' AS is_first,
           a.outcome IN ('pending', 'success') AND c.found IS NOT NULL AND NOT EXISTS (
               SELECT FROM shardinguser_ownership p WHERE p.username::text = @username::text AND p.state = 'owned'
                 AND ` + recordedEnd + ` <= pg_catalog.clock_timestamp()
           ) AS accepted,
           a.locked_until IS NOT NULL AS locks,
           NOT a.familiar
               AND COALESCE(c.locked_until <= pg_catalog.clock_timestamp() OR c.locked_until = a.locked_until, c.locked_until IS NULL) AS clears
    FROM attempt a LEFT JOIN (SELECT true AS found, account.* FROM account) c ON true
),
written AS (
    UPDATE users u SET
        last_login_at = pg_catalog.clock_timestamp(),
        failed_login_attempts = CASE WHEN j.clears THEN 0 ELSE u.failed_login_attempts END,
        locked_until = CASE WHEN j.clears THEN NULL ELSE u.locked_until END
    FROM judged j WHERE u.username::text = @username::text AND j.is_first AND j.accepted
),{remembered}
recorded AS (
    UPDATE login_attempts a SET outcome = CASE WHEN j.accepted THEN 'success' ELSE 'failed' END
    FROM judged j WHERE a.id = j.id AND j.is_first
)
SELECT j.accepted, CASE WHEN j.is_first AND j.locks THEN pg_catalog.pg_notify('` + observer.RowsChannel + `', @username::text)::text END
FROM judged j`

// purgeAttempts finds its batch once: an array is not evaluated again for each row, as a subquery may be.
const purgeAttempts = `
DELETE FROM login_attempts WHERE id = ANY (ARRAY(
    SELECT a.id FROM login_attempts a
    WHERE a.attempted_at < pg_catalog.now() - @age::bigint::float8 * INTERVAL '1 microsecond'
      AND (a.locked_until IS NULL OR a.attempted_at < pg_catalog.now() - @growth::bigint::float8 * INTERVAL '1 microsecond')
    ORDER BY a.attempted_at LIMIT @batch::bigint
    FOR UPDATE SKIP LOCKED
))`

// mostTries is how often a statement is tried that the server rolled back because of a concurrent one. That happens only
// under an isolation other than READ COMMITTED. Of those that wait for one row, one succeeds each time.
const mostTries = 50

// insist retries what the server may roll back, or another transaction may block.
func (s *Store) insist(ctx context.Context, username string, do func() error) error {
	return s.patiently(ctx, username, s.settings.StatementTimeout, func() error { return insist(do) })
}

// insist retries what the server may roll back.
func insist(do func() error) error {
	for range mostTries {
		if err := do(); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return &store.UnavailableError{Sentence: "Too many logins to one account at once."}
}

// Charge charges an attempt, or rejects it. Its errors are package store's ErrUnavailable, and that of the context.
func (s *Store) Charge(ctx context.Context, a store.Attempt, limits store.Limits) (store.Charge, error) {
	key := rand.Text()
	args := chargeArguments(a, limits)
	args["key"], args["lock_timeout"] = key, milliseconds(s.timing.lock)
	b := s.budgets(ctx)
	if b.areSplit && !limits.CommonOnly {
		args["network"] = a.Network()
	}
	refusal := s.aggregates.next(a.Source, time.Now())
	refusal.arguments(args)
	charged, err := s.charge(ctx, b, a.Username, args)
	if args["username"] != nil && isUnencodable(err) {
		args["username"], args["name"] = nil, "" // no name of this database
		charged, err = s.charge(ctx, b, a.Username, args)
	}
	s.aggregates.done(refusal, charged.Verdict, charged.ID)
	if err != nil {
		if args["username"] != nil && mayBeMade(err) {
			s.unchecked.addKey(a.Username, key)
		}
		return store.Charge{}, err
	}
	charged.Username = a.Username
	return charged, nil
}

func chargeArguments(a store.Attempt, limits store.Limits) pgx.NamedArgs {
	known, unknown := a.Record(true), a.Record(false)
	args := pgx.NamedArgs{
		"username": nil, "name": "", "network": "", "alias": unknown.Username, "source": known.Source, "user_agent": known.UserAgent,
		"attempts": limits.Attempts, "duration": limits.Duration.Microseconds(), "growth": store.GrowthPeriod.Microseconds(),
	}
	if store.MayBeUsername(a.Username) {
		args["username"], args["name"] = a.Username, known.Username
	}
	return args
}

func (s *Store) charge(ctx context.Context, b budgets, username string, args pgx.NamedArgs) (store.Charge, error) {
	var (
		charged   store.Charge
		roles     *string
		lock      pgtype.Timestamptz
		signedOut pgtype.Timestamptz
		isCharged = true
	)
	err := s.insist(ctx, username, func() error {
		return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			batch := &pgx.Batch{}
			batch.Queue(b.charge, args)
			batch.Queue(askCharged, args)
			results := conn.SendBatch(ctx, batch)
			err := results.QueryRow().Scan(&charged.ID, &charged.Verdict, &lock, &charged.Failed, &charged.PasswordHash, &roles,
				&charged.Exempt, &charged.Familiar, &charged.Network, &signedOut)
			isCharged = !errors.Is(err, pgx.ErrNoRows)
			if err != nil && isCharged {
				return errors.Join(err, results.Close())
			}
			var failed int64
			var isLocked bool
			err = results.QueryRow().Scan(&failed, &isLocked)
			if isCharged && charged.Verdict == store.Check && !charged.Familiar {
				isCharged = err == nil && failed >= int64(charged.Failed) && (isLocked || !lock.Valid)
			}
			if errors.Is(err, pgx.ErrNoRows) {
				err = nil
			}
			return errors.Join(err, results.Close())
		})
	})
	switch {
	case err != nil:
		return store.Charge{}, err
	case !isCharged:
		return store.Charge{}, &store.RejectedError{Sentence: "The database does not count the login: a trigger, a rule or a policy " +
			"on the table users skips the write to the row, or changes failed_login_attempts or locked_until."}
	}
	if until := moment(lock); until != nil {
		charged.Locks, charged.Until = true, *until
	}
	charged.SignedOutAt = moment(signedOut)
	if roles != nil {
		charged.Roles, _ = parseRoles(roles)
	}
	return charged, nil
}

// Settle settles a charged attempt, and reports whether it is an accepted success. Its errors are package store's
// ErrUnavailable, and that of the context. It may be called again after any of them.
func (s *Store) Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error) {
	if charged.Verdict != store.Check {
		return false, nil
	}
	args := pgx.NamedArgs{
		"id": charged.ID, "username": charged.Username, "password_hash": charged.PasswordHash, "success": success,
		"network":      charged.Network,
		"lock_timeout": milliseconds(s.timing.lock),
	}
	b := oneBudget
	if charged.Network != "" {
		b = twoBudgets
	}
	err = s.insist(ctx, charged.Username, func() error {
		return s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
			var notified *string
			err := conn.QueryRow(ctx, b.settle, args).Scan(&accepted, &notified)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		})
	})
	if err != nil {
		if success {
			s.unchecked.addID(charged.Username, charged.ID) // the password was right, and the login was not accepted
		}
		return false, err
	}
	return accepted, nil
}

// PurgeAttempts deletes attempts that are older than this by the database's clock, at most one batch, and returns how many.
// It also deletes addresses that are no longer familiar. Several replicas may do it at once. Its errors are package store's
// sentinels and that of the context.
func (s *Store) PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	var purged int64
	err := s.run(ctx, writes, s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		args := pgx.NamedArgs{
			"age": olderThan.Microseconds(), "growth": store.GrowthPeriod.Microseconds(), "batch": max(0, batch),
		}
		tag, err := conn.Exec(ctx, purgeAttempts, args)
		purged = tag.RowsAffected()
		return err
	})
	if err == nil {
		err = s.purgeFamiliar(ctx, batch)
	}
	return int(purged), err
}
