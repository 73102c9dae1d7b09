// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// statuses writes statuses, and tells and counts what is new in them.
type statuses struct {
	client   client.Client
	events   *events
	writes   prometheus.Counter
	lockouts prometheus.Counter
}

func newStatuses(mgr ctrl.Manager, registry prometheus.Registerer) (*statuses, error) {
	s := &statuses{
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
	return s, register(registry, s.writes, s.lockouts, s.events.dropped)
}

// write writes a status, only over the one that was read: whoever is behind must not tell of what is not there any more.
// The error is the API server's. The resource is then as it answered.
func (s *statuses) write(ctx context.Context, u *v1alpha1.ShardingUser, after v1alpha1.ShardingUserStatus) error {
	before := u.Status
	patch := client.MergeFromWithOptions(u.DeepCopy(), client.MergeFromWithOptimisticLock{})
	u.Status = after
	if err := s.client.Status().Patch(ctx, u, patch); err != nil {
		return err
	}
	s.writes.Inc()
	if after.Locked && !before.Locked {
		s.lockouts.Inc()
	}
	s.events.tell(ctx, u, user.StatusEvents(before, after))
	return nil
}

// reporter writes the statuses that reconciles lead to: one patch a reconcile at most, none when nothing changed.
type reporter struct {
	*statuses
	pace    *pace
	outages *pace // of what an outage of the database alone makes worth telling
	stale   *staleness
}

// report writes the status that tells of the outcome. Wait is how long the write has to be put off, 0 where it does
// not; wrote tells whether there was a write.
func (r *reporter) report(ctx context.Context, u *v1alpha1.ShardingUser, found outcome) (wait time.Duration, wrote bool, err error) {
	before := u.Status
	after := user.Status(before, found.desired, found.observed, found.problem, time.Now())
	if user.Same(before, after) {
		r.settled(u.UID)
		return 0, false, nil
	}
	switch {
	case user.AboutAccount(before, after):
		wait = r.pace.wait(u.UID, user.Urgent(before, after), lockOf(before, found))
	case found.isOutage():
		wait = r.outages.wait(u.UID, isAwaited(u), time.Time{})
	}
	if wait > 0 {
		return wait, false, nil
	}
	if err := r.write(ctx, u, after); err != nil {
		switch {
		case apierrors.IsNotFound(err):
			return 0, false, nil
		case apierrors.IsConflict(err):
			return staleRetry, false, nil
		}
		return 0, false, fmt.Errorf("write the status: %w", err)
	}
	r.stale.wrote(u)
	r.pace.wrote(u.UID)
	r.outages.settled(u.UID)
	return 0, true, nil
}

// isAwaited tells whether somebody asked for something that no status has told of yet.
func isAwaited(u *v1alpha1.ShardingUser) bool {
	return u.Status.ObservedGeneration != u.Generation || !u.DeletionTimestamp.IsZero()
}

// settled takes a resource out of all lines whose status says what there is to say.
func (r *reporter) settled(uid types.UID) {
	r.pace.settled(uid)
	r.outages.settled(uid)
}

// forget drops what is known of a resource that is gone.
func (r *reporter) forget(uid types.UID) {
	r.pace.forget(uid)
	r.outages.forget(uid)
}

// lockOf is until when the account's row is, or was, locked; the zero time where that is not known. All that one statement
// locks have it in common. A lock that was lifted is known by what the status says of it, which is the second in which it
// ends: an attack's locks share those. So that counts only before this end, when no log-in can lift it. After it a single
// failed attempt does.
func lockOf(told v1alpha1.ShardingUserStatus, found outcome) time.Time {
	switch observed := found.observed; {
	case observed == nil:
	case observed.Row != nil && observed.Row.LockedUntil != nil:
		return *observed.Row.LockedUntil
	case told.LockedUntil != nil && told.LockedUntil.After(observed.Now):
		return told.LockedUntil.Time
	}
	return time.Time{}
}

// tell tells people, and counts, what a change did.
func (r *Reconciler) tell(ctx context.Context, u *v1alpha1.ShardingUser, change user.Change, drift []user.Field) {
	for _, field := range drift {
		r.metrics.drift.WithLabelValues(string(field)).Inc()
	}
	r.events.tell(ctx, u, user.ChangeEvents(change, drift))
}
