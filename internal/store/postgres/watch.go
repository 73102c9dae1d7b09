// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/observer"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

// Watch calls changed with usernames whose row or ownership record may have changed, and recovered when the database answers
// again after it did not. The two are never called at the same time. It returns when ctx ends, and for no other reason.
//
// The first calls of changed have the usernames of all rows, a page in each call. Notified usernames may come in between.
// Exactly one call without usernames says that all rows were reported.
//
// All subscribers share one listening connection, and each sweep. Notifications do not wait for the callbacks of other
// subscribers. A sweep does: it offers the next page when each subscriber took the last one.
//
// Until the schema is complete there is nothing to watch, so [Store.Maintain] has to run.
func (s *Store) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	again := make(chan struct{}, 1)
	s.health.join(again)
	defer s.health.leave(again)
	s.observer.Watch(ctx, changed, again, recovered)
}

// observed is the store as its observer uses it.
type observed struct {
	*Store

	mu sync.Mutex
	at session.Identity // where the last sweep was
}

// rowDigests returns a digest for each username that has a row or an ownership record. The digest changes when either
// changes, or when the attempt that wrote the row's lock is settled. The record of a deleted row does not count: no
// subscriber has to read it.
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

// ReadDigests implements observer.Database.
func (o *observed) ReadDigests(ctx context.Context, begin func(isOther bool), add func(username []byte, digest int64)) error {
	return o.run(ctx, reads, o.timing.sweep, func(ctx context.Context, conn *conn) error {
		begin(o.move(o.sessions.Of(conn.raw.PgConn()).At))
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
				add(username, digest)
			}
			return nil
		})
		return err
	})
}

// move records where a sweep is, and reports whether the last one was of another table.
func (o *observed) move(at session.Identity) (isOther bool) {
	if !at.IsKnown() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.at
	o.at = at
	return before.IsKnown() && !before.Meets(at)
}

// Notify implements observer.Database.
func (o *observed) Notify(ctx context.Context, channel, payload string) error {
	return o.run(ctx, asks, o.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_notify($1::text, $2::text)", channel, payload)
		return err
	})
}

// ArrangeTrigger implements observer.Database.
func (o *observed) ArrangeTrigger(ctx context.Context) (isThere bool, err error) {
	return o.arrangeTrigger(ctx)
}

// SetNotified implements observer.Database.
func (o *observed) SetNotified(isNotified bool) { o.health.setNotifying(isNotified) }

// MarkAlive implements observer.Database.
func (o *observed) MarkAlive() { o.health.markAlive() }

// Reason implements observer.Database.
func (o *observed) Reason(err error) string {
	return o.classify(err, reads, o.settings.StatementTimeout).sentence
}

// Listen implements observer.Database. Its errors say nothing of the pool, which may take another way.
func (o *observed) Listen(ctx context.Context, arrived func(channel, payload string)) (observer.Connection, error) {
	// Each of several hosts may use up its time.
	limited, cancel := context.WithTimeout(ctx, 4*o.settings.StatementTimeout)
	defer cancel()
	generation, renewed := o.sessions.Generation() // before the DSN is read
	config, err := connConfig(o.settings.ListenDSN)
	if err != nil {
		return nil, err
	}
	config.OnNotification = func(_ *pgconn.PgConn, notification *pgconn.Notification) {
		arrived(notification.Channel, notification.Payload)
	}
	raw, err := pgx.ConnectConfig(limited, config)
	if err != nil {
		return nil, err
	}
	opened, err := o.sessions.Identify(limited, raw.PgConn(), config, generation, o.settings.StatementTimeout)
	if err == nil {
		_, err = raw.Exec(limited, "LISTEN "+observer.RowsChannel+"; LISTEN "+observer.ProbeChannel, pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil {
		_ = raw.Close(limited)
		return nil, err
	}
	return &listener{raw: raw, sessions: o.sessions, session: opened, renewed: renewed}, nil
}

// listener is a listening connection.
type listener struct {
	raw      *pgx.Conn
	sessions *session.Registry
	session  *session.Session
	renewed  <-chan struct{}
}

// Wait implements observer.Connection. The connection stays usable where no notification arrived.
func (l *listener) Wait(ctx context.Context, until time.Time) (hasArrived bool, err error) {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	_, err = l.raw.WaitForNotification(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !l.raw.IsClosed() {
		return false, nil // none arrived, and the connection is fine
	}
	return err == nil, err
}

// Ping implements observer.Connection.
func (l *listener) Ping(ctx context.Context) error { return l.raw.Ping(ctx) }

// Rely implements observer.Connection.
func (l *listener) Rely() { l.sessions.Listen(l.session) }

// Renewed implements observer.Connection.
func (l *listener) Renewed() <-chan struct{} { return l.renewed }

// Close implements observer.Connection.
func (l *listener) Close(ctx context.Context) {
	hangUp(ctx, l.raw)
	l.sessions.Listen(nil)
}

// hangUp closes a connection, and waits for no longer than a second.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(closing)
}
