// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// metrics is what the reconciler counts. No username is ever a label.
type metrics struct {
	drift      *prometheus.CounterVec
	lagSeconds prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer, users client.Reader, hasher *password.Hasher) (*metrics, error) {
	m := &metrics{
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shardinguser_drift_corrections_total",
			Help: "Columns of owned rows that another program had changed and that were put back.",
		}, []string{"field"}),
		lagSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "shardinguser_observe_lag_seconds",
			Help:    "Time from the notice of a changed row to the status that tells of it.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	hashes := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "shardinguser_password_hashes_total",
		Help: "Bcrypt hashes that were computed of new passwords.",
	}, func() float64 { return float64(hasher.Computed()) })
	comparisons := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "shardinguser_password_comparisons_total",
		Help: "Passwords that were compared with a bcrypt hash.",
	}, func() float64 { return float64(hasher.Compared()) })

	// From the start, so that the first drift is a growth that a query can see.
	for _, field := range []user.Field{user.FieldPasswordHash, user.FieldRoles, user.FieldActive, user.FieldRow} {
		m.drift.WithLabelValues(string(field))
	}

	return m, register(registry, m.drift, m.lagSeconds, hashes, comparisons, &userCollector{users: users})
}

func register(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register a metric: %w", err)
		}
	}
	return nil
}

func (m *metrics) observeLag(seconds float64) { m.lagSeconds.Observe(seconds) }

var usersDesc = prometheus.NewDesc("shardinguser_users",
	"ShardingUsers by state; one user can be in several.", []string{"state"}, nil)

// scrapeTimeout bounds the wait for a cache that has not been filled yet.
const scrapeTimeout = 5 * time.Second

// userCollector counts the users in the cache at each scrape.
type userCollector struct {
	users client.Reader
}

// Describe implements prometheus.Collector.
func (c *userCollector) Describe(descs chan<- *prometheus.Desc) { descs <- usersDesc }

// Collect implements prometheus.Collector.
func (c *userCollector) Collect(out chan<- prometheus.Metric) {
	states := map[string]int{"ready": 0, "notready": 0, "locked": 0, "inactive": 0}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	users, err := cachedUsers(ctx, c.users)
	if err != nil {
		return // no figures are better than zeros
	}
	for _, u := range users {
		if meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionReady) {
			states["ready"]++
		} else {
			states["notready"]++
		}
		if u.Status.Locked {
			states["locked"]++
		}
		if u.Spec.Active != nil && !*u.Spec.Active {
			states["inactive"]++
		}
	}
	for state, n := range states {
		out <- prometheus.MustNewConstMetric(usersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
