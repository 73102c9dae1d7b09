// SPDX-License-Identifier: Apache-2.0

// Package systems finds the sharding systems that have ShardingUsers, its own and others. A manager knows nothing else of another
// system: an alert compares the systems that are found with those that report themselves.
package systems

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

const (
	// usualInterval is the time between two searches.
	usualInterval = 5 * time.Minute

	// most is how many systems are found. A tenant may name any system, and each is a request and a time series.
	most = 20

	// timeout limits one search.
	timeout = time.Minute
)

// Options are the settings of a search.
type Options struct {
	System          string   // the manager's own
	WatchNamespaces []string // none means all
	Interval        time.Duration
	Registry        prometheus.Registerer
}

// search looks for systems on the leader. Each system costs one request for one ShardingUser.
type search struct {
	own        string
	live       client.Reader
	namespaces []string
	interval   time.Duration

	mu    sync.Mutex
	found map[string]float64 // by the last search: 1 for each system with users, and 0 for the own one without; nil before
}

// Add adds the search and its metric to the manager.
func Add(mgr ctrl.Manager, options Options) error {
	s := &search{own: options.System, live: mgr.GetAPIReader(), namespaces: options.WatchNamespaces, interval: options.Interval}
	if len(s.namespaces) == 0 {
		s.namespaces = []string{metav1.NamespaceAll}
	}
	if s.interval == 0 {
		s.interval = usualInterval
	}
	if err := options.Registry.Register(s); err != nil {
		return fmt.Errorf("register the metric of systems: %w", err)
	}
	if err := mgr.Add(s); err != nil {
		return fmt.Errorf("add the search for systems: %w", err)
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (s *search) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable. A search that fails leaves what was found before.
func (s *search) Start(ctx context.Context) error {
	for wait := time.Duration(0); backoff.Pause(ctx, wait); wait = s.interval {
		found, err := s.search(ctx)
		if err != nil {
			if ctx.Err() == nil {
				logf.FromContext(ctx).Info("Cannot list the sharding systems that have ShardingUsers", "error", err.Error())
			}
			continue
		}
		s.mu.Lock()
		s.found = map[string]float64{s.own: 0}
		for _, system := range found {
			s.found[system] = 1
		}
		s.mu.Unlock()
	}
	return nil
}

// search returns the systems that have users, at most most of them.
func (s *search) search(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var found []string
	var others []fields.Selector // users of systems that were not found yet
	for _, namespace := range s.namespaces {
		for len(found) < most {
			list := &v1alpha1.ShardingUserList{}
			err := s.live.List(ctx, list, client.InNamespace(namespace), client.Limit(1),
				client.MatchingFieldsSelector{Selector: fields.AndSelectors(others...)})
			if err != nil {
				return nil, fmt.Errorf("list ShardingUsers: %w", err)
			}
			if len(list.Items) == 0 {
				break
			}
			system := list.Items[0].Spec.System
			found = append(found, system)
			others = append(others, fields.OneTermNotEqualSelector("spec.system", system))
		}
	}
	return found, nil
}

// The label is not called system: that is the system of the manager that looked.
var description = prometheus.NewDesc("shardinguser_system_in_use",
	"1 for each sharding system that has ShardingUsers, at the leader's last check. An empty name is the default system.", []string{"name"}, nil)

// Describe implements prometheus.Collector.
func (s *search) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- description }

// Collect implements prometheus.Collector.
func (s *search) Collect(metrics chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, inUse := range s.found {
		metrics <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, inUse, name)
	}
}
