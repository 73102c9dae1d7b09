// SPDX-License-Identifier: Apache-2.0

package status

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
	drift    = user.Event{Reason: v1alpha1.EventDriftCorrected, Message: "Corrected.", Warning: true}
)

func TestOneUserAtATimeAlwaysHasItsEvents(t *testing.T) {
	c, reported := newClock(), recorded{}
	e := newEvents(reported, c.now)
	for range 1000 {
		e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created, locked, unlocked})
		c.move(time.Second)
	}
	for _, reason := range []string{created.Reason, locked.Reason, unlocked.Reason} {
		if reported[reason] != 1000 {
			t.Errorf("%d of 1000 Events are %s", reported[reason], reason)
		}
	}
}

func TestEventsOfTenThousandUsersAreAFewAndTheOthersAreCounted(t *testing.T) {
	c, reported := newClock(), recorded{}
	e := newEvents(reported, c.now)
	for range 10_000 {
		e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created})
		c.move(5 * time.Millisecond)
	}
	if n := reported[created.Reason]; n < eventBurst || n > eventBurst+50*eventsPerSecond {
		t.Errorf("%d Events in 50 seconds", n)
	}
	if n := counted(t, e.dropped); int(n) != 10_000-reported[created.Reason] {
		t.Errorf("%v of 10000 counted, with %d Events", n, reported[created.Reason])
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
	c, reported := newClock(), recorded{}
	e := newEvents(reported, c.now)
	for range 10_000 {
		e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{created})
	}
	e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{locked, unlocked})
	if reported[locked.Reason] != 1 || reported[unlocked.Reason] != 1 {
		t.Errorf("reported were %v", reported)
	}
	for range 10_000 {
		e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{locked})
	}
	if n := reported[locked.Reason] + reported[unlocked.Reason]; n != warningBurst {
		t.Errorf("%d warnings at once", n)
	}
	e.Report(t.Context(), &v1alpha1.ShardingUser{}, []user.Event{drift})
	if reported[drift.Reason] != 1 {
		t.Error("locks in bulk hide that drift was corrected")
	}
}
