// SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	attempts   *prometheus.CounterVec
	duration   prometheus.Histogram
	recognized prometheus.Counter
	fallback   *prometheus.CounterVec
	dropped    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardinguser_login_attempts_total",
			Help: "Login attempts by outcome.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shardinguser_login_duration_seconds",
			Help:    "Duration of login attempts in seconds, including the time in the queue.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}),
		recognized: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_login_recognized_total",
			Help: "Credentials that verify accepted without bcrypt because it had verified them recently.",
		}),
	}
	m.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shardinguser_login_connections_dropped_total",
		Help: "Connections of the login API that were closed because of the connection limit.",
	})
	m.fallback = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shardinguser_fallback_attempts_total",
		Help: "Login attempts that were decided from the account cache while the database was unavailable, by outcome.",
	}, []string{"outcome"})
	for _, o := range outcomes { // export zeros from the start
		m.attempts.WithLabelValues(string(o))
	}
	for _, o := range []Outcome{Succeeded, Failed, Unknown, Locked, Inactive, Superseded} {
		m.fallback.WithLabelValues(string(o))
	}
	return m, errors.Join(registry.Register(m.attempts), registry.Register(m.duration), registry.Register(m.recognized),
		registry.Register(m.fallback), registry.Register(m.dropped))
}

func (m *metrics) attempt(result Result, took time.Duration) {
	m.attempts.WithLabelValues(string(result.Outcome)).Inc()
	m.duration.Observe(took.Seconds())
	if result.fallback {
		m.fallback.WithLabelValues(string(result.Outcome)).Inc()
	}
}
