// SPDX-License-Identifier: Apache-2.0

package password

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// A class says who wants a core.
type class int

const (
	forLogIn class = iota
	forReconcile
)

// cores hands out a fixed number of cores. Log-ins come first: a core that
// becomes free goes to the log-in that waits longest and only then to a
// reconcile. So that a flood of log-ins cannot keep reconciles away for good,
// one of them has its turn after as many log-ins as may be in line; a log-in is
// overtaken by one reconcile at the most.
type cores struct {
	mu      sync.Mutex
	free    int
	waiting [2]list.List // of chan struct{}, closed when a core is theirs; by class

	patience int // log-ins that go before a waiting reconcile
	passed   int // that went since the last reconcile
}

// acquire waits for a core until ctx ends.
func (c *cores) acquire(ctx context.Context, as class) error {
	// Asked first, since a free core may be had under an ended context.
	if err := ctx.Err(); err != nil {
		return noCore(err)
	}
	c.mu.Lock()
	if c.free > 0 { // so that nobody waits
		c.free--
		c.begins(as)
		c.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	waiter := c.waiting[as].PushBack(granted)
	c.mu.Unlock()

	select {
	case <-granted:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-granted: // just now: it goes on to the next
		c.handOn()
	default:
		c.waiting[as].Remove(waiter)
	}
	return noCore(ctx.Err())
}

func noCore(err error) error { return fmt.Errorf("waiting for a core to hash on: %w", err) }

func (c *cores) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handOn()
}

// handOn gives a core to whoever is next. It is called with the lock held.
func (c *cores) handOn() {
	next := forLogIn
	if c.waiting[forReconcile].Len() > 0 && (c.waiting[forLogIn].Len() == 0 || c.passed >= c.patience) {
		next = forReconcile
	}
	waiter := c.waiting[next].Front()
	if waiter == nil {
		c.free++
		return
	}
	c.begins(next)
	close(c.waiting[next].Remove(waiter).(chan struct{}))
}

// begins counts the turns. It is called with the lock held.
func (c *cores) begins(as class) {
	switch as {
	case forLogIn:
		c.passed++
	case forReconcile:
		c.passed = 0
	}
}
