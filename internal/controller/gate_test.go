// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// outage is a store in trouble, which counts what it is asked.
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

func (o *outage) Apply(context.Context, user.Change) error {
	o.applied++
	return o.writing
}

var errAway = &store.UnavailableError{Sentence: "Nothing answers."}

func TestADatabaseThatIsAwayIsAskedOnceASecondWhoeverWantsIt(t *testing.T) {
	c, o := newClock(), &outage{reading: errAway, writing: errAway}
	g := newGate(o, o.trouble, c.now)
	for range 10 {
		for range 100 {
			_, err := g.Observe(t.Context(), "alice")
			if !errors.Is(err, store.ErrUnavailable) || err.Error() != errAway.Sentence {
				t.Fatalf("the outage is told of as %v", err)
			}
			if err := g.Apply(t.Context(), user.Change{}); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("the outage is told of as %v", err)
			}
		}
		c.move(probeInterval)
	}
	if asked := o.observed + o.applied; asked != 10 {
		t.Errorf("asked %d times in ten seconds", asked)
	}
}

func TestADatabaseThatRefusesWritesIsReadAsEver(t *testing.T) {
	c, o := newClock(), &outage{writing: errAway}
	g := newGate(o, o.trouble, c.now)
	for range 100 {
		if _, err := g.Observe(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if err := g.Apply(t.Context(), user.Change{}); err == nil {
			t.Fatal("a write that cannot succeed did")
		}
	}
	if o.observed != 100 || o.applied != 1 {
		t.Errorf("read %d times, written %d times", o.observed, o.applied)
	}
}

func TestWhoeverFailedByHimselfIsNotHeldBack(t *testing.T) {
	c, o := newClock(), &outage{reading: errAway, writing: errAway}
	g := newGate(o, o.trouble, c.now)
	if _, err := g.Observe(t.Context(), "alice"); isHeldBack(err) {
		t.Error("the one call that was made counts as held back")
	}
	_, err := g.Observe(t.Context(), "alice")
	if !isHeldBack(fmt.Errorf("wrapped: %w", err)) {
		t.Error("a call that was not made does not count as held back")
	}
}

// requested is so many requests.
func requested(n int) []reconcile.Request {
	requests := make([]reconcile.Request, n)
	for i := range requests {
		requests[i].NamespacedName = types.NamespacedName{Namespace: "team", Name: fmt.Sprint("user-", i)}
	}
	return requests
}

// woken is what comes of each waking, without the wait for it.
func woken(g *gate) <-chan []reconcile.Request {
	resumed := make(chan []reconcile.Request, 100)
	g.open(func(requests []reconcile.Request) { resumed <- requests })
	g.waking = true // by the test
	return resumed
}

func TestOneOfThoseWhoWaitIsSentToAskAndAllGoOnWhenTheOutageIsOver(t *testing.T) {
	c, o := newClock(), &outage{reading: errAway, writing: errAway}
	g := newGate(o, o.trouble, c.now)
	resumed := woken(g)
	for _, request := range requested(100) {
		g.hold(request, &heldBackError{error: errAway, access: reads})
	}
	sent := map[reconcile.Request]bool{}
	for range 5 {
		g.wake()
		one := <-resumed
		if len(one) != 1 {
			t.Fatalf("%d were sent at once", len(one))
		}
		sent[one[0]] = true
		g.hold(one[0], &heldBackError{error: errAway, access: reads})
	}
	if len(sent) < 2 {
		t.Error("it is always the same who is sent")
	}
	o.reading, o.writing = nil, nil
	g.wake()
	if all := <-resumed; len(all) != 100 {
		t.Errorf("%d of 100 go on", len(all))
	}
	if left := g.release(); len(left) != 0 {
		t.Errorf("%d are still held back", len(left))
	}
}

func TestWhoWantsToReadGoesOnWhenOnlyWritesAreRefused(t *testing.T) {
	c, o := newClock(), &outage{reading: errAway, writing: errAway}
	g := newGate(o, o.trouble, c.now)
	resumed := woken(g)
	all := requested(3)
	g.hold(all[0], &heldBackError{error: errAway, access: reads})
	g.hold(all[1], &heldBackError{error: errAway, access: writes})
	g.hold(all[2], &heldBackError{error: errAway, access: reads})
	o.reading = nil
	g.wake()
	readers := <-resumed
	if len(readers) != 2 || slices.Contains(readers, all[1]) {
		t.Errorf("%v go on", readers)
	}
}

// A request may be held back just after the end of the outage was told.
func TestNobodyIsForgottenWhoIsHeldBackWhenTheOutageIsJustOver(t *testing.T) {
	o := &outage{}
	g := newGate(o, o.trouble, time.Now)
	var resumed atomic.Int32
	done := make(chan struct{})
	g.open(func(requests []reconcile.Request) {
		resumed.Add(int32(len(requests))) //nolint:gosec // one
		close(done)
	})
	g.hold(requested(1)[0], &heldBackError{error: errAway, access: reads})
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("nobody woke who waits")
	}
	if n := resumed.Load(); n != 1 {
		t.Errorf("%d went on", n)
	}
}
