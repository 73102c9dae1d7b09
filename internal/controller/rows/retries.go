// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// How often a row is written that the database does not keep. A retry costs a write, and its notification brings the user back
// at once: so each one waits twice as long as the one before.
const (
	usualRejectedRetry = 30 * time.Second // the first one
	mostRejectedRetry  = 20               // times that, the last one

	// forgetRejected is after what time without a further one a refusal counts as over.
	forgetRejected = 2 * mostRejectedRetry * usualRejectedRetry

	// Corrections of drift that another program may cause before the row counts as contended: a few people's edits by hand are
	// put back at once, a program's loop is not answered with another loop.
	mostCorrections   = 8
	correctionsWithin = 10 * time.Second
	slowCorrections   = 12
	slowWithin        = 2 * time.Minute

	// mostConflicts is how many reconciles in a row may come too late before the status says so.
	mostConflicts = 2
)

// retries spaces out the writes of rows that the database refuses, or does not keep. What it remembers is of no use to any
// decision but when to write: a restart forgets it, and tries once more.
type retries struct {
	now      func() time.Time
	first    time.Duration // until the first retry
	rejected prometheus.Counter

	mu     sync.Mutex
	by     map[types.UID]*retry
	pruned time.Time
}

// retry is one user's.
type retry struct {
	asked       string // what was refused, by user.Asked
	verb        user.Verb
	problem     *user.Problem
	refusals    int
	isContended bool
	until       time.Time   // before that, the same is not written again
	corrections []time.Time // of drift, the latest last
	conflicts   int         // in a row
	touched     time.Time
}

// newRetries has the first retry wait for this long; 0 is the usual time.
func newRetries(now func() time.Time, first time.Duration) *retries {
	return &retries{
		now: now, first: cmp.Or(first, usualRejectedRetry), by: map[types.UID]*retry{}, pruned: now(),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_rejected_writes_total",
			Help: "Writes to a row that the database rejected or did not keep.",
		}),
	}
}

// of is a user's entry, a new one where there is none. It is called with the lock held.
func (r *retries) of(uid types.UID) *retry {
	now := r.now()
	if now.Sub(r.pruned) > forgetRejected {
		r.pruned = now
		for other, entry := range r.by {
			if now.Sub(entry.touched) > forgetRejected && now.After(entry.until) {
				delete(r.by, other)
			}
		}
	}
	entry, ok := r.by[uid]
	if !ok {
		entry = &retry{}
		r.by[uid] = entry
	}
	entry.touched = now
	return entry
}

// hold returns the problem of a write that was refused lately, and how long it waits yet; nil where it may be made.
func (r *retries) hold(uid types.UID, asked string) (*user.Problem, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.by[uid]
	if !ok || entry.problem == nil || entry.asked != asked {
		return nil, 0
	}
	if left := entry.until.Sub(r.now()); left > 0 {
		return entry.problem, left
	}
	return nil, 0
}

// reject remembers a write that the database refused or did not keep, and returns how long the next one waits.
func (r *retries) reject(uid types.UID, asked string, verb user.Verb, problem *user.Problem) time.Duration {
	r.rejected.Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.of(uid)
	if entry.asked != asked {
		*entry = retry{corrections: entry.corrections, touched: entry.touched}
	}
	entry.asked, entry.verb, entry.problem = asked, verb, problem
	return r.wait(entry)
}

// markContended takes note that another program undoes the write, and not the database.
func (r *retries) markContended(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(uid).isContended = true
}

// wait is called with the lock held.
func (r *retries) wait(entry *retry) time.Duration {
	wait := min(r.first<<min(entry.refusals, 10), mostRejectedRetry*r.first)
	entry.refusals++
	entry.until = r.now().Add(wait)
	return wait
}

// contend tells whether drift of this user comes back so often that putting it back has to wait, and how long.
func (r *retries) contend(uid types.UID, asked string, problem func() *user.Problem) (*user.Problem, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.by[uid]
	if !ok || !r.isContended(entry) {
		return nil, 0
	}
	entry.asked, entry.verb, entry.problem, entry.isContended = asked, user.Update, problem(), true
	entry.corrections, entry.touched = nil, r.now()
	return entry.problem, r.wait(entry)
}

// isContended is called with the lock held. Once a row is contended, the next correction makes it so again.
func (r *retries) isContended(entry *retry) bool {
	now := r.now()
	within := func(d time.Duration) int {
		return len(slices.DeleteFunc(slices.Clone(entry.corrections), func(at time.Time) bool { return now.Sub(at) > d }))
	}
	if entry.isContended && now.Sub(entry.until) < forgetRejected {
		return within(forgetRejected) > 0
	}
	return within(correctionsWithin) >= mostCorrections || within(slowWithin) >= slowCorrections
}

// accept takes note of a write that the database kept, and whether it put drift back.
func (r *retries) accept(uid types.UID, isCorrection bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.by[uid]; !ok && !isCorrection {
		return
	}
	entry := r.of(uid)
	entry.problem, entry.conflicts = nil, 0
	if !isCorrection {
		entry.refusals = 0
		return
	}
	entry.corrections = append(entry.corrections, r.now())
	if len(entry.corrections) > slowCorrections {
		entry.corrections = slices.Clone(entry.corrections[1:])
	}
}

// keepsRow tells whether a deletion was refused since the row came back, and so is not over though nothing is left to plan.
func (r *retries) keepsRow(uid types.UID, asked string, isActive bool) (*user.Problem, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.by[uid]
	isKept := ok && entry.problem != nil && entry.asked == asked && (entry.verb == user.Delete || (entry.verb == user.Deactivate && isActive))
	if !isKept {
		return nil, 0
	}
	return entry.problem, max(time.Second, entry.until.Sub(r.now()))
}

// conflict counts reconciles that came too late, and tells whether there were too many in a row.
func (r *retries) conflict(uid types.UID) (isPersistent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.of(uid)
	entry.conflicts++
	return entry.conflicts > mostConflicts
}

// release lets all writes be made again that were refused: the database has come back, or is another one.
func (r *retries) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range r.by {
		entry.until = r.now()
	}
}

// forget drops what is known of a resource that is gone.
func (r *retries) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by, uid)
}

var contendedDesc = prometheus.NewDesc("shardinguser_contended_accounts",
	"Accounts whose row another program keeps changing after the operator corrects it.", nil, nil)

// Describe implements prometheus.Collector.
func (r *retries) Describe(descs chan<- *prometheus.Desc) {
	descs <- contendedDesc
	r.rejected.Describe(descs)
}

// Collect implements prometheus.Collector.
func (r *retries) Collect(out chan<- prometheus.Metric) {
	r.rejected.Collect(out)
	r.mu.Lock()
	defer r.mu.Unlock()
	contended := 0
	for _, entry := range r.by {
		if entry.isContended && r.now().Sub(entry.until) < forgetRejected {
			contended++
		}
	}
	out <- prometheus.MustNewConstMetric(contendedDesc, prometheus.GaugeValue, float64(contended))
}
