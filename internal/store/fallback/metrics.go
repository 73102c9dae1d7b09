// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	dropped prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, s *Store) (*metrics, error) {
	active := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shardinguser_fallback_active",
		Help: "1 while the database is unavailable and logins are decided from the account cache.",
	}, func() float64 {
		if s.Active() {
			return 1
		}
		return 0
	})
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "shardinguser_audit_dropped_total",
		Help: "Login attempts during fallback that were not recorded, because the buffer was full.",
	})
	return &metrics{dropped: dropped}, errors.Join(registry.Register(active), registry.Register(dropped))
}
