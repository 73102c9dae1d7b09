// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// timing is what is waited for, and how long, in observing and maintaining.
type timing struct {
	selfTest    time.Duration // for a notification of our own to arrive
	retryListen time.Duration // until notifications are tried again while polling
	keepAlive   time.Duration // of silence, until the listening connection is asked whether it is still there
	ping        time.Duration // for its answer
	gather      time.Duration // for more notifications, after the first of a burst
	firstRetry  time.Duration // of the delays after failures
	lastRetry   time.Duration
	sweep       time.Duration // that one sweep may take
}

func usualTiming() timing {
	return timing{
		selfTest:    2 * time.Second,
		retryListen: time.Minute,
		keepAlive:   10 * time.Second,
		ping:        5 * time.Second,
		gather:      5 * time.Millisecond,
		firstRetry:  100 * time.Millisecond,
		lastRetry:   2 * time.Second,
		sweep:       30 * time.Second,
	}
}

// errDeaf says that notifications do not pass, so that one has to poll.
var errDeaf = errors.New("notifications do not pass")

// watcher is one Watch.
type watcher struct {
	s      *Store
	health *watcherHealth
	tell   func(usernames []string)

	known map[string]int64 // fingerprints by username, of the last sweep; nil before the first
	swept time.Time        // when that was
	tried time.Time        // when the last one ended, also where it failed

	reason string // why one has to poll, as it was logged
}

// Watch calls changed with usernames whose row or note may have changed, with those of all rows at first, and recovered
// when the database answers again after it did not. The two are never called at the same time. It returns when ctx
// ends, and for no other reason: the package's documentation says what it does about failures.
//
// Until the schema is complete there is nothing to watch, so [Store.Maintain] has to run.
func (s *Store) Watch(ctx context.Context, changed func(usernames []string), recovered func()) {
	w := &watcher{s: s, health: s.health.join()}
	defer s.health.leave(w.health)

	var one sync.Mutex
	w.tell = func(usernames []string) {
		if len(usernames) == 0 {
			return
		}
		one.Lock()
		defer one.Unlock()
		changed(usernames)
	}
	var announcing sync.WaitGroup
	defer announcing.Wait()
	announcing.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.health.recovered:
			}
			one.Lock()
			recovered()
			one.Unlock()
			// A database that comes and goes must not set its callers on it more often than this.
			if !pause(ctx, min(time.Second, s.timing.lastRetry)) {
				return
			}
		}
	})

	select {
	case <-ctx.Done():
	case <-s.migrated:
		w.run(ctx)
	}
}

// run listens, and polls while it cannot.
func (w *watcher) run(ctx context.Context) {
	delay := w.s.newDelay()
	for {
		var conn *pgx.Conn
		var err error
		w.pollWhile(ctx, func() { conn, err = w.prepare(ctx) })
		if err == nil {
			began := time.Now()
			err = w.listen(ctx, conn)
			if time.Since(began) > w.s.timing.lastRetry {
				delay.reset() // it had been fine
			}
		}
		if ctx.Err() != nil {
			return
		}
		w.polling(err)
		w.pollWhile(ctx, func() {
			if errors.Is(err, errDeaf) {
				pause(ctx, w.s.timing.retryListen)
			} else {
				delay.wait(ctx)
			}
		})
	}
}

// pollWhile sweeps every PollInterval until do returns: the pool may work where the listening connection does not.
func (w *watcher) pollWhile(ctx context.Context, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	for {
		timer := time.NewTimer(w.s.settings.PollInterval - time.Since(w.tried))
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C:
			_ = w.sweep(ctx) // the next one may succeed
		}
	}
}

// prepare returns a connection that notifications were seen to reach.
func (w *watcher) prepare(ctx context.Context) (*pgx.Conn, error) {
	conn, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	there, err := w.s.ensureTrigger(ctx)
	switch {
	case err == nil && there:
		err = w.testSelf(ctx, conn)
	case err == nil:
		err = errDeaf
	}
	if err != nil {
		w.hangUp(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// listen returns when the connection breaks, when notifications do not pass, or when ctx ends.
func (w *watcher) listen(ctx context.Context, conn *pgx.Conn) error {
	defer w.hangUp(ctx, conn)
	if err := w.sweep(ctx); err != nil {
		return err
	}
	w.notifying()
	return w.receive(ctx, conn)
}

func (w *watcher) hangUp(ctx context.Context, conn *pgx.Conn) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(closing)
}

// connect opens the direct connection and listens. That it fails says nothing of the pool, which may go another way.
func (w *watcher) connect(ctx context.Context) (*pgx.Conn, error) {
	// Several hosts may each take their time.
	limited, cancel := context.WithTimeout(ctx, 4*w.s.settings.StatementTimeout)
	defer cancel()
	config, err := connConfig(w.s.settings.ListenDSN)
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

// testSelf sends a notification through the pool and waits for it. What else arrives meanwhile is of no interest: the
// sweep comes after it.
func (w *watcher) testSelf(ctx context.Context, conn *pgx.Conn) error {
	token := rand.Text()
	err := w.s.call(ctx, asks, w.s.settings.StatementTimeout, func(ctx context.Context) error {
		_, err := w.s.pool.Exec(ctx, "SELECT pg_notify($1::text, $2::text)", probeChannel, token)
		return err
	})
	if err != nil {
		return err
	}
	until := time.Now().Add(w.s.timing.selfTest)
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

// receive tells of what arrives, and sweeps when it is time. It returns when the connection breaks, when the trigger
// has gone, or when ctx ends.
func (w *watcher) receive(ctx context.Context, conn *pgx.Conn) error {
	for {
		left := w.s.settings.ResyncInterval - time.Since(w.swept)
		usernames, truncated, err := w.gather(ctx, conn, max(0, min(left, w.s.timing.keepAlive)))
		w.remember(usernames)
		w.tell(usernames)
		switch {
		case err != nil:
			return err
		case truncated || left <= 0:
			if err := w.resync(ctx); err != nil {
				return err
			}
		case len(usernames) == 0:
			if err := w.ping(ctx, conn); err != nil {
				return err
			}
		}
	}
}

// remember takes note of rows that came up since the last sweep, so that the next one tells when they are gone.
func (w *watcher) remember(usernames []string) {
	for _, username := range usernames {
		if _, ok := w.known[username]; !ok {
			w.known[username] = 0
		}
	}
}

// gather waits for a notification, and for what follows it at once. An empty one, for which truncated stands, is for no
// row in particular.
func (w *watcher) gather(ctx context.Context, conn *pgx.Conn, wait time.Duration) (usernames []string, truncated bool, err error) {
	const most = 1000
	seen := map[string]struct{}{}
	until := time.Now().Add(wait)
	for arrived := 0; arrived < most; arrived++ {
		notification, err := waitUntil(ctx, conn, until)
		if err != nil {
			return slices.Collect(maps.Keys(seen)), truncated, err
		}
		if notification == nil {
			break
		}
		if arrived == 0 {
			until = time.Now().Add(w.s.timing.gather)
		}
		switch {
		case notification.Channel != rowsChannel:
		case notification.Payload == "":
			truncated = true
		default:
			seen[notification.Payload] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(seen)), truncated, nil
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
func (w *watcher) resync(ctx context.Context) error {
	if err := w.sweep(ctx); err != nil {
		return err
	}
	there, err := w.s.ensureTrigger(ctx)
	if err == nil && !there {
		return errDeaf
	}
	return err
}

// ping asks the listening connection whether it is still there. What arrives meanwhile is kept for later.
func (w *watcher) ping(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, w.s.timing.ping)
	defer cancel()
	return conn.Ping(limited)
}

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
func (w *watcher) sweep(ctx context.Context) error {
	defer func() { w.tried = time.Now() }()
	found := make(map[string]int64, len(w.known))
	err := w.s.call(ctx, reads, w.s.timing.sweep, func(ctx context.Context) error {
		rows, err := w.s.pool.Query(ctx, fingerprints)
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
	var usernames []string
	for username, fingerprint := range found {
		if before, ok := w.known[username]; !ok || before != fingerprint {
			usernames = append(usernames, username)
		}
	}
	for username := range w.known {
		if _, ok := found[username]; !ok {
			usernames = append(usernames, username)
		}
	}
	w.known, w.swept = found, time.Now()
	w.tell(usernames)
	return nil
}

// notifying takes note that changes come by notifications from now on.
func (w *watcher) notifying() {
	w.s.health.setNotifying(w.health, true)
	w.reason = ""
	w.s.settings.Log.Info("Changes of the table users come by notifications")
}

// polling takes note that they have to be looked for, and logs the reason where it is a new one.
func (w *watcher) polling(err error) {
	w.s.health.setNotifying(w.health, false)
	reason := "there is no trigger, or notifications do not arrive"
	if !errors.Is(err, errDeaf) {
		reason = w.s.judge(err, reads, w.s.settings.StatementTimeout).sentence
	}
	if reason != w.reason {
		w.reason = reason
		w.s.settings.Log.Info("Changes of the table users are looked for by polling", "reason", reason)
	}
}
