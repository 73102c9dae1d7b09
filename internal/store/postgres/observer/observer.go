// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// The channels of notifications.
const (
	RowsChannel  = "shardinguser_rows"  // carries usernames; an empty one requests a sweep
	ProbeChannel = "shardinguser_probe" // carries the self-tests of observers
)

// Database is what an observer needs of the store.
type Database interface {
	// Listen opens a connection that listens on both channels. It calls arrived with each notification during
	// Connection.Wait.
	Listen(ctx context.Context, arrived func(channel, payload string)) (Connection, error)

	// Notify sends a notification through the pool.
	Notify(ctx context.Context, channel, payload string) error

	// ArrangeTrigger creates the trigger if it is missing, or drops it where the settings do without. It reports whether
	// notifications of changed rows are sent.
	ArrangeTrigger(ctx context.Context) (isThere bool, err error)

	// ReadDigests calls add with the digest of each row and ownership record, in any order. The username is valid during the
	// call only. It calls begin before that, and again where it begins again. IsOther says that the table is not the one of
	// the last call.
	ReadDigests(ctx context.Context, begin func(isOther bool), add func(username []byte, digest int64)) error

	// SetNotified records whether changes are learned by notifications. MarkAlive records that all notifications so far were
	// passed on.
	SetNotified(isNotified bool)
	MarkAlive()

	// Reason returns a sentence about an error, for the log.
	Reason(err error) string
}

// Connection is a listening connection.
type Connection interface {
	// Wait waits for the next notification, and reports whether one arrived in time. An error means that the connection is
	// lost.
	Wait(ctx context.Context, until time.Time) (hasArrived bool, err error)

	Ping(ctx context.Context) error

	// Rely records that changes are learned by this connection, until it is closed.
	Rely()

	// Renewed is closed when the store replaces its connections, this one too.
	Renewed() <-chan struct{}

	Close(ctx context.Context)
}

// Settings configure an Observer.
type Settings struct {
	NoNotifications bool
	PollInterval    time.Duration   // between sweeps while notifications do not arrive
	ResyncInterval  time.Duration   // between sweeps while they do
	Ready           <-chan struct{} // closed when the tables are complete
	Log             *slog.Logger
}

// Timing holds the limits and intervals that are not settings.
type Timing struct {
	SelfTest    time.Duration // for the notification of a self-test to arrive
	RetryListen time.Duration // between attempts to listen while notifications do not arrive
	KeepAlive   time.Duration // of silence, until the connection is checked
	Ping        time.Duration // for the answer to that
	FirstRetry  time.Duration // of the delays after failures
	LastRetry   time.Duration
	Requests    time.Duration // from the end of a sweep to a requested one, at most
}

// UsualTiming returns the timing outside of tests.
func UsualTiming() Timing {
	return Timing{
		SelfTest:    2 * time.Second,
		RetryListen: time.Minute,
		KeepAlive:   400 * time.Millisecond, // store.Health.Current depends on it
		Ping:        5 * time.Second,
		FirstRetry:  100 * time.Millisecond,
		LastRetry:   2 * time.Second,
		Requests:    5 * time.Second,
	}
}

// Observer observes the rows while at least one subscriber watches. It is safe for concurrent use.
type Observer struct {
	Timing Timing

	database Database
	settings Settings

	mu    sync.Mutex
	run   *run            // nil while there is no subscriber
	ended <-chan struct{} // closed when the last run has ended
}

// New returns an Observer that nobody watches yet.
func New(database Database, settings Settings) *Observer {
	ended := make(chan struct{})
	close(ended)
	return &Observer{Timing: UsualTiming(), database: database, settings: settings, ended: ended}
}

// IsWatched reports whether there is a subscriber.
func (o *Observer) IsWatched() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.run != nil
}

// Watch calls changed with usernames whose row or ownership record may have changed. It calls recovered when again receives
// a value, but not more than once a second. The two are never called at the same time. It returns when ctx ends.
//
// The first calls of changed have the usernames of all rows, a page in each call. Notified usernames may come in between.
// Exactly one call without usernames says that all rows were reported.
func (o *Observer) Watch(ctx context.Context, changed func(usernames []string), again <-chan struct{}, recovered func()) {
	m := newSubscriber()
	o.join(ctx, m)
	defer o.leave(m)
	m.run(ctx, changed, again, recovered, min(time.Second, o.Timing.LastRetry))
}

// join adds a subscriber to the run, which the first one begins.
func (o *Observer) join(ctx context.Context, m *subscriber) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.run == nil {
		o.run = newRun(o.database, o.settings, o.Timing)
		o.ended = o.run.start(context.WithoutCancel(ctx), o.ended)
	}
	o.run.join(m)
}

// leave ends the run with its last subscriber, and returns when it has ended.
func (o *Observer) leave(m *subscriber) {
	o.mu.Lock()
	ended := o.ended
	isLast := o.run.leave(m)
	if isLast {
		o.run.cancel()
		o.run = nil
	}
	o.mu.Unlock()
	if isLast {
		<-ended
	}
}

// wake puts a value into a channel that holds one.
func wake(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default: // the last one is not handled yet
	}
}
