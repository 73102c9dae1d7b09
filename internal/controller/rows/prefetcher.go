// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/store"
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
//   - Accounts that somebody plans to ask for are read ahead, with those that are asked for, and each answers one Observe.
//     A thousand are read when fewer than that are left, so that memory holds twice as many at most.
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

	planned map[string][]reconcile.Request // by username, who will ask
	enqueue func(users []reconcile.Request, areLast bool)
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
	return &ReadAhead{store: store, now: time.Now, ahead: map[string]aheadAccount{}, planned: map[string][]reconcile.Request{}}
}

// Observe is the store's.
func (r *ReadAhead) Observe(ctx context.Context, username string) (user.Observed, error) {
	r.mu.Lock()
	if observed, ok := r.take(username); ok {
		r.goOn(ctx)
		r.mu.Unlock()
		return observed, nil
	}
	if r.next == nil {
		r.next = &batch{usernames: map[string]struct{}{}, done: make(chan struct{})}
	}
	b := r.next
	b.usernames[username] = struct{}{}
	r.goOn(ctx)
	r.mu.Unlock()
	select {
	case <-b.done:
		if b.panicked != nil {
			panic(b.panicked) // where it is recovered from, and counted
		}
		if errors.Is(b.err, store.ErrRejected) && len(b.usernames) > 1 {
			return r.observeAlone(ctx, username) // one row of the batch cannot be read, which says nothing of the others
		}
		return b.read[username], b.err
	case <-ctx.Done():
		return user.Observed{}, ctx.Err()
	}
}

// observeAlone reads one account in a statement of its own.
func (r *ReadAhead) observeAlone(ctx context.Context, username string) (user.Observed, error) {
	read, err := r.store.Snapshot(ctx, []string{username})
	return read[username], err
}

// Plan reads the accounts of users ahead who are to be reconciled, in step with their reconciles, and calls enqueue with
// those whose accounts were read, or could not be: each then reads for himself, and tells of the error.
func (r *ReadAhead) Plan(ctx context.Context, users map[string][]reconcile.Request, enqueue func(users []reconcile.Request, areLast bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.planned, users)
	r.enqueue = enqueue
	r.goOn(ctx)
}

// goOn asks the store where there is something to ask and nobody does. It is called with the lock held.
func (r *ReadAhead) goOn(ctx context.Context) {
	if !r.asking && (r.next != nil || r.hasRoom()) {
		r.asking = true
		go r.ask(context.WithoutCancel(ctx)) // it answers others as well; the store bounds the time that it takes
	}
}

// hasRoom tells whether it is time to read more ahead. It is called with the lock held.
func (r *ReadAhead) hasRoom() bool { return len(r.planned) > 0 && len(r.ahead) < aheadSize }

// ask asks the store for those who wait, and for those who will, until there is nobody.
func (r *ReadAhead) ask(ctx context.Context) {
	for {
		r.mu.Lock()
		r.dropOld()
		if r.next == nil && !r.hasRoom() {
			r.asking = false
			if len(r.planned) > 0 { // should nobody come, since the users are gone, say
				time.AfterFunc(aheadTime, func() { r.resume(ctx) })
			}
			r.mu.Unlock()
			return
		}
		b := r.next
		if b == nil {
			b = &batch{usernames: map[string]struct{}{}, done: make(chan struct{})}
		}
		r.next = nil
		users, enqueue := r.fill(b), r.enqueue
		areLast := len(r.planned) == 0
		r.mu.Unlock()

		b.ask(ctx, r.store)
		r.put(b)
		if len(users) > 0 {
			enqueue(users, areLast)
		}
	}
}

// fill adds accounts to a batch that are planned, and returns who will ask for them. It is called with the lock held.
func (r *ReadAhead) fill(b *batch) (users []reconcile.Request) {
	r.reading = map[string]struct{}{}
	if !r.hasRoom() {
		return nil
	}
	for username, requests := range r.planned {
		if len(b.usernames) >= aheadSize {
			break
		}
		delete(r.planned, username)
		users = append(users, requests...)
		if _, asked := b.usernames[username]; !asked {
			b.usernames[username], r.reading[username] = struct{}{}, struct{}{}
		}
	}
	return users
}

// put keeps what was read ahead and did not change meanwhile.
func (r *ReadAhead) put(b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.now()
	for username := range r.reading {
		if observed, ok := b.read[username]; ok {
			r.ahead[username] = aheadAccount{Observed: observed, at: at}
		}
	}
	r.reading = nil
}

func (r *ReadAhead) resume(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropOld()
	r.goOn(ctx)
}

func (b *batch) ask(ctx context.Context, store Batches) {
	defer close(b.done)
	defer func() { b.panicked = recover() }()
	b.read, b.err = store.Snapshot(ctx, slices.Collect(maps.Keys(b.usernames)))
}

// Apply is the store's.
func (r *ReadAhead) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	defer r.Forget(change.Username)
	return r.store.Apply(ctx, change)
}

// Forget drops what was read ahead of accounts that may have changed.
func (r *ReadAhead) Forget(usernames ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, username := range usernames {
		delete(r.reading, username)
		delete(r.ahead, username)
	}
}

// take is what was read ahead of an account. It is called with the lock held.
func (r *ReadAhead) take(username string) (user.Observed, bool) {
	a, ok := r.ahead[username]
	if !ok {
		return user.Observed{}, false
	}
	delete(r.ahead, username)
	now := r.now()
	// The database's clock went on. The time since the answer is a little less than that since the reading: whoever
	// waits for the end of a lock comes too early rather than that it is over too early.
	a.Now = a.Now.Add(now.Sub(a.at))
	return a.Observed, !a.isOld(now)
}

// dropOld is called with the lock held.
func (r *ReadAhead) dropOld() {
	if len(r.planned) == 0 {
		return
	}
	now := r.now()
	maps.DeleteFunc(r.ahead, func(_ string, a aheadAccount) bool { return a.isOld(now) })
}

func (a aheadAccount) isOld(now time.Time) bool { return now.Sub(a.at) >= aheadTime }
