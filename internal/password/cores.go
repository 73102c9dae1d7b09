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

// A class is the kind of caller that needs a core.
type class int

const (
	forLogin class = iota
	forReconcile
)

// cores computes jobs on a fixed number of cores. A job that finds a free core starts at once, alone. Other jobs wait
// in a queue. A core that becomes free takes as many waiting jobs of the same cost as its engine computes at once,
// which is much faster than one after another.
//
// Logins come first, in the order of package fair: the login whose source and account were served least recently is
// next, so a flood delays only itself. Reconciles follow in order of arrival. After as many logins as can wait, the
// longest-waiting reconcile is next, so logins cannot starve reconciles.
type cores struct {
	engine

	mu     sync.Mutex
	free   int
	queues [2]queue // by class

	patience int // logins that precede a waiting reconcile
	passed   int // logins since the last reconcile
}

// rememberedTurns is the number of turns that decide which party was served least recently.
const rememberedTurns = 1024

// A queue holds the waiting jobs of one class in order of arrival.
type queue struct {
	ledger  *fair.Ledger
	waiters []*waiter
}

// claim returns a claim for the job.
func (q *queue) claim(j *job) *fair.Claim {
	if q.ledger == nil {
		q.ledger = fair.NewLedger(rememberedTurns)
	}
	return q.ledger.Claim(j.by)
}

// best returns the next waiter that can join the batch, and whether it is the first in the queue. It returns nil if
// there is none.
func (q *queue) best(batch []*waiter) (best *waiter, first bool) {
	for i, w := range q.waiters {
		if len(batch) > 0 && w.cost() != batch[0].cost() {
			continue
		}
		if best == nil || w.claim.Before(best.claim) {
			best, first = w, i == 0
		}
	}
	return best, first
}

// remove removes a waiter from the queue.
func (q *queue) remove(w *waiter) {
	q.ledger.Release(w.claim)
	i := slices.Index(q.waiters, w)
	q.waiters = slices.Delete(q.waiters, i, i+1)
}

// A waiter is a waiting job.
type waiter struct {
	*job
	claim    *fair.Claim
	begun    bool          // and no longer in the queue
	done     chan struct{} // closed when the job is done
	panicked any           // the panic of the engine; nil if there was none
}

// end returns when the job, which has begun, is done. It repeats a panic of the engine, so that the caller can recover
// from it as if it had computed the job itself. On the core's own goroutine a panic would end the process.
func (w *waiter) end() {
	<-w.done
	if w.panicked != nil {
		panic(w.panicked)
	}
}

// do computes the job and returns when it is done. It fails only if ctx ends before the job begins; a job that has
// begun runs to its end.
func (c *cores) do(ctx context.Context, as class, j *job) error {
	// Checked first, because a free core accepts a job of an ended context too.
	if err := ctx.Err(); err != nil {
		return noCore(err)
	}
	c.mu.Lock()
	q := &c.queues[as]
	claim := q.claim(j)
	if c.free > 0 { // so no job waits
		c.free--
		q.ledger.Serve(claim)
		q.ledger.Release(claim)
		c.begins(as, true)
		c.mu.Unlock()
		defer c.dispatch()
		c.compute([]*job{j})
		return nil
	}
	w := &waiter{job: j, claim: claim, done: make(chan struct{})}
	q.waiters = append(q.waiters, w)
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
		q.remove(w)
	}
	c.mu.Unlock()
	if !begun {
		return noCore(ctx.Err())
	}
	w.end()
	return nil
}

func noCore(err error) error { return fmt.Errorf("wait for a hashing core: %w", err) }

// dispatch passes a free core to the next waiters, in the background.
func (c *cores) dispatch() {
	if batch := c.next(); len(batch) > 0 {
		go c.serve(batch)
	}
}

// serve computes batch after batch until no job waits.
func (c *cores) serve(batch []*waiter) {
	for len(batch) > 0 {
		c.computeAll(batch)
		// The callers of this batch have little left to do. Without this they would wait until the scheduler interrupts
		// the next batch.
		runtime.Gosched()
		batch = c.next()
	}
}

// computeAll computes a batch and notifies its callers.
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

// next removes the next batch from the queues. If no job waits, the core becomes free.
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

// take removes the next waiter that can join the batch; nil if there is none. The caller holds the lock.
func (c *cores) take(batch []*waiter) *waiter {
	order := [...]class{forLogin, forReconcile}
	if len(batch) == 0 && c.passed >= c.patience {
		order = [...]class{forReconcile, forLogin}
	}
	for _, as := range order {
		q := &c.queues[as]
		w, first := q.best(batch)
		if w == nil {
			continue
		}
		w.begun = true
		c.begins(as, first)
		q.ledger.Serve(w.claim)
		q.remove(w)
		return w
	}
	return nil
}

// begins counts the turns. A reconcile that only fills a lane, before others of another cost, does not count as a turn.
// The caller holds the lock.
func (c *cores) begins(as class, first bool) {
	switch {
	case as == forLogin:
		c.passed++
	case first:
		c.passed = 0
	}
}
