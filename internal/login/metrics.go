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
	for _, o := range outcomes {
		m.attempts.WithLabelValues(string(o)) // shown from the start
	}
	return m, errors.Join(registry.Register(m.attempts), registry.Register(m.duration), registry.Register(m.recognized))
}

func (m *metrics) attempt(o Outcome, took time.Duration) {
	m.attempts.WithLabelValues(string(o)).Inc()
	m.duration.Observe(took.Seconds())
}
