// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// ending is a user that ends after this time.
func ending(uid types.UID, in time.Duration) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{}
	u.UID, u.Spec.ValidUntil = uid, &metav1.Time{Time: time.Now().Add(in)}
	u.Status.Expired = in < 0
	return u
}

// gauges returns the values of a collector's metrics, by name and label.
func gauges(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	return values
}

func TestUsersThatEndAreCounted(t *testing.T) {
	c := &userCounts{isFilled: func() bool { return true }, ends: map[types.UID]time.Time{}}
	expect := func(what string, expiring, expired float64) {
		t.Helper()
		if got := gauges(t, c); got["shardinguser_users_expiring"] != expiring || got["shardinguser_users expired"] != expired {
			t.Errorf("%s: the metrics are %v", what, got)
		}
	}
	first, later, ended := ending("1", time.Hour), ending("2", 8*24*time.Hour), ending("3", -time.Hour)
	for _, u := range []*v1alpha1.ShardingUser{first, later, ended} {
		c.add(u, 1)
	}
	expect("one comes within a week, and one has ended", 1, 1)
	moved := ending("2", 6*24*time.Hour)
	c.replace(later, moved)
	expect("another one is nearer now", 2, 1)
	again := ending("4", time.Hour) // a missed deletion is reported as an update
	c.replace(first, again)
	expect("a resource was created again", 2, 1)
	c.add(toolscache.DeletedFinalStateUnknown{Obj: again}, -1)
	c.replace(moved, &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{UID: "2"}})
	c.add(ended, -1)
	expect("none ends", 0, 0)
}
