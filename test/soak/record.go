// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ourName is the application name of the soak's own connections to the database.
const ourName = "soak"

// keepRecord lets the database record what happens to rows, independent of the operator: each state of an account's
// counter and lock, and how an attempt was first recorded. If it was pending, the database decided it; otherwise it was
// merged after an outage.
func (s *stage) keepRecord(ctx context.Context) error {
	return s.exec(ctx, `
CREATE SCHEMA soak;
CREATE TABLE soak.attempts (
    seq BIGINT GENERATED ALWAYS AS IDENTITY, id BIGINT NOT NULL, outcome TEXT NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON soak.attempts (at);
CREATE TABLE soak.changes (
    seq BIGINT GENERATED ALWAYS AS IDENTITY, username TEXT NOT NULL, failed INTEGER NOT NULL, locked_until TIMESTAMPTZ,
    foreigner BOOLEAN NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON soak.changes (at);
CREATE FUNCTION soak.keep_attempt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO soak.attempts (id, outcome) VALUES (NEW.id, NEW.outcome);
    RETURN NULL;
END $$;
CREATE FUNCTION soak.keep_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO soak.changes (username, failed, foreigner) VALUES (OLD.username, 0, true);
    ELSE
        INSERT INTO soak.changes (username, failed, locked_until, foreigner)
        VALUES (NEW.username, NEW.failed_login_attempts, NEW.locked_until AT TIME ZONE 'UTC',
            TG_OP = 'INSERT' OR current_setting('application_name') = '`+ourName+`');
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION soak.keep_again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    UPDATE soak.attempts SET at = clock_timestamp() WHERE id = NEW.id; -- so that it is read again, however late that is
    RETURN NULL;
END $$;
CREATE TRIGGER soak_unchecked AFTER UPDATE ON public.login_attempts FOR EACH ROW
    WHEN (NEW.outcome = 'unchecked') EXECUTE FUNCTION soak.keep_again();
CREATE TRIGGER soak_attempt AFTER INSERT ON public.login_attempts FOR EACH ROW EXECUTE FUNCTION soak.keep_attempt();
CREATE TRIGGER soak_row AFTER INSERT OR DELETE ON public.users FOR EACH ROW EXECUTE FUNCTION soak.keep_change();
CREATE TRIGGER soak_change AFTER UPDATE ON public.users FOR EACH ROW
    WHEN (OLD.failed_login_attempts IS DISTINCT FROM NEW.failed_login_attempts OR OLD.locked_until IS DISTINCT FROM NEW.locked_until)
    EXECUTE FUNCTION soak.keep_change();`)
}

// overlap is how far back rows are read again: transactions do not become visible in the order of their times, and an
// attempt is settled after it was recorded.
const overlap = 30 * time.Second

// readRecord reads what was recorded since then into the ledger; everything if since is zero.
func (s *stage) readRecord(ctx context.Context, since time.Time) error {
	var (
		records []record
		changes []change
		asOf    = time.Now()
	)
	// One snapshot, so that a settlement is seen completely or not at all.
	tx, err := s.db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing was written
	rows, err := tx.Query(ctx, `
SELECT a.id, a.user_agent, a.username, a.attempted_at, a.outcome, COALESCE(a.locked_until, 'epoch'), k.outcome IN ('success', 'failed'), k.at
FROM soak.attempts k JOIN login_attempts a ON a.id = k.id WHERE k.at > $1 AND a.username <> ''`, since)
	if err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	for rows.Next() {
		var r record
		var userAgent string
		if err := rows.Scan(&r.id, &userAgent, &r.user, &r.at, &r.outcome, &r.lock, &r.merged, &r.kept); err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		if r.lock.Unix() == 0 {
			r.lock = time.Time{}
		}
		r.attempt, _ = strconv.ParseInt(strings.TrimPrefix(userAgent, agent), 10, 64) // 0 belongs to no attempt
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the record: %w", err)
	}
	rows, err = tx.Query(ctx, `
SELECT seq, username, at, failed, COALESCE(locked_until, 'epoch'), foreigner FROM soak.changes WHERE at > $1`, since)
	if err != nil {
		return fmt.Errorf("read what happened to rows: %w", err)
	}
	for rows.Next() {
		var c change
		if err := rows.Scan(&c.seq, &c.user, &c.at, &c.failed, &c.lock, &c.foreign); err != nil {
			return fmt.Errorf("read what happened to rows: %w", err)
		}
		if c.lock.Unix() == 0 {
			c.lock = time.Time{}
		}
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read what happened to rows: %w", err)
	}
	var refused int
	if err := tx.QueryRow(ctx, `SELECT COALESCE(sum(attempts), 0) FROM login_attempts WHERE username = ''`).Scan(&refused); err != nil {
		return fmt.Errorf("read how many refused attempts are recorded: %w", err)
	}
	s.ledger.learn(records, changes, asOf)
	s.ledger.learnRefused(refused)
	return nil
}
