// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

const (
	maxWaitingOnAccount = 128
	maxWait             = 30 * time.Second // in line for one account

	// waitingPerCore is how many may wait for each core, beside one whole line: at the usual cost, for one or two seconds.
	// Whoever comes then is better told so than kept.
	waitingPerCore = 32
)

// errClosed says that nobody is let in any more.
var errClosed = errors.New("the process is about to end")

// A queue lets the attempts on one account through one by one, since each takes one off the budget until it is known to
// be right: side by side, six right log-ins would lock the account. Names that no account has queue up just so.
type queue struct {
	mu      sync.Mutex
	lines   map[password.Fingerprint]*line // by that of the username, which may be of any length
	waiting int
	most    int // of them
	closed  chan struct{}
	closing sync.Once
}

// line is that of one account.
type line struct {
	turn  chan struct{} // holds one while it is somebody's turn
	count int           // who waits, and whose turn it is
}

// newQueue is for log-ins that so many cores serve.
func newQueue(cores int) *queue {
	return &queue{
		lines: map[password.Fingerprint]*line{}, most: maxWaitingOnAccount + waitingPerCore*cores, closed: make(chan struct{}),
	}
}

// enter waits for one's turn at the account. The error is ErrBusy where the line is too long or too slow, errClosed,
// or ctx's.
func (q *queue) enter(ctx context.Context, username password.Fingerprint) (*turn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	l := q.lines[username]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		q.lines[username] = l
	}
	if q.waiting > q.most || l.count > maxWaitingOnAccount {
		if l.count == 0 {
			delete(q.lines, username)
		}
		q.mu.Unlock()
		return nil, password.ErrBusy
	}
	l.count++
	q.waiting++
	q.mu.Unlock()

	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	var err error
	select {
	case l.turn <- struct{}{}: // in the order in which they came
		return &turn{q: q, username: username}, nil
	case <-timeout.C:
		err = password.ErrBusy
	case <-q.closed:
		err = errClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.out(username)
	return nil, err
}

// out forgets one who waited or had his turn.
func (q *queue) out(username password.Fingerprint) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	l := q.lines[username]
	if l.count--; l.count == 0 {
		delete(q.lines, username)
	}
}

// close sends away all who wait.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closing.Do(func() { close(q.closed) })
}

// holdOpen adds one to those whom the process waits for, unless it waits already.
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

// turn is one's turn at an account.
type turn struct {
	q        *queue
	username password.Fingerprint
}

// leave lets the next one in.
func (t *turn) leave() {
	t.q.mu.Lock()
	l := t.q.lines[t.username]
	t.q.mu.Unlock()
	<-l.turn
	t.q.out(t.username)
}
