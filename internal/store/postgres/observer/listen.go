// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// errNotNotified says that notifications do not arrive, so that the observer polls.
var errNotNotified = errors.New("there is no trigger, or notifications do not arrive")

// errTurnedOff says that the settings do without notifications.
var errTurnedOff = errors.New("notifications are turned off")

// errRenewed says that all connections are replaced, the listening one too.
var errRenewed = errors.New("the connections are renewed")

// listen listens until ctx ends. While it cannot, sweeps begin every PollInterval.
func (r *run) listen(ctx context.Context) {
	if r.settings.NoNotifications {
		r.poll(ctx)
		return
	}
	delay := backoff.New(r.timing.FirstRetry, r.timing.LastRetry)
	for {
		connection, err := r.prepare(ctx)
		if err == nil {
			began := time.Now()
			err = r.receiveUntil(ctx, connection)
			if time.Since(began) > r.timing.LastRetry {
				delay.Reset() // it was not a failure to connect
			}
		}
		if ctx.Err() != nil {
			return
		}
		r.polling(err)
		if errors.Is(err, errNotNotified) {
			r.awaitRenewal(ctx, r.timing.RetryListen)
		} else {
			delay.Wait(ctx)
		}
	}
}

// awaitRenewal waits until the latest connection would be replaced, but no longer than d.
func (r *run) awaitRenewal(ctx context.Context, d time.Duration) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-r.connection.Renewed():
	case <-limited.Done():
	}
}

// prepare returns a connection at which the notification of a self-test arrived.
func (r *run) prepare(ctx context.Context) (Connection, error) {
	connection, err := r.database.Listen(ctx, r.arrived)
	if err != nil {
		return nil, err
	}
	r.connection = connection
	isThere, err := r.database.ArrangeTrigger(ctx)
	switch {
	case err == nil && isThere:
		err = r.testSelf(ctx, connection)
	case err == nil:
		err = errNotNotified
	}
	if err != nil {
		connection.Close(ctx)
		return nil, err
	}
	return connection, nil
}

// receiveUntil returns when the connection breaks, when a sweep fails, when notifications do not arrive, or when ctx ends.
func (r *run) receiveUntil(ctx context.Context, connection Connection) error {
	defer connection.Close(ctx)
	receiving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.listens(connection, cancel)
	defer r.listensNoMore()
	err := r.receive(receiving, connection)
	if cause := context.Cause(receiving); cause != nil {
		return cause
	}
	return err
}

// testSelf sends a notification through the pool and waits for it. Other notifications need no handling: the sweep comes
// later.
func (r *run) testSelf(ctx context.Context, connection Connection) error {
	r.token = rand.Text()
	if err := r.database.Notify(ctx, ProbeChannel, r.token); err != nil {
		return err
	}
	until := time.Now().Add(r.timing.SelfTest)
	for r.token != "" {
		hasArrived, err := connection.Wait(ctx, until)
		switch {
		case err != nil:
			return err
		case !hasArrived:
			return errNotNotified
		}
	}
	return nil
}

// receive passes each notification to arrived as it comes. A busy subscriber collects them. It returns when the
// connection breaks, or when ctx ends.
func (r *run) receive(ctx context.Context, connection Connection) error {
	for {
		select {
		case <-connection.Renewed():
			return errRenewed
		default:
		}
		hasArrived, err := connection.Wait(ctx, time.Now().Add(r.timing.KeepAlive))
		if err == nil && !hasArrived {
			err = r.ping(ctx, connection)
		}
		if err != nil {
			return err
		}
		r.markAlive()
	}
}

func (r *run) ping(ctx context.Context, connection Connection) error {
	limited, cancel := context.WithTimeout(ctx, r.timing.Ping)
	defer cancel()
	return connection.Ping(limited)
}

// poll opens no listening connection, so that sweeps begin every PollInterval, until ctx ends. It drops the trigger again if
// a replica with other settings created it.
func (r *run) poll(ctx context.Context) {
	r.polling(errTurnedOff)
	for backoff.Pause(ctx, r.timing.RetryListen) {
		_, _ = r.database.ArrangeTrigger(ctx) // the next call retries
	}
}

// notifying records that changes are learned by notifications from now on. It is called with the lock held.
func (r *run) notifying() {
	r.database.SetNotified(true)
	if r.reason != "" || !r.renews {
		r.settings.Log.Info("Receiving changes of the table users by notifications")
	}
	r.reason, r.renews = "", false
}

// polling records that changes are learned by sweeps from now on, and logs a new reason.
func (r *run) polling(err error) {
	r.database.SetNotified(false)
	if errors.Is(err, errRenewed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.renews = true
		return
	}
	reason := err.Error()
	if !errors.Is(err, errNotNotified) && !errors.Is(err, errTurnedOff) {
		reason = r.database.Reason(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason != r.reason {
		r.reason = reason
		r.settings.Log.Info("Polling the table users for changes", "reason", reason)
	}
}
