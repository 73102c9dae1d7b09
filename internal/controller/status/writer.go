// SPDX-License-Identifier: Apache-2.0

// Package status writes the statuses and Events of ShardingUsers. No other package does, and all limits are here.
package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// RetryDelay is the time that the cache gets to catch up with another write of the resource.
const RetryDelay = 50 * time.Millisecond

// Writer writes statuses, and reports and counts what is new in them.
type Writer struct {
	client   client.Client
	events   *Events
	writes   prometheus.Counter
	lockouts prometheus.Counter
}

// NewWriter returns the manager's Writer.
func NewWriter(mgr ctrl.Manager, registry prometheus.Registerer) (*Writer, error) {
	w := &Writer{
		client: mgr.GetClient(),
		events: newEvents(mgr.GetEventRecorder("shardinguser-operator"), time.Now),
		writes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_status_writes_total",
			Help: "Status updates of ShardingUsers.",
		}),
		lockouts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_lockouts_total",
			Help: "Observed account lockouts.",
		}),
	}
	if err := errors.Join(registry.Register(w.writes), registry.Register(w.lockouts), registry.Register(w.events.dropped)); err != nil {
		return nil, fmt.Errorf("register the metrics of statuses: %w", err)
	}
	return w, nil
}

// Events returns the Events that the Writer reports changes by.
func (w *Writer) Events() *Events { return w.events }

// Write writes a status, only over the one that was read: an older copy must not report what is over. The error is the API
// server's. The resource is then as it answered.
func (w *Writer) Write(ctx context.Context, u *v1alpha1.ShardingUser, after v1alpha1.ShardingUserStatus) error {
	before := u.Status
	patch := client.MergeFromWithOptions(u.DeepCopy(), client.MergeFromWithOptimisticLock{})
	u.Status = after
	if err := w.client.Status().Patch(ctx, u, patch); err != nil {
		return err
	}
	w.writes.Inc()
	if user.ReportedLock(after) != nil && user.ReportedLock(before) == nil {
		w.lockouts.Inc()
	}
	w.events.Report(ctx, u, user.StatusEvents(before, after))
	return nil
}

// Outcome is what a reconcile found out, and did not achieve.
type Outcome struct {
	Desired  user.Desired
	Observed *user.Observed // nil if the database did not answer
	Problem  *user.Problem
	Locked   bool // another transaction holds a lock on the row
}

// isOutage reports whether the reconcile failed because the database is unavailable.
func (o Outcome) isOutage() bool {
	return o.Problem != nil && o.Problem.Reason == v1alpha1.ReasonDatabaseUnavailable && !o.Locked
}

// Reporter writes the statuses of reconciles: one patch a reconcile at most, none if nothing changed.
type Reporter struct {
	writer    *Writer
	accounts  *limiter // of writes about the account only
	outages   *limiter // of writes about an outage of the database only
	staleness *Staleness
}

// NewReporter returns a Reporter.
func NewReporter(writer *Writer, staleness *Staleness, users *memory.Users) *Reporter {
	return &Reporter{writer: writer, accounts: newLimiter(time.Now, users), outages: newLimiter(time.Now, users), staleness: staleness}
}

// Report writes the status for an outcome. Wait is the time by which a limit delays the write, or 0. Wrote reports whether
// there was a write.
func (r *Reporter) Report(ctx context.Context, u *v1alpha1.ShardingUser, found Outcome) (wait time.Duration, wrote bool, err error) {
	before := u.Status
	after := user.Status(before, found.Desired, found.Observed, found.Problem, time.Now())
	if user.Same(before, after) {
		r.accounts.leave(u.UID)
		r.outages.leave(u.UID)
		return 0, false, nil
	}
	switch {
	case user.AboutAccount(before, after):
		wait = r.accounts.wait(u.UID, user.Urgent(before, after), lockOf(before, found.Observed))
	case found.isOutage():
		wait = r.outages.wait(u.UID, queue.HasPendingChange(u), time.Time{})
	}
	if wait > 0 {
		return wait, false, nil
	}
	if err := r.writer.Write(ctx, u, after); err != nil {
		switch {
		case apierrors.IsNotFound(err):
			return 0, false, nil
		case apierrors.IsConflict(err):
			return RetryDelay, false, nil
		}
		return 0, false, fmt.Errorf("write the status: %w", err)
	}
	r.staleness.Wrote(u)
	r.accounts.wrote(u.UID)
	r.outages.leave(u.UID)
	return 0, true, nil
}

// lockOf returns the end of the account's present or former lock, which all locks of one statement share; the zero time if it
// is unknown. A former lock is known by the status, in whole seconds: locks of an attack share those. So it counts only
// before its end, when no login can lift it. After its end a single failed attempt does.
func lockOf(told v1alpha1.ShardingUserStatus, observed *user.Observed) time.Time {
	switch {
	case observed == nil:
	case observed.Row != nil && observed.Row.LockedUntil != nil:
		return *observed.Row.LockedUntil
	case told.LockedUntil != nil && told.LockedUntil.After(observed.Now):
		return told.LockedUntil.Time
	}
	return time.Time{}
}
