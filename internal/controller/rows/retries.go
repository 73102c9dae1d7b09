// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The limits of writes that the database does not keep. A retry costs a write, and its notification enqueues the user at once.
// So each retry waits twice as long as the one before.
const (
	firstRejectedRetry = 30 * time.Second
	mostRejectedRetry  = 20 // the longest wait, as a multiple of the first one

	// forgetRejected is the time after which a rejection counts as over.
	forgetRejected = 2 * mostRejectedRetry * firstRejectedRetry

	// Corrections of drift beyond these limits make the row contended. A few edits by hand are corrected at once; the loop of
	// another program is not answered with another loop.
	mostCorrections   = 8
	correctionsWithin = 10 * time.Second
	slowCorrections   = 12
	slowWithin        = 2 * time.Minute

	// mostConflicts is the number of consecutive conflicts after which the status reports them.
	mostConflicts = 2
)

// Retries spaces out the writes that the database rejects or does not keep. A restart forgets it and tries once more.
type Retries struct {
	now      func() time.Time
	first    time.Duration // until the first retry
	rejected prometheus.Counter
	users    *memory.Slot[retry]
}

// retry is what is known about one user.
type retry struct {
	asked       string // what was rejected, by user.Asked
	verb        user.Verb
	problem     *user.Problem
	rejections  int
	isContended bool
	until       time.Time   // before that, the same is not written again
	corrections []time.Time // of drift, the latest last
	conflicts   int         // consecutive ones
}

// NewRetries returns a Retries whose first retry waits for this long; 0 means 30 seconds.
func NewRetries(users *memory.Users, now func() time.Time, first time.Duration) *Retries {
	return &Retries{
		now: now, first: cmp.Or(first, firstRejectedRetry), users: memory.NewSlot[retry](users, forgetRejected),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_rejected_writes_total",
			Help: "Writes to a row that the database rejected or did not keep.",
		}),
	}
}

// Hold returns the problem of a write that was rejected before, and how long it still waits; nil if it may be made.
func (r *Retries) Hold(uid types.UID, asked string) (*user.Problem, time.Duration) {
	entry, ok := r.users.Get(uid)
	if !ok || entry.problem == nil || entry.asked != asked {
		return nil, 0
	}
	if left := entry.until.Sub(r.now()); left > 0 {
		return entry.problem, left
	}
	return nil, 0
}

// Reject records a write that the database rejected or did not keep, and returns how long the next one waits.
func (r *Retries) Reject(uid types.UID, asked string, verb user.Verb, problem *user.Problem) (wait time.Duration) {
	r.rejected.Inc()
	r.users.Update(uid, func(entry *retry) {
		if entry.asked != asked {
			*entry = retry{corrections: entry.corrections}
		}
		entry.asked, entry.verb, entry.problem = asked, verb, problem
		wait = r.wait(entry)
	})
	return wait
}

// MarkContended records that another program undoes the write, and not the database.
func (r *Retries) MarkContended(uid types.UID) {
	r.users.Update(uid, func(entry *retry) { entry.isContended = true })
}

func (r *Retries) wait(entry *retry) time.Duration {
	wait := min(r.first<<min(entry.rejections, 10), mostRejectedRetry*r.first)
	entry.rejections++
	entry.until = r.now().Add(wait)
	return wait
}

// Contend returns a problem if drift of this user returns so often that its correction has to wait, and how long it waits.
func (r *Retries) Contend(uid types.UID, asked string, problem func() *user.Problem) (contended *user.Problem, wait time.Duration) {
	if entry, ok := r.users.Get(uid); !ok || !r.isContended(&entry) {
		return nil, 0
	}
	contended = problem() // it asks the database, so not while the memory is locked
	r.users.Update(uid, func(entry *retry) {
		entry.asked, entry.verb, entry.problem, entry.isContended = asked, user.Update, contended, true
		entry.corrections = nil
		wait = r.wait(entry)
	})
	return contended, wait
}

// isContended reports whether a row is contended. Once it is, the next correction makes it so again.
func (r *Retries) isContended(entry *retry) bool {
	now := r.now()
	within := func(d time.Duration) int {
		return len(slices.DeleteFunc(slices.Clone(entry.corrections), func(at time.Time) bool { return now.Sub(at) > d }))
	}
	if entry.isContended && now.Sub(entry.until) < forgetRejected {
		return within(forgetRejected) > 0
	}
	return within(correctionsWithin) >= mostCorrections || within(slowWithin) >= slowCorrections
}

// Accept records a write that the database kept, and whether it corrected drift.
func (r *Retries) Accept(uid types.UID, isCorrection bool) {
	if !isCorrection {
		r.users.UpdateKnown(uid, func(entry *retry) { entry.problem, entry.conflicts, entry.rejections = nil, 0, 0 })
		return
	}
	r.users.Update(uid, func(entry *retry) {
		entry.problem, entry.conflicts = nil, 0
		entry.corrections = append(entry.corrections, r.now())
		if len(entry.corrections) > slowCorrections {
			entry.corrections = slices.Clone(entry.corrections[1:])
		}
	})
}

// KeepsRow returns the problem of a deletion that was rejected because the row came back: it is not done, although nothing
// is left to plan.
func (r *Retries) KeepsRow(uid types.UID, asked string, isActive bool) (*user.Problem, time.Duration) {
	entry, ok := r.users.Get(uid)
	isKept := ok && entry.problem != nil && entry.asked == asked && (entry.verb == user.Delete || (entry.verb == user.Deactivate && isActive))
	if !isKept {
		return nil, 0
	}
	return entry.problem, max(time.Second, entry.until.Sub(r.now()))
}

// Conflict counts consecutive reconciles with a conflict, and reports whether there were too many.
func (r *Retries) Conflict(uid types.UID) (isPersistent bool) {
	r.users.Update(uid, func(entry *retry) {
		entry.conflicts++
		isPersistent = entry.conflicts > mostConflicts
	})
	return isPersistent
}

// Release allows all rejected writes again: the database has recovered, or is another one.
func (r *Retries) Release() {
	now := r.now()
	r.users.Each(func(entry *retry) { entry.until = now })
}

var contendedDesc = prometheus.NewDesc("shardinguser_contended_accounts",
	"Accounts whose row another program keeps changing after the operator corrects it.", nil, nil)

// Describe implements prometheus.Collector.
func (r *Retries) Describe(descs chan<- *prometheus.Desc) {
	descs <- contendedDesc
	r.rejected.Describe(descs)
}

// Collect implements prometheus.Collector.
func (r *Retries) Collect(out chan<- prometheus.Metric) {
	r.rejected.Collect(out)
	contended, now := 0, r.now()
	r.users.Each(func(entry *retry) {
		if entry.isContended && now.Sub(entry.until) < forgetRejected {
			contended++
		}
	})
	out <- prometheus.MustNewConstMetric(contendedDesc, prometheus.GaugeValue, float64(contended))
}
