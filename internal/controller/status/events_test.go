// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// recorded is a recorder of Events that counts them by reason.
type recorded map[string]int

// Eventf implements recorder.EventRecorder.
func (r recorded) Eventf(_, _ runtime.Object, _, reason, _, _ string, _ ...any) { r[reason]++ }

// AnnotatedEventf implements recorder.EventRecorder.
func (r recorded) AnnotatedEventf(_, _ runtime.Object, _ map[string]string, _, reason, _, _ string, _ ...any) {
	r[reason]++
}

var (
	created  = user.Event{Reason: v1alpha1.EventCreated, Message: "Created."}
	locked   = user.Event{Reason: v1alpha1.EventLocked, Message: "Locked.", Warning: true}
	unlocked = user.Event{Reason: v1alpha1.EventUnlocked, Message: "Unlocked."}
	drift    = user.Event{Reason: v1alpha1.EventDriftCorrected, Message: "Put back.", Warning: true}
)

func TestOneUserAtATimeAlwaysHasItsEvents(t *testing.T) {
	c, told := newClock(), recorded{}
	e := newEvents(told, c.now)
	for range 1000 {
		e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created, locked, unlocked})
		c.move(time.Second)
	}
	for _, reason := range []string{created.Reason, locked.Reason, unlocked.Reason} {
		if told[reason] != 1000 {
			t.Errorf("%d of 1000 were told %s", told[reason], reason)
		}
	}
}

func TestEventsOfTenThousandUsersAreAFewAndTheOthersAreCounted(t *testing.T) {
	c, told := newClock(), recorded{}
	e := newEvents(told, c.now)
	for range 10_000 {
		e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created})
		c.move(5 * time.Millisecond)
	}
	if n := told[created.Reason]; n < eventBurst || n > eventBurst+50*eventsPerSecond {
		t.Errorf("%d Events in 50 seconds", n)
	}
	if n := counted(t, e.dropped); int(n) != 10_000-told[created.Reason] {
		t.Errorf("%v of 10000 counted, with %d Events", n, told[created.Reason])
	}
}

// counted is the sum over a counter's labels.
func counted(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func TestWhatComesInBulkLeavesOtherEventsAlone(t *testing.T) {
	c, told := newClock(), recorded{}
	e := newEvents(told, c.now)
	for range 10_000 {
		e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created})
	}
	e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{locked, unlocked})
	if told[locked.Reason] != 1 || told[unlocked.Reason] != 1 {
		t.Errorf("told were %v", told)
	}
	for range 10_000 {
		e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{locked})
	}
	if n := told[locked.Reason] + told[unlocked.Reason]; n != alarmBurst {
		t.Errorf("%d warnings at once", n)
	}
	e.tell(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{drift})
	if told[drift.Reason] != 1 {
		t.Error("locks in bulk hide that a row was put back")
	}
}
