// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// soon is how far ahead an end is that shardinguser_users_expiring counts.
const soon = 7 * 24 * time.Hour

var expiringDesc = prometheus.NewDesc("shardinguser_users_expiring",
	"ShardingUsers whose spec.validUntil comes within a week.", nil, nil)

var usersDesc = prometheus.NewDesc("shardinguser_users",
	"ShardingUsers by state. One user can have several states.", []string{"state"}, nil)

// userCounts counts the cached users by state. It counts changes, and not all users at each scrape: a walk over 10,000 takes
// longer than all other metrics.
type userCounts struct {
	isFilled func() bool // all that the cache began with is counted

	mu     sync.Mutex
	counts byState
	ends   map[types.UID]time.Time // of the users that have an end
}

// byState is the number of users in each state.
type byState struct{ ready, notReady, locked, inactive, expired int }

// NewUserCounts returns a metric of the users in a cache, once the cache is filled.
func NewUserCounts(ctx context.Context, users cache.Cache) (prometheus.Collector, error) {
	informer, err := users.GetInformer(ctx, &v1alpha1.ShardingUser{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("find the cache of ShardingUsers: %w", err)
	}
	c := &userCounts{ends: map[types.UID]time.Time{}}
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
	c.noteEnd(o, n > 0)
}

// noteEnd keeps the end of a user, or drops it. It is called with the lock held.
func (c *userCounts) noteEnd(o any, exists bool) {
	u, ok := o.(*v1alpha1.ShardingUser)
	switch {
	case !ok:
	case exists && u.Spec.ValidUntil != nil:
		c.ends[u.UID] = u.Spec.ValidUntil.Time
	default:
		delete(c.ends, u.UID)
	}
}

// expiring counts the users whose end comes soon. It is called with the lock held.
func (c *userCounts) expiring(now time.Time) (count int) {
	for _, end := range c.ends {
		if end.After(now) && !end.After(now.Add(soon)) {
			count++
		}
	}
	return count
}

// replace counts a user's new states in place of the old ones.
func (c *userCounts) replace(before, after any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.add(before, -1)
	c.counts.add(after, 1)
	c.noteEnd(before, false) // may be another resource of the same name
	c.noteEnd(after, true)
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
func (c *userCounts) Describe(descs chan<- *prometheus.Desc) {
	descs <- usersDesc
	descs <- expiringDesc
}

// Collect implements prometheus.Collector.
func (c *userCounts) Collect(out chan<- prometheus.Metric) {
	if !c.isFilled() {
		return // no value is better than 0
	}
	c.mu.Lock()
	counts, expiring := c.counts, c.expiring(time.Now())
	c.mu.Unlock()
	out <- prometheus.MustNewConstMetric(expiringDesc, prometheus.GaugeValue, float64(expiring))
	for state, n := range map[string]int{
		"ready": counts.ready, "notready": counts.notReady, "locked": counts.locked, "inactive": counts.inactive,
		"expired": counts.expired,
	} {
		out <- prometheus.MustNewConstMetric(usersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
