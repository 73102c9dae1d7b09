// SPDX-License-Identifier: Apache-2.0

package password

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// A class says who wants a core.
type class int

const (
	forLogin class = iota
	forReconcile
)

// cores computes jobs on a fixed number of cores. Who comes while a core is free
// has it at once, alone. Who does not waits in line, and a core that becomes free
// takes as many of them as its engine computes at once, if their costs are the
// same: all together are done long before they would be one after the other.
//
// Logins come first, in the order of package fair: the login whose source and
// account were served least recently has the next core, so that a flood delays
// itself and not others. Reconciles have what is left, in the order of their
// arrival. So that a flood of logins cannot keep reconciles away for good, the
// one that waits longest has its turn after as many logins as may be in line.
type cores struct {
	engine

	mu    sync.Mutex
	free  int
	lines [2]line // by class

	patience int // log-ins that go before a waiting reconcile
	passed   int // that went since the last reconcile
}

// rememberedTurns is how many turns decide who was served least recently.
const rememberedTurns = 1024

// A line is the jobs of one class that wait, in the order of their arrival.
type line struct {
	ledger  *fair.Ledger
	waiters []*waiter
}

// claim returns a claim of the job's.
func (l *line) claim(j *job) *fair.Claim {
	if l.ledger == nil {
		l.ledger = fair.NewLedger(rememberedTurns)
	}
	return l.ledger.Claim(j.by)
}

// best returns the waiter that is next among those that can go with the batch,
// and whether it is the first in line. It returns nil where there is none.
func (l *line) best(batch []*waiter) (best *waiter, first bool) {
	for i, w := range l.waiters {
		if len(batch) > 0 && w.cost() != batch[0].cost() {
			continue
		}
		if best == nil || w.claim.Before(best.claim) {
			best, first = w, i == 0
		}
	}
	return best, first
}

// remove takes a waiter out of the line.
func (l *line) remove(w *waiter) {
	l.ledger.Release(w.claim)
	i := slices.Index(l.waiters, w)
	l.waiters = slices.Delete(l.waiters, i, i+1)
}

// A waiter is a job in line.
type waiter struct {
	*job
	claim    *fair.Claim
	begun    bool          // and so out of the line
	done     chan struct{} // closed when the job is
	panicked any           // what the engine panicked with; nil where it did not
}

// end returns when the job, which has begun, is done. Where the engine panicked it panics: whoever called recovers from
// that, as he does where he has a core alone, and on the core's own goroutine it would end the process.
func (w *waiter) end() {
	<-w.done
	if w.panicked != nil {
		panic(w.panicked)
	}
}

// do computes the job, and returns when it is done. The only errors are those of a
// ctx that ended before the job had begun; once begun, it runs to its end.
func (c *cores) do(ctx context.Context, as class, j *job) error {
	// Asked first, since a free core may be had under an ended context.
	if err := ctx.Err(); err != nil {
		return noCore(err)
	}
	c.mu.Lock()
	l := &c.lines[as]
	claim := l.claim(j)
	if c.free > 0 { // so that nobody waits
		c.free--
		l.ledger.Serve(claim)
		l.ledger.Release(claim)
		c.begins(as, true)
		c.mu.Unlock()
		defer c.handOn()
		c.compute([]*job{j})
		return nil
	}
	w := &waiter{job: j, claim: claim, done: make(chan struct{})}
	l.waiters = append(l.waiters, w)
	c.mu.Unlock()

	select {
	case <-w.done:
		w.end()
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	begun := w.begun
	if !begun {
		l.remove(w)
	}
	c.mu.Unlock()
	if !begun {
		return noCore(ctx.Err())
	}
	w.end()
	return nil
}

func noCore(err error) error { return fmt.Errorf("wait for a hashing core: %w", err) }

// handOn gives a core to those who are next, whom the caller does not wait for.
func (c *cores) handOn() {
	if batch := c.next(); len(batch) > 0 {
		go c.serve(batch)
	}
}

// serve computes batch after batch until nobody waits.
func (c *cores) serve(batch []*waiter) {
	for len(batch) > 0 {
		c.computeAll(batch)
		// Those have little left to do, and would wait for this core until the
		// scheduler takes it away from the next batch.
		runtime.Gosched()
		batch = c.next()
	}
}

// computeAll computes a batch, and lets those know who wait for it.
func (c *cores) computeAll(batch []*waiter) {
	defer func() {
		panicked := recover()
		for _, w := range batch {
			w.panicked = panicked
			close(w.done)
		}
	}()
	var jobs []*job
	for _, w := range batch {
		jobs = append(jobs, w.job)
	}
	c.compute(jobs)
}

// next takes those out of the line who go on together. Where nobody waits the
// core is free.
func (c *cores) next() []*waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []*waiter
	for len(batch) < c.lanes {
		w := c.take(batch)
		if w == nil {
			break
		}
		batch = append(batch, w)
	}
	if len(batch) == 0 {
		c.free++
	}
	return batch
}

// take takes the next one out of the line who can go with the batch, nil where
// there is none. It is called with the lock held.
func (c *cores) take(batch []*waiter) *waiter {
	order := [...]class{forLogin, forReconcile}
	if len(batch) == 0 && c.passed >= c.patience {
		order = [...]class{forReconcile, forLogin}
	}
	for _, as := range order {
		l := &c.lines[as]
		w, first := l.best(batch)
		if w == nil {
			continue
		}
		w.begun = true
		c.begins(as, first)
		l.ledger.Serve(w.claim)
		l.remove(w)
		return w
	}
	return nil
}

// begins counts the turns. A reconcile that only fills a lane, past others of
// another cost, is not their turn. It is called with the lock held.
func (c *cores) begins(as class, first bool) {
	switch {
	case as == forLogin:
		c.passed++
	case first:
		c.passed = 0
	}
}
