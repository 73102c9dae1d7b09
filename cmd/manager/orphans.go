// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// findings returns the findings of all roles about the table, without duplicates. A store in memory has no table.
func (a accounts) findings() []store.Finding {
	var found []store.Finding
	for _, s := range a.databases() {
		found = append(found, s.Health().Findings...)
	}
	return store.SortFindings(found)
}

// defaultPasswords returns the accounts with a default password of the sharding manager. No other program writes a store in
// memory, and its users have the condition WeakPassword.
func (a accounts) defaultPasswords() store.DefaultPasswords {
	return a.Health().DefaultPasswords
}

// addOrphans adds the search for orphaned accounts, and the reports of these and of the findings.
func addOrphans(mgr ctrl.Manager, accounts accounts, reconciled reconciled, settings config.Settings, options controller.Options) error {
	return orphans.Add(mgr, orphans.Options{
		Records:          accounts,
		Accounts:         reconciled,
		Rows:             reconciled,
		Cluster:          options.Cluster,
		System:           options.System,
		Findings:         accounts.findings,
		DefaultPasswords: accounts.defaultPasswords,
		Namespace:        settings.Namespace,
		Replica:          replica(settings),
		WatchNamespaces:  settings.WatchNamespaces,
		Deactivate:       settings.Orphans == config.OrphansDeactivate,
		ProtectedRoles:   settings.ProtectedRoles,
		Policies:         options.Policies,
		Restored:         options.Restored,
		Registry:         options.Registry,
	})
}

// findingsMetric returns a collector that counts findings by kind, and starts with all kinds at zero.
func findingsMetric(findings func() []store.Finding) prometheus.Collector {
	return findingsCollector{findings: findings, description: prometheus.NewDesc("shardinguser_table_findings",
		"Properties of the table users that make statements fail, at this replica's last check.", []string{"kind"}, nil)}
}

// registerFindings registers the metrics of the findings.
func registerFindings(registry prometheus.Registerer, a accounts) error {
	return errors.Join(registry.Register(findingsMetric(a.findings)), registry.Register(schemaOpenMetric(a.findings)),
		registry.Register(defaultPasswordsMetric(a.defaultPasswords)))
}

// defaultPasswordsMetric returns a collector that counts the accounts with a default password of the sharding manager.
func defaultPasswordsMetric(found func() store.DefaultPasswords) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shardinguser_well_known_passwords",
		Help: "Active accounts with a default password of the sharding manager, at this replica's last check.",
	}, func() float64 { return float64(found().Count) })
}

// schemaOpenMetric returns a collector that reports whether other roles may create objects in a schema of the search path.
func schemaOpenMetric(findings func() []store.Finding) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "shardinguser_schema_open",
		Help: "1 if a role without rights on the operator's tables may create objects in a schema of the search path, at this replica's " +
			"last check.",
	}, func() float64 {
		if slices.ContainsFunc(findings(), func(f store.Finding) bool { return f.Kind == store.FindingOpenSchema }) {
			return 1
		}
		return 0
	})
}

type findingsCollector struct {
	findings    func() []store.Finding
	description *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c findingsCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.description
}

// Collect implements prometheus.Collector.
func (c findingsCollector) Collect(metrics chan<- prometheus.Metric) {
	counts := map[string]int{}
	for _, kind := range store.FindingKinds() {
		counts[kind] = 0
	}
	for _, f := range c.findings() {
		counts[f.Kind]++
	}
	for kind, count := range counts {
		metrics <- prometheus.MustNewConstMetric(c.description, prometheus.GaugeValue, float64(count), kind)
	}
}
