// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

var usersDesc = prometheus.NewDesc("shardinguser_users",
	"ShardingUsers by state. One user can have several states.", []string{"state"}, nil)

// tally counts the users in the cache by state. It counts what changes and not, at each scrape, all of them: to walk
// over 10,000 takes longer than all else that is scraped.
type tally struct {
	isFilled func() bool // all that the cache began with is counted

	mu     sync.Mutex
	counts tallied
}

// tallied is how many users are in which state.
type tallied struct{ ready, notReady, locked, inactive int }

// newTally counts the users of a cache, from the moment at which that is filled.
func newTally(ctx context.Context, users cache.Cache) (*tally, error) {
	informer, err := users.GetInformer(ctx, &v1alpha1.ShardingUser{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("find the cache of ShardingUsers: %w", err)
	}
	t := &tally{}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { t.count(o, 1) },
		UpdateFunc: t.replace,
		DeleteFunc: func(o any) { t.count(o, -1) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch the cache of ShardingUsers: %w", err)
	}
	t.isFilled = registration.HasSynced
	return t, nil
}

// count adds a user so many times.
func (t *tally) count(o any, times int) {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj // as it was counted
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.add(o, times)
}

// replace counts a user's new state in place of the old one.
func (t *tally) replace(before, after any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.add(before, -1)
	t.counts.add(after, 1)
}

func (c *tallied) add(o any, times int) {
	u, ok := o.(*v1alpha1.ShardingUser)
	if !ok {
		return
	}
	if meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionReady) {
		c.ready += times
	} else {
		c.notReady += times
	}
	if u.Status.Locked {
		c.locked += times
	}
	if u.Spec.Active != nil && !*u.Spec.Active {
		c.inactive += times
	}
}

// Describe implements prometheus.Collector.
func (t *tally) Describe(descs chan<- *prometheus.Desc) { descs <- usersDesc }

// Collect implements prometheus.Collector.
func (t *tally) Collect(out chan<- prometheus.Metric) {
	if !t.isFilled() {
		return // no figures are better than zeros
	}
	t.mu.Lock()
	counts := t.counts
	t.mu.Unlock()
	for state, n := range map[string]int{
		"ready": counts.ready, "notready": counts.notReady, "locked": counts.locked, "inactive": counts.inactive,
	} {
		out <- prometheus.MustNewConstMetric(usersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
