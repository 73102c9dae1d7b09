// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// errDeaf says that notifications do not pass, so that one has to poll.
var errDeaf = errors.New("notifications do not pass")

// errRenewed says that all sessions are renewed, the listening one too.
var errRenewed = errors.New("the connections are renewed")

// run listens. While it cannot, sweeps come as often as without notifications.
func (o *observer) run(ctx context.Context) {
	if o.s.settings.NoNotifications {
		o.poll(ctx)
		return
	}
	delay := o.s.newDelay()
	for {
		conn, err := o.prepare(ctx)
		if err == nil {
			began := time.Now()
			err = o.listen(ctx, conn)
			o.s.sessions.listen(nil)
			if time.Since(began) > o.s.timing.lastRetry {
				delay.reset() // it had been fine
			}
		}
		if ctx.Err() != nil {
			return
		}
		o.polling(err)
		if errors.Is(err, errDeaf) {
			o.s.sessions.pause(ctx, o.s.timing.retryListen, o.session.generation)
		} else {
			delay.wait(ctx)
		}
	}
}

// prepare returns a connection that notifications were seen to reach.
func (o *observer) prepare(ctx context.Context) (*pgx.Conn, error) {
	conn, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	there, err := o.s.ensureTrigger(ctx)
	switch {
	case err == nil && there:
		err = o.testSelf(ctx, conn)
	case err == nil:
		err = errDeaf
	}
	if err != nil {
		hangUp(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// listen returns when the connection breaks, when a sweep fails, when notifications do not pass, or when ctx ends.
func (o *observer) listen(ctx context.Context, conn *pgx.Conn) error {
	defer hangUp(ctx, conn)
	receiving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.listens(o.session, cancel)
	defer o.listensNoMore()
	err := o.receive(receiving, conn)
	if cause := context.Cause(receiving); cause != nil {
		return cause
	}
	return err
}

// connect opens the direct connection and listens. That it fails says nothing of the pool, which may go another way.
func (o *observer) connect(ctx context.Context) (*pgx.Conn, error) {
	// Several hosts may each take their time.
	limited, cancel := context.WithTimeout(ctx, 4*o.s.settings.StatementTimeout)
	defer cancel()
	generation := o.s.sessions.now() // before the DSN is read
	config, err := connConfig(o.s.settings.ListenDSN)
	if err != nil {
		return nil, err
	}
	config.OnNotification = o.arrived
	conn, err := pgx.ConnectConfig(limited, config)
	if err != nil {
		return nil, err
	}
	o.session, err = o.s.sessions.identify(limited, conn.PgConn(), config, generation, o.s.settings.StatementTimeout)
	if err == nil {
		_, err = conn.Exec(limited, "LISTEN "+rowsChannel+"; LISTEN "+probeChannel, pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil {
		_ = conn.Close(limited)
		return nil, err
	}
	return conn, nil
}

// hangUp closes a connection, and does not wait for long.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(closing)
}

// testSelf sends a notification through the pool and waits for it. What else arrives meanwhile is of no interest: the
// sweep comes after it.
func (o *observer) testSelf(ctx context.Context, listening *pgx.Conn) error {
	token := rand.Text()
	o.token = token
	err := o.s.run(ctx, asks, o.s.settings.StatementTimeout, func(ctx context.Context, conn *conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_notify($1::text, $2::text)", probeChannel, token)
		return err
	})
	if err != nil {
		return err
	}
	until := time.Now().Add(o.s.timing.selfTest)
	for o.token != "" {
		hasArrived, err := waitUntil(ctx, listening, until)
		switch {
		case err != nil:
			return err
		case !hasArrived:
			return errDeaf
		}
	}
	return nil
}

// receive calls arrived with each notification as it comes: a subscriber that is busy collects them. It returns when the connection
// breaks, or when ctx ends.
func (o *observer) receive(ctx context.Context, conn *pgx.Conn) error {
	for {
		if o.s.sessions.now() != o.session.generation {
			return errRenewed
		}
		hasArrived, err := waitUntil(ctx, conn, time.Now().Add(o.s.timing.keepAlive))
		if err == nil && !hasArrived {
			err = o.ping(ctx, conn)
		}
		if err != nil {
			return err
		}
		o.hear()
	}
}

// waitUntil waits for the next notification, and reports whether one came in time. The connection stays usable where none did.
func waitUntil(ctx context.Context, conn *pgx.Conn, until time.Time) (bool, error) {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	_, err := conn.WaitForNotification(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
		return false, nil // none came, and nothing is wrong
	}
	return err == nil, err
}

// ping asks the listening connection whether it is still there.
func (o *observer) ping(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, o.s.timing.ping)
	defer cancel()
	return conn.Ping(limited)
}

// notifying takes note that changes come by notifications from now on. It is called with the lock held.
func (o *observer) notifying() {
	o.s.health.setNotifying(true)
	if o.reason != "" || !o.renews {
		o.s.settings.Log.Info("Receiving changes of the table users by notifications")
	}
	o.reason, o.renews = "", false
}

// polling takes note that they have to be looked for, and logs the reason where it is a new one.
func (o *observer) polling(err error) {
	o.s.health.setNotifying(false)
	if errors.Is(err, errRenewed) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.renews = true
		return
	}
	reason := "there is no trigger, or notifications do not arrive"
	switch {
	case errors.Is(err, errDeaf):
	case errors.Is(err, errTurnedOff):
		reason = err.Error()
	default:
		reason = o.s.judge(err, reads, o.s.settings.StatementTimeout).sentence
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if reason != o.reason {
		o.reason = reason
		o.s.settings.Log.Info("Polling the table users for changes", "reason", reason)
	}
}
