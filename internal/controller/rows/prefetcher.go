// SPDX-License-Identifier: Apache-2.0

package rows

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
	// batchSize is the largest number of accounts in one statement.
	batchSize = 1000

	// prefetchedFor is how long a prefetched account may wait for its reconcile.
	prefetchedFor = 5 * time.Second
)

// Batches is the store as the Prefetcher needs it.
type Batches interface {
	Store

	// Snapshot is Observe for up to 1,000 usernames at one moment. It returns an entry for each.
	Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error)
}

// Prefetcher reads many accounts in one statement, for reconciles that observe one account each:
//
//   - Concurrent reads are batched: those that come while a statement runs share the next one. A single read does not wait.
//   - Planned reads are prefetched, together with the batches, and each fetched account answers one Observe. The next ones are
//     fetched when fewer than batchSize are left, so at most twice as many are in memory.
//
// It returns nothing that is known to be old. A prefetched account is dropped when it may have changed, which Forget reports
// before anything is done about the change, and after prefetchedFor.
type Prefetcher struct {
	source Batches
	now    func() time.Time

	mu       sync.Mutex
	next     *batch                       // the reads that wait for the next statement; nil if there are none
	running  bool                         // a statement runs
	ready    map[string]prefetchedAccount // by username
	fetching map[string]struct{}          // usernames that are being prefetched and have not changed since

	planned map[string][]reconcile.Request // who will observe each username
	enqueue func(users []reconcile.Request, areLast bool)
}

// prefetchedAccount is an account and the time at which it was fetched.
type prefetchedAccount struct {
	user.Observed
	at time.Time
}

// batch is one statement.
type batch struct {
	usernames map[string]struct{}
	done      chan struct{} // closed when there is an answer
	read      map[string]user.Observed
	err       error
	panicked  any // the value of the store's panic; nil if there was none
}

func newBatch() *batch { return &batch{usernames: map[string]struct{}{}, done: make(chan struct{})} }

// NewPrefetcher returns a Prefetcher before a store.
func NewPrefetcher(source Batches) *Prefetcher {
	return &Prefetcher{
		source: source, now: time.Now, ready: map[string]prefetchedAccount{}, planned: map[string][]reconcile.Request{},
	}
}

// Observe is the store's.
func (p *Prefetcher) Observe(ctx context.Context, username string) (user.Observed, error) {
	p.mu.Lock()
	if observed, ok := p.pop(username); ok {
		p.start(ctx)
		p.mu.Unlock()
		return observed, nil
	}
	if p.next == nil {
		p.next = newBatch()
	}
	b := p.next
	b.usernames[username] = struct{}{}
	p.start(ctx)
	p.mu.Unlock()
	select {
	case <-b.done:
		if b.panicked != nil {
			panic(b.panicked) // in the reconcile, where it is recovered and counted
		}
		if errors.Is(b.err, store.ErrRejected) && len(b.usernames) > 1 {
			return p.observeAlone(ctx, username) // one unreadable row of the batch says nothing about the others
		}
		return b.read[username], b.err
	case <-ctx.Done():
		return user.Observed{}, ctx.Err()
	}
}

// observeAlone reads one account in a statement of its own.
func (p *Prefetcher) observeAlone(ctx context.Context, username string) (user.Observed, error) {
	read, err := p.source.Snapshot(ctx, []string{username})
	return read[username], err
}

// Plan prefetches the accounts of users that are to be reconciled, and calls enqueue with those whose accounts were fetched.
// If a fetch fails, enqueue is called too: each reconcile then reads by itself, and reports the error.
func (p *Prefetcher) Plan(ctx context.Context, users map[string][]reconcile.Request, enqueue func(users []reconcile.Request, areLast bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.planned, users)
	p.enqueue = enqueue
	p.start(ctx)
}

// start starts fetching, if there is something to fetch and no statement runs. It is called with the lock held.
func (p *Prefetcher) start(ctx context.Context) {
	if !p.running && (p.next != nil || p.hasRoom()) {
		p.running = true
		go p.fetch(context.WithoutCancel(ctx)) // it serves other reconciles too; the store limits its time
	}
}

// hasRoom reports whether more accounts can be prefetched. It is called with the lock held.
func (p *Prefetcher) hasRoom() bool { return len(p.planned) > 0 && len(p.ready) < batchSize }

// fetch runs statements until there is nothing left to fetch.
func (p *Prefetcher) fetch(ctx context.Context) {
	for {
		p.mu.Lock()
		p.dropOld()
		if p.next == nil && !p.hasRoom() {
			p.running = false
			if len(p.planned) > 0 { // in case the fetched users never come: they were deleted, say
				time.AfterFunc(prefetchedFor, func() { p.resume(ctx) })
			}
			p.mu.Unlock()
			return
		}
		b := p.next
		if b == nil {
			b = newBatch()
		}
		p.next = nil
		users, enqueue := p.fill(b), p.enqueue
		areLast := len(p.planned) == 0
		p.mu.Unlock()

		b.run(ctx, p.source)
		p.store(b)
		if len(users) > 0 {
			enqueue(users, areLast)
		}
	}
}

// fill adds planned accounts to a batch, and returns the users that will observe them. It is called with the lock held.
func (p *Prefetcher) fill(b *batch) (users []reconcile.Request) {
	p.fetching = map[string]struct{}{}
	if !p.hasRoom() {
		return nil
	}
	for username, requests := range p.planned {
		if len(b.usernames) >= batchSize {
			break
		}
		delete(p.planned, username)
		users = append(users, requests...)
		if _, isRead := b.usernames[username]; !isRead {
			b.usernames[username], p.fetching[username] = struct{}{}, struct{}{}
		}
	}
	return users
}

// store keeps the prefetched accounts of a batch that did not change meanwhile.
func (p *Prefetcher) store(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.now()
	for username := range p.fetching {
		if observed, ok := b.read[username]; ok {
			p.ready[username] = prefetchedAccount{Observed: observed, at: at}
		}
	}
	p.fetching = nil
}

func (p *Prefetcher) resume(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropOld()
	p.start(ctx)
}

func (b *batch) run(ctx context.Context, source Batches) {
	defer close(b.done)
	defer func() { b.panicked = recover() }()
	b.read, b.err = source.Snapshot(ctx, slices.Collect(maps.Keys(b.usernames)))
}

// Apply is the store's.
func (p *Prefetcher) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	defer p.Forget(change.Username)
	return p.source.Apply(ctx, change)
}

// Forget drops prefetched accounts that may have changed.
func (p *Prefetcher) Forget(usernames ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, username := range usernames {
		delete(p.fetching, username)
		delete(p.ready, username)
	}
}

// pop removes and returns a prefetched account, if it is not too old. It is called with the lock held.
func (p *Prefetcher) pop(username string) (user.Observed, bool) {
	a, ok := p.ready[username]
	if !ok {
		return user.Observed{}, false
	}
	delete(p.ready, username)
	now := p.now()
	// The database's clock went on. The time since the answer is a little less than the time since the statement, so a
	// reconcile that waits for the end of a lock comes too early rather than too late.
	a.Now = a.Now.Add(now.Sub(a.at))
	return a.Observed, !a.isOld(now)
}

// dropOld is called with the lock held.
func (p *Prefetcher) dropOld() {
	if len(p.planned) == 0 {
		return
	}
	now := p.now()
	maps.DeleteFunc(p.ready, func(_ string, a prefetchedAccount) bool { return a.isOld(now) })
}

func (a prefetchedAccount) isOld(now time.Time) bool { return now.Sub(a.at) >= prefetchedFor }
