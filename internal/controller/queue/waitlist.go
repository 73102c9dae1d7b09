// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Waitlist holds the requests that an outage of the database keeps waiting, outside the queue. It decides which of them
// probes the database, and which come first when it is available again.
type Waitlist struct {
	mu      sync.Mutex
	waiting map[reconcile.Request]place
	drawn   uint64                         // the numbers of all places
	failed  map[reconcile.Request]struct{} // made a call in this outage that failed
	pending map[reconcile.Request]struct{} // have a pending change that was not made yet
}

// place is why a request waits, and since when.
type place struct {
	access Access
	number uint64 // later requests have higher numbers
}

// Released are requests that wait no longer, and whether each has a pending change.
type Released map[reconcile.Request]bool

// Access is what a call of the store does.
type Access int

// The kinds of Access.
const (
	Read Access = iota
	Write
)

// NewWaitlist returns an empty list.
func NewWaitlist() *Waitlist {
	return &Waitlist{
		waiting: map[reconcile.Request]place{}, failed: map[reconcile.Request]struct{}{}, pending: map[reconcile.Request]struct{}{},
	}
}

// Add holds a request whose call was not made.
func (w *Waitlist) Add(request reconcile.Request, access Access, hasPendingChange bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recordPending(request, hasPendingChange)
	w.drawn++
	w.waiting[request] = place{access: access, number: w.drawn}
}

// Fail records a request whose call was made and failed. It waits in the queue, by its backoff. Within an outage it is the
// last choice for the next probe.
func (w *Waitlist) Fail(request reconcile.Request, hasPendingChange, isOutage bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recordPending(request, hasPendingChange)
	if isOutage {
		w.failed[request] = struct{}{}
	}
}

// recordPending records a pending change until Succeed: once the status reports the outage, the resource does not show it
// any more. It is called with the lock held.
func (w *Waitlist) recordPending(request reconcile.Request, hasPendingChange bool) {
	if hasPendingChange {
		w.pending[request] = struct{}{}
	}
}

// Succeed records that a request has no pending change any more.
func (w *Waitlist) Succeed(request reconcile.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, request)
}

// Len returns the number of waiting requests.
func (w *Waitlist) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}

// ReleaseAll ends an outage. It also returns the requests with a pending change that wait in the queue.
func (w *Waitlist) ReleaseAll() Released {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.failed)
	free := w.release(func(place) bool { return true })
	for request := range w.pending {
		free[request] = true
	}
	return free
}

// Release returns the requests whose calls are possible again.
func (w *Waitlist) Release(canRead, canWrite bool) Released {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.release(func(p place) bool { return (p.access == Read && canRead) || (p.access == Write && canWrite) })
}

// release is called with the lock held.
func (w *Waitlist) release(mayGo func(place) bool) Released {
	free := Released{}
	for request, p := range w.waiting {
		if mayGo(p) {
			delete(w.waiting, request)
			_, free[request] = w.pending[request]
		}
	}
	return free
}

// ReleaseProbe releases one request, whose call shows whether the database is available again. Some calls always fail, for
// want of a right, say. So requests that have not failed yet come first, and of these the newest one with a pending
// change: it does not wait for all earlier ones. Otherwise it is any request, but not always the same.
func (w *Waitlist) ReleaseProbe() Released {
	w.mu.Lock()
	defer w.mu.Unlock()
	var probe reconcile.Request
	best := -1
	var number uint64
	for request, p := range w.waiting {
		rank := 0
		if _, failed := w.failed[request]; !failed {
			rank = 1
			if _, isPending := w.pending[request]; isPending {
				rank = 2
			}
		}
		if rank > best || (rank == 2 && rank == best && p.number > number) {
			probe, best, number = request, rank, p.number
		}
	}
	if best < 0 {
		return nil
	}
	delete(w.waiting, probe)
	_, isPending := w.pending[probe]
	return Released{probe: isPending}
}
