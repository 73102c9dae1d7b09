// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// fingerprints yields a figure for every username that has a row or a note, that is another one whenever either
// changed, or the attempt that wrote the row's lock was settled. A note of what was deleted is none: nobody has to look
// at it.
const fingerprints = `
SELECT COALESCE(u.username, o.username),
       hashtextextended(ROW(u.username, u.password_hash, u.roles, u.active, u.failed_login_attempts, u.locked_until,
           u.last_login_at, o.revision,
           CASE WHEN u.locked_until::timestamptz > now() THEN (
               SELECT min(a.outcome) FROM login_attempts a
               WHERE a.username = u.username AND a.locked_until = u.locked_until::timestamptz)
           END)::text, 0)
FROM users u
FULL JOIN (SELECT username, revision FROM shardinguser_ownership WHERE state <> 'deleted') o ON o.username = u.username`

// sweep tells of all that differs from the last sweep: of all there is, the first time.
func (o *observer) sweep(ctx context.Context) error {
	defer func() { o.tried = time.Now() }()
	found := make(map[string]int64, len(o.known))
	var at identity
	err := o.s.run(ctx, reads, o.s.timing.sweep, func(ctx context.Context, conn *pgxpool.Conn) error {
		at = o.s.sessions.at(conn.Conn().PgConn())
		rows, err := conn.Query(ctx, fingerprints)
		if err != nil {
			return err
		}
		var (
			username    string
			fingerprint int64
		)
		_, err = pgx.ForEachRow(rows, []any{&username, &fingerprint}, func() error {
			found[username] = fingerprint
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	o.sweptAt(at)
	o.found(found)
	o.swept = time.Now()
	return nil
}

// sweptAt forgets the digests of all rows where the last sweep was of another table users. So its usernames are reported as
// well as those of the new table.
func (o *observer) sweptAt(at identity) {
	before := o.at
	if !at.isKnown() {
		return
	}
	o.at = at
	if !before.isKnown() || before.meets(at) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for username := range o.known {
		o.known[username] = 0
	}
}
