// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// outage is a store in trouble that counts its calls.
type outage struct {
	reading, writing error
	observed         int
	applied          int
}

func (o *outage) trouble() (reading, writing error) { return o.reading, o.writing }

func (o *outage) Observe(context.Context, string) (user.Observed, error) {
	o.observed++
	return user.Observed{}, o.reading
}

func (o *outage) Apply(context.Context, user.Change) (user.Observed, error) {
	o.applied++
	return user.Observed{}, o.writing
}

var errUnavailable = &store.UnavailableError{Sentence: "Nothing answers."}

func TestAnOpenBreakerMakesOneProbeASecond(t *testing.T) {
	c, o := newClock(), &outage{reading: errUnavailable, writing: errUnavailable}
	b := NewBreaker(o, o.trouble, c.now)
	for range 10 {
		for range 100 {
			_, err := b.Observe(t.Context(), "alice")
			if !errors.Is(err, store.ErrUnavailable) || err.Error() != errUnavailable.Sentence {
				t.Fatalf("the outage is reported as %v", err)
			}
			if _, err := b.Apply(t.Context(), user.Change{}); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("the outage is reported as %v", err)
			}
		}
		c.move(probeInterval)
	}
	if asked := o.observed + o.applied; asked != 10 {
		t.Errorf("called %d times in ten seconds", asked)
	}
}

func TestADatabaseThatRejectsWritesIsStillRead(t *testing.T) {
	c, o := newClock(), &outage{writing: errUnavailable}
	b := NewBreaker(o, o.trouble, c.now)
	for range 100 {
		if _, err := b.Observe(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), user.Change{}); err == nil {
			t.Fatal("a write that cannot succeed did")
		}
	}
	if o.observed != 100 || o.applied != 1 {
		t.Errorf("read %d times, written %d times", o.observed, o.applied)
	}
}

func TestACallThatWasMadeIsNoOpenBreaker(t *testing.T) {
	c, o := newClock(), &outage{reading: errUnavailable, writing: errUnavailable}
	b := NewBreaker(o, o.trouble, c.now)
	if _, err := b.Observe(t.Context(), "alice"); IsOpen(err) {
		t.Error("the one call that was made counts as an open breaker")
	}
	_, err := b.Observe(t.Context(), "alice")
	if !IsOpen(fmt.Errorf("wrapped: %w", err)) {
		t.Error("a call that was not made does not count as an open breaker")
	}
}

// requested returns n requests.
func requested(n int) []reconcile.Request {
	requests := make([]reconcile.Request, n)
	for i := range requests {
		requests[i].NamespacedName = types.NamespacedName{Namespace: "team", Name: fmt.Sprint("user-", i)}
	}
	return requests
}

// woken returns what each call of wake releases. The test calls it.
func woken(b *Breaker) <-chan queue.Released {
	resumed := make(chan queue.Released, 100)
	b.OnRelease(func(free queue.Released) { resumed <- free })
	b.later = func(time.Duration, func()) {}
	return resumed
}

func TestOneWaiterProbesAndAllContinueAfterTheOutage(t *testing.T) {
	c, o := newClock(), &outage{reading: errUnavailable, writing: errUnavailable}
	b := NewBreaker(o, o.trouble, c.now)
	resumed := woken(b)
	for _, request := range requested(100) {
		b.Hold(request, &openError{error: errUnavailable, access: queue.Read}, false)
	}
	sent := map[reconcile.Request]bool{}
	for range 5 {
		b.wake()
		one := <-resumed
		if len(one) != 1 {
			t.Fatalf("%d were released at once", len(one))
		}
		for request := range one {
			sent[request] = true
			b.Hold(request, &openError{error: errUnavailable, access: queue.Read}, false)
		}
	}
	if len(sent) < 2 {
		t.Error("the same request is released each time")
	}
	o.reading, o.writing = nil, nil
	b.wake()
	if all := <-resumed; len(all) != 100 {
		t.Errorf("%d of 100 are released", len(all))
	}
	if left := b.ReleaseAll(); len(left) != 0 {
		t.Errorf("%d still wait", len(left))
	}
}

func TestReadsContinueWhenOnlyWritesAreRejected(t *testing.T) {
	c, o := newClock(), &outage{reading: errUnavailable, writing: errUnavailable}
	b := NewBreaker(o, o.trouble, c.now)
	resumed := woken(b)
	all := requested(3)
	b.Hold(all[0], &openError{error: errUnavailable, access: queue.Read}, false)
	b.Hold(all[1], &openError{error: errUnavailable, access: queue.Write}, false)
	b.Hold(all[2], &openError{error: errUnavailable, access: queue.Read}, false)
	o.reading = nil
	b.wake()
	readers := <-resumed
	if _, writes := readers[all[1]]; len(readers) != 2 || writes {
		t.Errorf("%v are released", readers)
	}
}

// A request may be held just after the end of the outage was reported.
func TestARequestThatIsHeldJustAfterTheOutageIsReleased(t *testing.T) {
	o := &outage{}
	b := NewBreaker(o, o.trouble, time.Now)
	var resumed atomic.Int32
	done := make(chan struct{})
	b.OnRelease(func(free queue.Released) {
		resumed.Add(int32(len(free))) //nolint:gosec // one
		close(done)
	})
	b.Hold(requested(1)[0], &openError{error: errUnavailable, access: queue.Read}, false)
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the request was not released")
	}
	if n := resumed.Load(); n != 1 {
		t.Errorf("%d were released", n)
	}
}

// clock stands still until it is moved.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{at: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) move(d time.Duration) { c.at = c.at.Add(d) }
