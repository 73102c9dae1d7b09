// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
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

func (o *outage) Apply(context.Context, user.Change) (user.Observed, error) {
	o.applied++
	return user.Observed{}, o.writing
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
			if _, err := g.Apply(t.Context(), user.Change{}); !errors.Is(err, store.ErrUnavailable) {
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
		if _, err := g.Apply(t.Context(), user.Change{}); err == nil {
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
func woken(g *gate) <-chan released {
	resumed := make(chan released, 100)
	g.open(func(free released) { resumed <- free })
	g.later = func(time.Duration, func()) {} // the test wakes them
	return resumed
}

func TestOneWaiterProbesAndAllContinueAfterTheOutage(t *testing.T) {
	c, o := newClock(), &outage{reading: errAway, writing: errAway}
	g := newGate(o, o.trouble, c.now)
	resumed := woken(g)
	for _, request := range requested(100) {
		g.hold(request, &heldBackError{error: errAway, access: reads}, false)
	}
	sent := map[reconcile.Request]bool{}
	for range 5 {
		g.wake()
		one := <-resumed
		if len(one) != 1 {
			t.Fatalf("%d were sent at once", len(one))
		}
		for request := range one {
			sent[request] = true
			g.hold(request, &heldBackError{error: errAway, access: reads}, false)
		}
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
	g.hold(all[0], &heldBackError{error: errAway, access: reads}, false)
	g.hold(all[1], &heldBackError{error: errAway, access: writes}, false)
	g.hold(all[2], &heldBackError{error: errAway, access: reads}, false)
	o.reading = nil
	g.wake()
	readers := <-resumed
	if _, writes := readers[all[1]]; len(readers) != 2 || writes {
		t.Errorf("%v go on", readers)
	}
}

// What nobody may delete, for want of a right, is tried for ever, and its failing has every write held back.
func TestAnEditDoesNotWaitForAThousandWhoCanNeverSucceed(t *testing.T) {
	c, o := newClock(), &outage{writing: errAway}
	g := newGate(o, o.trouble, c.now)
	resumed := woken(g)
	heldBack := &heldBackError{error: errAway, access: writes}
	doomed := requested(1001)
	doomed, edited := doomed[:1000], doomed[1000]
	for i, request := range doomed {
		if i%2 == 0 {
			g.failedItself(request, true)
		}
		g.hold(request, heldBack, true)
	}
	g.hold(edited, heldBack, true)
	g.hold(doomed[0], heldBack, true) // failed, and comes back later
	g.wake()
	if one := <-resumed; len(one) != 1 || !one[edited] {
		t.Errorf("%v goes on in place of the edit", one)
	}
}

// The status of an edit tells of the outage, and so shows nothing any more that would be awaited.
func TestWhoIsAwaitedStaysSoUntilHeGoesOn(t *testing.T) {
	c, o := newClock(), &outage{writing: errAway}
	g := newGate(o, o.trouble, c.now)
	all := requested(2)
	for _, awaited := range []bool{true, false} {
		g.hold(all[0], &heldBackError{error: errAway, access: writes}, awaited)
	}
	g.hold(all[1], &heldBackError{error: errAway, access: writes}, false)
	free := g.release()
	if len(free) != 2 || !free[all[0]] || free[all[1]] {
		t.Errorf("%v go on", free)
	}
}

// Whoever made his call in vain waits in the queue, by its backoff, and not here: the end of the outage comes first for him, too.
func TestWhoFailedByHimselfIsAmongTheFirstWhenTheOutageIsOver(t *testing.T) {
	c, o := newClock(), &outage{} // it is not known yet
	g := newGate(o, o.trouble, c.now)
	all := requested(3)
	g.failedItself(all[0], true)
	o.reading, o.writing = errAway, errAway
	g.failedItself(all[1], true)
	g.failedItself(all[2], false)
	g.gotThrough(all[1])
	if free := g.release(); len(free) != 1 || !free[all[0]] {
		t.Errorf("%v go on at once", free)
	}
}

// A request may be held back just after the end of the outage was told.
func TestNobodyIsForgottenWhoIsHeldBackWhenTheOutageIsJustOver(t *testing.T) {
	o := &outage{}
	g := newGate(o, o.trouble, time.Now)
	var resumed atomic.Int32
	done := make(chan struct{})
	g.open(func(free released) {
		resumed.Add(int32(len(free))) //nolint:gosec // one
		close(done)
	})
	g.hold(requested(1)[0], &heldBackError{error: errAway, access: reads}, false)
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("nobody woke who waits")
	}
	if n := resumed.Load(); n != 1 {
		t.Errorf("%d went on", n)
	}
}
