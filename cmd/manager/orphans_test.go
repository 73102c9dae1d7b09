// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestEachKindOfFindingIsCountedFromTheStart(t *testing.T) {
	t.Parallel()
	found := []store.Finding{
		{Kind: store.FindingRule, Object: `"one"`}, {Kind: store.FindingRule, Object: `"two"`}, {Kind: store.FindingForeignKey, Object: `"three"`},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(findingsMetric(func() []store.Finding { return found }))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("gathered %v, %v", families, err)
	}
	counts := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		counts[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
	}
	for _, kind := range store.FindingKinds() {
		want := map[string]float64{store.FindingRule: 2, store.FindingForeignKey: 1}[kind]
		if got, ok := counts[kind]; !ok || got != want {
			t.Errorf("%s is counted %v times (%t), want %v", kind, got, ok, want)
		}
		if kind != strings.ToLower(kind) || strings.ContainsAny(kind, " _") {
			t.Errorf("%q is no label value of lower-case words and hyphens", kind)
		}
	}
	if len(counts) != len(store.FindingKinds()) {
		t.Errorf("there are %d kinds, want %d", len(counts), len(store.FindingKinds()))
	}
}

func TestTheMetricReportsAnOpenSchema(t *testing.T) {
	t.Parallel()
	var found []store.Finding
	registry := prometheus.NewRegistry()
	registry.MustRegister(schemaOpenMetric(func() []store.Finding { return found }))
	for _, want := range []float64{0, 1} {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "shardinguser_schema_open" {
			t.Fatalf("gathered %v, %v", families, err)
		}
		if got := families[0].GetMetric()[0].GetGauge().GetValue(); got != want {
			t.Errorf("it is %v, want %v", got, want)
		}
		found = []store.Finding{{Kind: store.FindingRule}, {Kind: store.FindingOpenSchema}}
	}
}

func TestTheMetricCountsDefaultPasswords(t *testing.T) {
	t.Parallel()
	found := (accounts{}).defaultPasswords() // a store in memory has none
	registry := prometheus.NewRegistry()
	registry.MustRegister(defaultPasswordsMetric(func() store.DefaultPasswords { return found }))
	for _, want := range []float64{0, 250} {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "shardinguser_well_known_passwords" {
			t.Fatalf("gathered %v, %v", families, err)
		}
		if got := families[0].GetMetric()[0].GetGauge().GetValue(); got != want {
			t.Errorf("it is %v, want %v", got, want)
		}
		found = store.DefaultPasswords{Count: 250, Usernames: []string{"admin"}}
	}
}
