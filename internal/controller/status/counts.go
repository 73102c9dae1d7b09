// SPDX-License-Identifier: Apache-2.0

package status

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

// userCounts counts the cached users by state. It counts changes, and not all users at each scrape: a walk over 10,000 takes
// longer than all other metrics.
type userCounts struct {
	isFilled func() bool // all that the cache began with is counted

	mu     sync.Mutex
	counts byState
}

// byState is the number of users in each state.
type byState struct{ ready, notReady, locked, inactive, expired int }

// NewUserCounts returns a metric of the users in a cache, once the cache is filled.
func NewUserCounts(ctx context.Context, users cache.Cache) (prometheus.Collector, error) {
	informer, err := users.GetInformer(ctx, &v1alpha1.ShardingUser{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("find the cache of ShardingUsers: %w", err)
	}
	c := &userCounts{}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.add(o, 1) },
		UpdateFunc: c.replace,
		DeleteFunc: func(o any) { c.add(o, -1) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch the cache of ShardingUsers: %w", err)
	}
	c.isFilled = registration.HasSynced
	return c, nil
}

// add adds n to the states of a user.
func (c *userCounts) add(o any, n int) {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj // as it was counted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.add(o, n)
}

// replace counts a user's new states in place of the old ones.
func (c *userCounts) replace(before, after any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.add(before, -1)
	c.counts.add(after, 1)
}

func (c *byState) add(o any, n int) {
	u, ok := o.(*v1alpha1.ShardingUser)
	if !ok {
		return
	}
	if meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionReady) {
		c.ready += n
	} else {
		c.notReady += n
	}
	if u.Status.Locked {
		c.locked += n
	}
	if u.Spec.Active != nil && !*u.Spec.Active {
		c.inactive += n
	}
	if u.Status.Expired {
		c.expired += n
	}
}

// Describe implements prometheus.Collector.
func (c *userCounts) Describe(descs chan<- *prometheus.Desc) { descs <- usersDesc }

// Collect implements prometheus.Collector.
func (c *userCounts) Collect(out chan<- prometheus.Metric) {
	if !c.isFilled() {
		return // no value is better than 0
	}
	c.mu.Lock()
	counts := c.counts
	c.mu.Unlock()
	for state, n := range map[string]int{
		"ready": counts.ready, "notready": counts.notReady, "locked": counts.locked, "inactive": counts.inactive,
		"expired": counts.expired,
	} {
		out <- prometheus.MustNewConstMetric(usersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
