// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// probeInterval is the time between two calls that an open breaker lets through.
	probeInterval = time.Second

	// wakeInterval is the time between two releases of a request that makes such a call. It is a little longer, since some
	// requests reach their call sooner than others.
	wakeInterval = probeInterval + 100*time.Millisecond
)

// Store is the store as a reconcile needs it; package store says what it promises.
type Store interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
}

// Breaker makes no call that an outage of the database would fail: while 100,000 users wait for their database, it gets one
// call a second, and not one from each of them.
//
//	state     | when                              | a call
//	----------+-----------------------------------+-----------------------------------------------------
//	closed    | the store knows of no trouble     | is made
//	open      | the store knows of trouble        | fails at once; the request waits in queue.Waitlist
//	half-open | open, once in probeInterval       | is made: a probe
//
// Reads and writes have a state each. The store finds out by itself that the database is available again, and reports it to
// the Source, which closes the breaker for all requests. That a database takes writes again shows only by the next write,
// so one of the waiting requests is released to make it.
type Breaker struct {
	store   Store
	trouble func() (reading, writing error)
	now     func() time.Time
	later   func(time.Duration, func())
	waiting *queue.Waitlist

	mu        sync.Mutex
	probed    time.Time // when the last probe was made
	waking    bool      // wake is going to be called
	onRelease func(queue.Released)
}

// openError is the store's trouble, returned for a call that was not made.
type openError struct {
	error
	access queue.Access
}

func (e *openError) Unwrap() error { return e.error }

// IsOpen reports whether a call was not made because the breaker is open.
func IsOpen(err error) bool {
	var open *openError
	return errors.As(err, &open)
}

// NewBreaker returns a Breaker before a store. Trouble is what a read and a write will fail with, as far as the store knows;
// without it the breaker is always closed.
func NewBreaker(store Store, trouble func() (reading, writing error), now func() time.Time) *Breaker {
	if trouble == nil {
		trouble = func() (reading, writing error) { return nil, nil }
	}
	return &Breaker{
		store: store, trouble: trouble, now: now, waiting: queue.NewWaitlist(),
		later: func(wait time.Duration, f func()) { time.AfterFunc(wait, f) },
	}
}

// OnRelease sets how released requests are enqueued. It is called before the first reconcile.
func (b *Breaker) OnRelease(enqueue func(queue.Released)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onRelease = enqueue
}

// Observe is the store's.
func (b *Breaker) Observe(ctx context.Context, username string) (user.Observed, error) {
	if reading, _ := b.trouble(); reading != nil && !b.mayProbe() {
		return user.Observed{}, &openError{error: reading, access: queue.Read}
	}
	return call(ctx, "observe", func(ctx context.Context) (user.Observed, error) { return b.store.Observe(ctx, username) })
}

// Apply is the store's.
func (b *Breaker) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	if _, writing := b.trouble(); writing != nil && !b.mayProbe() {
		return user.Observed{}, &openError{error: writing, access: queue.Write}
	}
	return call(ctx, "apply", func(ctx context.Context) (user.Observed, error) { return b.store.Apply(ctx, change) },
		attribute.String("verb", string(change.Verb)))
}

var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/controller/rows")

// call makes a call in a span of its own. No error of a store holds a secret.
func call(
	ctx context.Context, name string, do func(context.Context) (user.Observed, error), attributes ...attribute.KeyValue,
) (user.Observed, error) {
	ctx, span := tracer.Start(ctx, name, trace.WithAttributes(attributes...))
	defer span.End()
	observed, err := do(ctx)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	return observed, err
}

// RefusesWrites reports whether the breaker is open for writes.
func (b *Breaker) RefusesWrites() bool {
	_, writing := b.trouble()
	return writing != nil
}

func (b *Breaker) mayProbe() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if now.Sub(b.probed) < probeInterval {
		return false
	}
	b.probed = now
	return true
}

// Hold keeps a request waiting whose call was not made: IsOpen is true for err.
func (b *Breaker) Hold(request reconcile.Request, err error, hasPendingChange bool) {
	var open *openError
	if !errors.As(err, &open) {
		return
	}
	b.waiting.Add(request, open.access, hasPendingChange)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakeLater()
}

// Fail records a request whose call was made and failed. It waits in the queue.
func (b *Breaker) Fail(request reconcile.Request, hasPendingChange bool) {
	// Without known trouble the failure is the request's own, or the outage has just begun.
	b.waiting.Fail(request, hasPendingChange, b.RefusesWrites())
}

// Succeed records that a request's change was made.
func (b *Breaker) Succeed(request reconcile.Request) { b.waiting.Succeed(request) }

// ReleaseAll ends an outage: it returns all waiting requests, and all with a pending change.
func (b *Breaker) ReleaseAll() queue.Released { return b.waiting.ReleaseAll() }

// wakeLater is called with the lock held.
func (b *Breaker) wakeLater() {
	if !b.waking && b.waiting.Len() > 0 {
		b.waking = true
		b.later(wakeInterval, b.wake)
	}
}

// wake releases the requests whose calls are possible again, or one request that probes.
func (b *Breaker) wake() {
	reading, writing := b.trouble()
	free := b.waiting.Release(reading == nil, writing == nil)
	if len(free) == 0 {
		free = b.waiting.ReleaseProbe()
	}
	b.mu.Lock()
	b.waking = false
	b.wakeLater()
	enqueue := b.onRelease
	b.mu.Unlock()
	if len(free) > 0 {
		enqueue(free)
	}
}
