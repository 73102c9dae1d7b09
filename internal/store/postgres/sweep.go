// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// rowDigests yields a figure for every username that has a row or a note, that is another one whenever either
// changed, or the attempt that wrote the row's lock was settled. A note of what was deleted is none: nobody has to look
// at it.
const rowDigests = `
SELECT COALESCE(u.username, o.username)::text,
       pg_catalog.hashtextextended(ROW(u.username, u.password_hash, u.roles, u.active, u.failed_login_attempts, u.locked_until,
           u.last_login_at, o.revision,
           CASE WHEN u.locked_until::timestamptz > pg_catalog.now() THEN (
               SELECT pg_catalog.min(a.outcome) FROM login_attempts a
               WHERE a.username::text = u.username::text AND a.locked_until = u.locked_until::timestamptz)
           END)::text, 0)
FROM users u
FULL JOIN (SELECT username, revision FROM shardinguser_ownership WHERE state <> 'deleted') o ON o.username::text = u.username::text`

// sweeps sweeps until ctx ends: every PollInterval, every ResyncInterval while notifications pass, and by request.
func (o *observer) sweeps(ctx context.Context) {
	for {
		timer := time.NewTimer(time.Until(o.due()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-o.earlier:
			timer.Stop()
		case <-timer.C:
			o.sweepOnce(ctx)
		}
	}
}

// due returns when the next sweep is due.
func (o *observer) due() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	settings := o.s.settings
	switch {
	case o.connection != nil && !o.connection.swept:
		return time.Now()
	case o.requested:
		return o.tried.Add(min(settings.PollInterval, o.s.timing.requests))
	case o.connection != nil:
		return o.tried.Add(settings.ResyncInterval)
	}
	return o.tried.Add(settings.PollInterval)
}

// sweepOnce sweeps for the connection that listens, if there is one, and looks whether the trigger is still there.
func (o *observer) sweepOnce(ctx context.Context) {
	connection := o.begin()
	err := o.sweep(ctx)
	if err == nil && connection != nil && connection.swept {
		var there bool
		if there, err = o.s.ensureTrigger(ctx); err == nil && !there {
			err = errDeaf
		}
	}
	o.end(connection, err)
}

// begin begins a sweep. What is notified from now on may not be in what the sweep reads.
func (o *observer) begin() *connection {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requested = false
	o.sweeping, o.touched = o.touched, pending{}
	o.making, o.missed = o.missed, false
	return o.connection
}

// end ends a sweep. Without an error it has made up for the notifications that were dropped before it began.
func (o *observer) end(connection *connection, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried = time.Now()
	if err != nil {
		hasRoom := o.touched.addAll(o.sweeping)
		o.missed = o.missed || o.making || !hasRoom
	}
	o.sweeping, o.making = pending{}, false
	if connection == nil || o.connection != connection {
		return // it came or went meanwhile
	}
	if err != nil {
		o.connection = nil // the goroutine that listens hangs up
		connection.fail(err)
	} else if !connection.swept {
		connection.swept = true
		o.s.sessions.listen(connection.session)
		o.notifying()
	}
}

// sweep reads the digests and tells the subscribers about all that differ from the last sweep: about all there are,
// the first time. It does so as well about names that were notified before it began, since what it read may be the same as
// in the last sweep, and something else in between.
func (o *observer) sweep(ctx context.Context) error {
	found, err := o.read(ctx)
	if err != nil {
		return err
	}
	o.tell(ctx, found)
	return ctx.Err()
}

// tell ends the comparison and tells the subscribers what differs.
func (o *observer) tell(ctx context.Context, found *comparison) {
	after := found.after()
	o.mu.Lock()
	isFirst := !o.isKnown
	o.known, o.isKnown = after, true
	notified := o.sweeping
	subscribers := slices.Collect(maps.Keys(o.subscribers)) // who joins from now on is told of all that is known
	o.mu.Unlock()

	pages := pages{ctx: ctx, subscribers: subscribers}
	for username := range found.usernames() {
		pages.add(username)
	}
	for username := range notified.names {
		pages.add(username)
	}
	pages.end(isFirst)
}

// read reads the digests as a stream. It waits for the database alone, and so keeps the connection no longer than needed.
func (o *observer) read(ctx context.Context) (found *comparison, err error) {
	err = o.s.run(ctx, reads, o.s.timing.sweep, func(ctx context.Context, conn *conn) error {
		found = compareWith(o.knownAt(o.s.sessions.of(conn.raw.PgConn()).at))
		rows, err := conn.Query(ctx, rowDigests)
		if err != nil {
			return err
		}
		var (
			username pgtype.DriverBytes // of the driver's buffer
			digest   int64
		)
		_, err = pgx.ForEachRow(rows, []any{&username, &digest}, func() error {
			if username != nil {
				found.add(username, digest)
			}
			return nil
		})
		return err
	})
	return found, err
}

// pages collects usernames and offers them to subscribers. The last page is no smaller than the others.
type pages struct {
	ctx         context.Context //nolint:containedctx // of one sweep
	subscribers []*subscriber
	usernames   []string
}

func (p *pages) add(username string) {
	p.usernames = append(p.usernames, username)
	if len(p.usernames) < 2*pageSize {
		return
	}
	p.offer(p.usernames[:pageSize])
	p.usernames = append([]string(nil), p.usernames[pageSize:]...)
}

// end offers the rest and, after the first sweep, the end of what there is.
func (p *pages) end(isFirst bool) {
	if len(p.usernames) > 0 {
		p.offer(p.usernames)
	}
	if isFirst {
		p.offer(nil)
	}
}

func (p *pages) offer(usernames []string) {
	for _, m := range p.subscribers {
		m.offer(p.ctx, usernames)
	}
}

// knownAt returns the digests of the last sweep. Where that one was of another table users, they are such that all of its
// usernames are reported, as well as those of the new table.
func (o *observer) knownAt(at identity) digests {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !at.isKnown() {
		return o.known
	}
	before := o.at
	o.at = at
	if before.isKnown() && !before.meets(at) {
		o.known = o.known.changed()
	}
	return o.known
}
