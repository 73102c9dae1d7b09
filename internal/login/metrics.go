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
	fromMemory *prometheus.CounterVec
	dropped    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardinguser_login_attempts_total",
			Help: "Log-in attempts by how they ended.",
		}, []string{"outcome"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shardinguser_login_duration_seconds",
			Help:    "Time that log-in attempts took, waiting in line included.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 12),
		}),
		recognized: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_login_recognized_total",
			Help: "Credentials that a gateway asked about and that were recognised without bcrypt.",
		}),
	}
	m.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shardinguser_login_connections_dropped_total",
		Help: "Connections of the log-in API that were closed since there were too many of them.",
	})
	m.fromMemory = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shardinguser_fallback_attempts_total",
		Help: "Those log-in attempts that were decided from memory, while the database was away, by how they ended.",
	}, []string{"outcome"})
	for _, o := range outcomes { // shown from the start
		m.attempts.WithLabelValues(string(o))
	}
	for _, o := range []Outcome{Succeeded, Failed, Unknown, Locked, Inactive, Superseded} {
		m.fromMemory.WithLabelValues(string(o))
	}
	return m, errors.Join(registry.Register(m.attempts), registry.Register(m.duration), registry.Register(m.recognized),
		registry.Register(m.fromMemory), registry.Register(m.dropped))
}

func (m *metrics) attempt(result Result, took time.Duration) {
	m.attempts.WithLabelValues(string(result.Outcome)).Inc()
	m.duration.Observe(took.Seconds())
	if result.fromMemory {
		m.fromMemory.WithLabelValues(string(result.Outcome)).Inc()
	}
}
