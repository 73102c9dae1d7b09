// SPDX-License-Identifier: Apache-2.0

package status

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

// The budgets of Events: a burst, and a number a second after it. An Event costs the API server a quarter of the status write
// that says the same, so most of 10,000 simultaneous ones are only counted. Warnings have a budget of their own, which
// nothing else uses up. So have locks and their ends: an attacker who causes many of them must not hide other warnings.
const (
	eventBurst        = 25
	eventsPerSecond   = 2
	warningBurst      = 50
	warningsPerSecond = 10
)

// Events reports what happened to accounts: by an Event, within the budget, and always by a log line, since Events are
// deleted after an hour.
type Events struct {
	recorder recorder.EventRecorder
	now      func() time.Time
	ordinary *rate.Limiter
	warnings *rate.Limiter
	locks    *rate.Limiter
	dropped  *prometheus.CounterVec
}

func newEvents(recorder recorder.EventRecorder, now func() time.Time) *Events {
	e := &Events{
		recorder: recorder,
		now:      now,
		ordinary: rate.NewLimiter(eventsPerSecond, eventBurst),
		warnings: rate.NewLimiter(warningsPerSecond, warningBurst),
		locks:    rate.NewLimiter(warningsPerSecond, warningBurst),
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

// Report reports what happened to the account of a resource.
func (e *Events) Report(ctx context.Context, u *v1alpha1.ShardingUser, happened []user.Event) {
	for _, event := range happened {
		kind, budget := corev1.EventTypeNormal, e.ordinary
		if event.Warning {
			kind, budget = corev1.EventTypeWarning, e.warnings
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
