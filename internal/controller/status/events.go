// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// How many Events are made at once, and how many a second after that. An Event costs the API server a quarter of the
// status that says the same: of 10,000 users that come at once, a few are told of and the others are counted. What needs
// somebody's attention (warnings) has a budget of its own, which nothing else uses up, and so have locks that came or went:
// who makes many of them by log-ins is not to hide by that what else he does.
const (
	eventBurst      = 25
	eventsPerSecond = 2
	alarmBurst      = 50
	alarmsPerSecond = 10
)

// events tells people what happened to accounts: by an Event, as far as the budget goes, and always by a line of the log,
// since Events are gone after an hour.
type events struct {
	recorder recorder.EventRecorder
	now      func() time.Time
	ordinary *rate.Limiter
	alarms   *rate.Limiter
	locks    *rate.Limiter
	dropped  *prometheus.CounterVec
}

func newEvents(recorder recorder.EventRecorder, now func() time.Time) *events {
	e := &events{
		recorder: recorder,
		now:      now,
		ordinary: rate.NewLimiter(eventsPerSecond, eventBurst),
		alarms:   rate.NewLimiter(alarmsPerSecond, alarmBurst),
		locks:    rate.NewLimiter(alarmsPerSecond, alarmBurst),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardinguser_events_dropped_total",
			Help: "Events that were not created because of the rate limit. They are in the log.",
		}, []string{"type"}),
	}
	for _, kind := range []string{corev1.EventTypeNormal, corev1.EventTypeWarning} {
		e.dropped.WithLabelValues(kind)
	}
	return e
}

// tell tells of what happened to the account of a resource.
func (e *events) tell(ctx context.Context, u *v1alpha1.ShardingUser, happened []user.Event) {
	for _, event := range happened {
		kind, budget := corev1.EventTypeNormal, e.ordinary
		if event.Warning {
			kind, budget = corev1.EventTypeWarning, e.alarms
		}
		if event.Reason == v1alpha1.EventLocked || event.Reason == v1alpha1.EventUnlocked {
			budget = e.locks
		}
		logf.FromContext(ctx).Info(event.Message, "event", event.Reason)
		if !budget.AllowN(e.now(), 1) {
			e.dropped.WithLabelValues(kind).Inc()
			continue
		}
		e.recorder.Eventf(u, nil, kind, event.Reason, "Reconcile", "%s", event.Message)
	}
}
