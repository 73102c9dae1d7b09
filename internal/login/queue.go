// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

const (
	maxWaitingOnAccount = 128
	maxWait             = 30 * time.Second

	// waitingPerCore is the number of attempts that may wait for each core, besides one full line of an account. At the default
	// cost, the last one waits for one or two seconds.
	waitingPerCore = 32

	// maxExempt is the largest number of exempt accounts in the cache. An evicted one has a serial line until its next charge.
	maxExempt = 1 << 14
)

// errClosed reports that the queue accepts no more attempts.
var errClosed = errors.New("the process is shutting down")

// A queue admits attempts to the store and the hashing cores, as many at once as the cores have places, in the order of package
// fair: the least recently served source and account goes first. If the queue is full, it drops the newest attempt of the source
// or account that holds the most.
//
// The queue admits the attempts on one account one by one, since each takes one off the budget until it succeeds: six concurrent
// right logins would lock the account. Unknown usernames are treated the same way. An account that is exempt from lockout has no
// budget, and so no line.
type queue struct {
	mu      sync.Mutex
	ledger  *fair.Ledger
	waiting []*waiter                         // in the order of arrival
	lines   map[password.Fingerprint]struct{} // with an admitted attempt
	inside  int                               // admitted attempts
	places  int                               // the largest number of admitted attempts
	most    int                               // the largest number of waiting and admitted attempts
	exempt  *lru.Cache[password.Fingerprint, struct{}]
	closed  chan struct{}
	closing sync.Once
}

// An entrant describes an attempt to the queue.
type entrant struct {
	source  netip.Addr
	account password.Fingerprint // of the username, which may be of any length

	// credentials is the fingerprint of credentials that may be recognized after another attempt succeeds; zero for none.
	credentials password.Fingerprint
}

// key returns the source and the account whose share the attempt uses.
func (e entrant) key() fair.Key { return fair.Key{Source: e.source, Account: e.account} }

// A waiter is an attempt that waits.
type waiter struct {
	entrant
	claim   *fair.Claim
	decided chan error           // receives nil when it is admitted, ErrBusy when it is dropped
	inside  bool                 // it is admitted
	line    password.Fingerprint // its line when it was admitted, zero for none
}

// newQueue returns a queue for this number of cores, with this number of places.
func newQueue(cores, places int) *queue {
	most := max(places, maxWaitingOnAccount+waitingPerCore*cores+1)
	return &queue{
		ledger: fair.NewLedger(4 * most), lines: map[password.Fingerprint]struct{}{}, places: places, most: most,
		exempt: newLRU[password.Fingerprint, struct{}](maxExempt), closed: make(chan struct{}),
	}
}

// enter waits until the attempt is admitted. It returns ErrBusy if the attempt was dropped or waited too long, errClosed, or the
// error of ctx.
func (q *queue) enter(ctx context.Context, e entrant) (*turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := q.join(e)
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	var err error
	select {
	case err = <-w.decided:
		if err == nil {
			err = ctx.Err() // the client may be gone
		}
		if err == nil {
			return &turn{q, w}, nil
		}
	case <-timeout.C:
		err = password.ErrBusy
	case <-q.closed:
		err = errClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.leave(w)
	return nil, err
}

// join adds an attempt, and drops one if there are too many.
func (q *queue) join(e entrant) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &waiter{entrant: e, claim: q.ledger.Claim(e.key()), decided: make(chan error, 1)}
	q.waiting = append(q.waiting, w)
	line := q.lineOf(w)
	switch {
	case line == w.account && w.claim.Holds() > maxWaitingOnAccount+1:
		q.drop(func(other *waiter) bool { return other.account == w.account })
	case q.inside+len(q.waiting) > q.most:
		q.drop(func(*waiter) bool { return true })
	}
	q.dispatch()
	return w
}

// lineOf returns the line of an attempt, zero for none. Equal credentials for an exempt account share a line: one attempt
// computes, and the others are recognized.
func (q *queue) lineOf(w *waiter) password.Fingerprint {
	if q.exempt.Contains(w.account) {
		return w.credentials
	}
	return w.account
}

// drop rejects the concerned attempt whose source or account holds the most.
func (q *queue) drop(concerns func(*waiter) bool) {
	var worst *waiter
	for _, w := range q.waiting {
		if concerns(w) && (worst == nil || w.claim.Outweighs(worst.claim)) {
			worst = w
		}
	}
	q.remove(worst)
	q.ledger.Release(worst.claim)
	worst.decided <- password.ErrBusy
}

// dispatch admits the next attempts to free places.
func (q *queue) dispatch() {
	for q.inside < q.places {
		var next *waiter
		var its password.Fingerprint
		for _, w := range q.waiting {
			if next != nil && !w.claim.Before(next.claim) {
				continue
			}
			line := q.lineOf(w)
			if _, taken := q.lines[line]; !taken {
				next, its = w, line
			}
		}
		if next == nil {
			return
		}
		q.remove(next)
		q.ledger.Serve(next.claim)
		q.inside++
		next.inside = true
		if next.line = its; its != (password.Fingerprint{}) {
			q.lines[its] = struct{}{}
		}
		next.decided <- nil
	}
}

// remove removes a waiting attempt, and reports whether it was waiting.
func (q *queue) remove(w *waiter) bool {
	i := slices.Index(q.waiting, w)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// leave removes an attempt that is waiting or admitted.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case w.inside:
		w.inside = false
		q.inside--
		delete(q.lines, w.line)
	case !q.remove(w):
		return // it was dropped
	}
	q.ledger.Release(w.claim)
	q.dispatch()
}

// setExempt records whether a charge found the account exempt.
func (q *queue) setExempt(account password.Fingerprint, exempt bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wasExempt := q.exempt.Contains(account)
	if exempt {
		q.exempt.Add(account, struct{}{})
	} else {
		q.exempt.Remove(account)
	}
	if exempt != wasExempt {
		q.dispatch()
	}
}

// close rejects all waiting attempts.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing.Do(func() { close(q.closed) })
}

// holdOpen adds an attempt to the group that the process waits for at its end. It reports false if the queue is closed.
func (q *queue) holdOpen(group *sync.WaitGroup) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.closed:
		return false
	default:
		group.Add(1)
		return true
	}
}

// turn is the admission of an attempt.
type turn struct {
	q *queue
	w *waiter
}

// leave ends the turn.
func (t *turn) leave() { t.q.leave(t.w) }
