// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errDeaf says that notifications do not pass, so that one has to poll.
var errDeaf = errors.New("notifications do not pass")

// run listens, and polls while it cannot.
func (o *observer) run(ctx context.Context) {
	if o.s.settings.NoNotifications {
		o.poll(ctx)
		return
	}
	delay := o.s.newDelay()
	for {
		var conn *pgx.Conn
		var err error
		o.pollWhile(ctx, func() { conn, err = o.prepare(ctx) })
		if err == nil {
			began := time.Now()
			err = o.listen(ctx, conn)
			if time.Since(began) > o.s.timing.lastRetry {
				delay.reset() // it had been fine
			}
		}
		if ctx.Err() != nil {
			return
		}
		o.polling(err)
		o.pollWhile(ctx, func() {
			if errors.Is(err, errDeaf) {
				pause(ctx, o.s.timing.retryListen)
			} else {
				delay.wait(ctx)
			}
		})
	}
}

// pollWhile sweeps every PollInterval until do returns: the pool may work where the listening connection does not.
func (o *observer) pollWhile(ctx context.Context, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		timer := time.NewTimer(o.s.settings.PollInterval - time.Since(o.tried))
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			_ = o.sweep(ctx) // the next one may succeed
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

// listen returns when the connection breaks, when notifications do not pass, or when ctx ends.
func (o *observer) listen(ctx context.Context, conn *pgx.Conn) error {
	defer hangUp(ctx, conn)
	if err := o.sweep(ctx); err != nil {
		return err
	}
	o.notifying()
	return o.receive(ctx, conn)
}

// connect opens the direct connection and listens. That it fails says nothing of the pool, which may go another way.
func (o *observer) connect(ctx context.Context) (*pgx.Conn, error) {
	// Several hosts may each take their time.
	limited, cancel := context.WithTimeout(ctx, 4*o.s.settings.StatementTimeout)
	defer cancel()
	config, err := connConfig(o.s.settings.ListenDSN)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(limited, config)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(limited, "LISTEN "+rowsChannel+"; LISTEN "+probeChannel, pgx.QueryExecModeSimpleProtocol)
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
func (o *observer) testSelf(ctx context.Context, conn *pgx.Conn) error {
	token := rand.Text()
	err := o.s.run(ctx, asks, o.s.settings.StatementTimeout, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_notify($1::text, $2::text)", probeChannel, token)
		return err
	})
	if err != nil {
		return err
	}
	until := time.Now().Add(o.s.timing.selfTest)
	for {
		notification, err := waitUntil(ctx, conn, until)
		switch {
		case err != nil:
			return err
		case notification == nil:
			return errDeaf
		case notification.Channel == probeChannel && notification.Payload == token:
			return nil
		}
	}
}

// receive tells of what arrives, each at once, since whoever is told gathers what comes while he is busy; and sweeps when
// it is time. An empty notification is for no row in particular. It returns when the connection breaks, when the trigger
// has gone, or when ctx ends.
func (o *observer) receive(ctx context.Context, conn *pgx.Conn) error {
	for {
		left := o.s.settings.ResyncInterval - time.Since(o.swept)
		notification, err := waitUntil(ctx, conn, time.Now().Add(max(0, min(left, o.s.timing.keepAlive))))
		if err != nil {
			return err
		}
		ofRows := notification != nil && notification.Channel == rowsChannel
		if ofRows && notification.Payload != "" {
			o.notified(notification.Payload)
		}
		switch {
		case ofRows && notification.Payload == "", left <= 0:
			if err := o.resync(ctx); err != nil {
				return err
			}
		case notification == nil:
			if err := o.ping(ctx, conn); err != nil {
				return err
			}
		}
		o.s.health.hear()
	}
}

// waitUntil is the next notification, nil where none came in time. The connection stays usable then.
func waitUntil(ctx context.Context, conn *pgx.Conn, until time.Time) (*pgconn.Notification, error) {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	notification, err := conn.WaitForNotification(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
		return nil, nil //nolint:nilnil // none came, and nothing is wrong
	}
	return notification, err
}

// resync is the sweep while listening, with a look at whether the trigger is still there.
func (o *observer) resync(ctx context.Context) error {
	if err := o.sweep(ctx); err != nil {
		return err
	}
	there, err := o.s.ensureTrigger(ctx)
	if err == nil && !there {
		return errDeaf
	}
	return err
}

// ping asks the listening connection whether it is still there. What arrives meanwhile is kept for later.
func (o *observer) ping(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, o.s.timing.ping)
	defer cancel()
	return conn.Ping(limited)
}

// notifying takes note that changes come by notifications from now on.
func (o *observer) notifying() {
	o.s.health.setNotifying(true)
	o.reason = ""
	o.s.settings.Log.Info("Changes of the table users come by notifications")
}

// polling takes note that they have to be looked for, and logs the reason where it is a new one.
func (o *observer) polling(err error) {
	o.s.health.setNotifying(false)
	reason := "there is no trigger, or notifications do not arrive"
	switch {
	case errors.Is(err, errDeaf):
	case errors.Is(err, errTurnedOff):
		reason = err.Error()
	default:
		reason = o.s.judge(err, reads, o.s.settings.StatementTimeout).sentence
	}
	if reason != o.reason {
		o.reason = reason
		o.s.settings.Log.Info("Changes of the table users are looked for by polling", "reason", reason)
	}
}
