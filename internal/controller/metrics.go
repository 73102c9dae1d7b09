// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// metrics are what the reconciler counts. No username is ever a label.
type metrics struct {
	drift      *prometheus.CounterVec
	lagSeconds prometheus.Histogram
}

// newMetrics registers the reconciler's metrics, and those of its rooms.
func newMetrics(registry prometheus.Registerer, hasher *password.Hasher, digests *secrets.Digests, ofRooms ...prometheus.Collector) (*metrics, error) {
	m := &metrics{
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardinguser_drift_corrections_total",
			Help: "Columns of owned rows that another program changed and the operator corrected.",
		}, []string{"field"}),
		lagSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shardinguser_observe_lag_seconds",
			Help:    "Time in seconds from the notification of a changed row to the status update.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	hashes := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "shardinguser_password_hashes_total",
		Help: "Bcrypt hashes computed for new passwords.",
	}, func() float64 { return float64(hasher.Computed()) })
	comparisons := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "shardinguser_password_comparisons_total",
		Help: "Passwords compared with a bcrypt hash.",
	}, func() float64 { return float64(hasher.Compared()) })

	digestKey := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shardinguser_password_digest_key",
		Help: "1 if the leader has a key for password digests, which spare bcrypt comparisons after a restart; 0 on standbys.",
	}, func() float64 {
		if digests.Active() {
			return 1
		}
		return 0
	})

	// From the start, so that a query sees the first drift as growth.
	for _, field := range []user.Field{user.FieldPasswordHash, user.FieldRoles, user.FieldActive, user.FieldRow} {
		m.drift.WithLabelValues(string(field))
	}
	for _, c := range append(ofRooms, m.drift, m.lagSeconds, hashes, comparisons, digestKey) {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register a metric: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observeLag(seconds float64) { m.lagSeconds.Observe(seconds) }
