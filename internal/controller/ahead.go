// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// aheadSize is how many accounts are read ahead in one statement.
	aheadSize = 1000

	// aheadTime is how long what was read ahead may wait for its reconcile.
	aheadTime = 5 * time.Second
)

// Batches is the store as ReadAhead needs it.
type Batches interface {
	Accounts

	// Snapshot is Observe for many usernames in one moment, aheadSize at most. It has an entry for each.
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
}

// ReadAhead is the store for who reconciles many users, of whom each looks at one account. It asks for many accounts in one
// statement, in two ways:
//
//   - Who asks while a statement is under way waits for the next one, with all others who do. Who comes alone waits for
//     nobody.
//   - Accounts that will be asked for soon are read ahead, and each answers one Observe.
//
// Nobody gets what is known to be old. What was read ahead is dropped when the account may have changed, which whoever
// watches the store has to tell by Forget, before anything is done about it; and by aheadTime at the latest.
type ReadAhead struct {
	store Batches
	now   func() time.Time

	mu      sync.Mutex
	next    *batch                  // who waits for the next statement; nil where nobody does
	asking  bool                    // one is under way
	ahead   map[string]aheadAccount // by username
	reading map[string]struct{}     // usernames that are just being read ahead, and may not have changed since
	few     chan struct{}           // holds one when aheadSize of ahead are left, or fewer

	one sync.Mutex // held by who reads ahead
}

// aheadAccount is an account that was read ahead.
type aheadAccount struct {
	user.Observed
	at time.Time // when it had been read
}

// batch is one statement.
type batch struct {
	usernames map[string]struct{}
	done      chan struct{} // closed when there is an answer
	read      map[string]user.Observed
	err       error
	panicked  any // what the store panicked with; nil where it did not
}

// NewReadAhead returns a ReadAhead of which nothing was read yet.
func NewReadAhead(store Batches) *ReadAhead {
	return &ReadAhead{store: store, now: time.Now, ahead: map[string]aheadAccount{}, few: make(chan struct{}, 1)}
}

// Observe is the store's.
func (r *ReadAhead) Observe(ctx context.Context, username string) (user.Observed, error) {
	r.mu.Lock()
	if observed, ok := r.take(username); ok {
		r.mu.Unlock()
		return observed, nil
	}
	if r.next == nil {
		r.next = &batch{usernames: map[string]struct{}{}, done: make(chan struct{})}
	}
	b := r.next
	b.usernames[username] = struct{}{}
	if !r.asking {
		r.asking = true
		go r.ask(context.WithoutCancel(ctx)) // it answers others as well; the store bounds the time that it takes
	}
	r.mu.Unlock()
	select {
	case <-b.done:
		if b.panicked != nil {
			panic(b.panicked) // where it is recovered from, and counted
		}
		return b.read[username], b.err
	case <-ctx.Done():
		return user.Observed{}, ctx.Err()
	}
}

// ask asks the store for those who wait, until nobody does.
func (r *ReadAhead) ask(ctx context.Context) {
	for {
		r.mu.Lock()
		b := r.next
		r.next, r.asking = nil, b != nil
		r.mu.Unlock()
		if b == nil {
			return
		}
		b.ask(ctx, r.store)
	}
}

func (b *batch) ask(ctx context.Context, store Batches) {
	defer close(b.done)
	defer func() { b.panicked = recover() }()
	b.read, b.err = store.Snapshot(ctx, slices.Collect(maps.Keys(b.usernames)))
}

// Apply is the store's.
func (r *ReadAhead) Apply(ctx context.Context, change user.Change) error {
	defer r.Forget(change.Username)
	return r.store.Apply(ctx, change)
}

// Read reads accounts ahead, aheadSize at most. Its errors are the store's.
func (r *ReadAhead) Read(ctx context.Context, usernames []string) error {
	r.one.Lock()
	defer r.one.Unlock()
	r.mu.Lock()
	r.reading = make(map[string]struct{}, len(usernames))
	for _, username := range usernames {
		r.reading[username] = struct{}{}
	}
	r.mu.Unlock()
	read, err := r.store.Snapshot(ctx, usernames)
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.now()
	for username := range r.reading {
		if observed, ok := read[username]; ok {
			r.ahead[username] = aheadAccount{Observed: observed, at: at}
		}
	}
	r.reading = nil
	return err
}

// Forget drops what was read ahead of accounts that may have changed.
func (r *ReadAhead) Forget(usernames ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, username := range usernames {
		delete(r.reading, username)
		delete(r.ahead, username)
	}
	r.tell()
}

// Wait waits until no more than aheadSize accounts that were read ahead are left, so that memory holds twice as many at
// most. The only error is the context's.
func (r *ReadAhead) Wait(ctx context.Context) error {
	for r.left() > aheadSize {
		timer := time.NewTimer(aheadTime)
		select {
		case <-ctx.Done():
		case <-r.few:
		case <-timer.C:
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// left is how many accounts are still of use.
func (r *ReadAhead) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	maps.DeleteFunc(r.ahead, func(_ string, a aheadAccount) bool { return a.isOld(now) })
	return len(r.ahead)
}

// take is what was read ahead of an account. It is called with the lock held.
func (r *ReadAhead) take(username string) (user.Observed, bool) {
	a, ok := r.ahead[username]
	if !ok {
		return user.Observed{}, false
	}
	delete(r.ahead, username)
	r.tell()
	now := r.now()
	// The database's clock went on. The time since the answer is a little less than that since the reading: whoever
	// waits for the end of a lock comes too early rather than that it is over too early.
	a.Now = a.Now.Add(now.Sub(a.at))
	return a.Observed, !a.isOld(now)
}

// tell tells who waits that few are left. It is called with the lock held.
func (r *ReadAhead) tell() {
	if len(r.ahead) > aheadSize {
		return
	}
	select {
	case r.few <- struct{}{}:
	default:
	}
}

func (a aheadAccount) isOld(now time.Time) bool { return now.Sub(a.at) >= aheadTime }
