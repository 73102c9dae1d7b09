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

	// waitingPerCore is how many attempts there may be for each core, besides one whole line of an account: at the usual
	// cost, the last one waits for one or two seconds. More are better refused than kept.
	waitingPerCore = 32

	// maxExempt is how many exempt accounts are remembered. One that is forgotten has a serial line until its next charge.
	maxExempt = 1 << 14
)

// errClosed says that the queue takes no more attempts.
var errClosed = errors.New("the process is shutting down")

// A queue lets attempts through to the store and the hashing cores, as many at once as the cores have places, in the order
// of package fair: the least recently served source and account goes first. Beyond its bound it drops the newest attempt of
// the source, or on the account, that holds the most.
//
// The attempts on one account go one by one, since each takes one off the budget until it is known to be right: side by
// side, six right logins would lock the account. Names that no account has are treated the same way. An account that is
// exempt from lockout has no budget, and so no such line.
type queue struct {
	mu      sync.Mutex
	ledger  *fair.Ledger
	waiting []*waiter                         // in the order of arrival
	lines   map[password.Fingerprint]struct{} // in which one has its turn
	inside  int                               // that have their turn
	places  int                               // for them
	most    int                               // that wait or have their turn
	exempt  *lru.Cache[password.Fingerprint, struct{}]
	closed  chan struct{}
	closing sync.Once
}

// An entrant is what the queue knows of an attempt.
type entrant struct {
	source  netip.Addr
	account password.Fingerprint // of the username, which may be of any length

	// credentials is the fingerprint of what may be recognised once another attempt has passed with it; else zero.
	credentials password.Fingerprint
}

// key is whose share the attempt takes.
func (e entrant) key() fair.Key { return fair.Key{Source: e.source, Account: e.account} }

// A waiter is an attempt that waits.
type waiter struct {
	entrant
	claim   *fair.Claim
	decided chan error           // nil where it has its turn, ErrBusy where it was dropped
	inside  bool                 // it has its turn
	line    password.Fingerprint // in this line, zero for none
}

// newQueue returns a queue for so many cores, with so many places.
func newQueue(cores, places int) *queue {
	most := max(places, maxWaitingOnAccount+waitingPerCore*cores+1)
	return &queue{
		ledger: fair.NewLedger(4 * most), lines: map[password.Fingerprint]struct{}{}, places: places, most: most,
		exempt: newLRU[password.Fingerprint, struct{}](maxExempt), closed: make(chan struct{}),
	}
}

// enter waits for the attempt's turn. The error is ErrBusy where it was dropped or waited for too long, errClosed, or ctx's.
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
			err = ctx.Err() // nobody waits for the answer any more
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

// join adds an attempt, and drops one where that is one too many.
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

// lineOf is the line of an attempt, zero for none. Equal credentials for an exempt account have a line of their own: one
// computes, and the others find them recognised.
func (q *queue) lineOf(w *waiter) password.Fingerprint {
	if q.exempt.Contains(w.account) {
		return w.credentials
	}
	return w.account
}

// drop refuses the one that holds the most of those that are concerned.
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

// dispatch gives places to those that are next.
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

// remove takes one out of those that wait, and tells whether it was there.
func (q *queue) remove(w *waiter) bool {
	i := slices.Index(q.waiting, w)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// leave ends an attempt's waiting, or its turn.
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

// close refuses all attempts that wait.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing.Do(func() { close(q.closed) })
}

// holdOpen adds an attempt to those that the process waits for, unless it waits already.
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

// turn is an attempt's turn.
type turn struct {
	q *queue
	w *waiter
}

// leave ends the turn.
func (t *turn) leave() { t.q.leave(t.w) }
