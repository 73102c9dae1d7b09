// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// errUnreadableReport is about a ConfigMap that something else wrote.
var errUnreadableReport = errors.New("it contains no report that this version of the plugin can read")

// databaseReport is what the operator published about the database.
func databaseReport(ctx context.Context, kube client.Client, namespace, system string) seen[store.Report] {
	var published corev1.ConfigMap
	there := look(&published, kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: store.ReportName}, &published))
	if there.it == nil {
		return seen[store.Report]{err: there.err}
	}
	var report store.Report
	content, isPublished := published.Data[store.ReportKeyOf(system)]
	if !isPublished && len(published.Data) > 0 {
		return seen[store.Report]{} // another system's operator published its own
	}
	if err := json.Unmarshal([]byte(content), &report); err != nil {
		return seen[store.Report]{err: errUnreadableReport}
	}
	return seen[store.Report]{it: &report}
}

// noStatement are the kinds of findings with which hardly any statement works.
var noStatement = map[string]bool{
	store.FindingMissingTable: true, store.FindingMissingColumn: true, store.FindingMissingRight: true,
	store.FindingMissingUniqueKey: true, store.FindingColumnType: true, store.FindingGeneratedColumn: true,
	store.FindingNotNullColumn: true, store.FindingReplicaIdentity: true, store.FindingRowLevelSecurity: true,
	store.FindingUnloggedTable: true,
}

// unsafe are the kinds of findings by which others may get the operator's rights, or by which locks do not hold.
var unsafe = map[string]bool{store.FindingOpenSchema: true, store.FindingForeignOwner: true, store.FindingLockZone: true}

// checkDatabase lists what the operator found at the table users, the default passwords, and the orphaned accounts.
func checkDatabase(report seen[store.Report], namespace, system string) (results []result) {
	const table, orphans = "Table", "Orphans"
	name := namespace + "/" + store.ReportName
	switch {
	case report.err != nil:
		return one(table, unknown, "Request the right to read it, or read the operator's log.",
			"Cannot read the ConfigMap %s, where the operator publishes its findings about the database: %v.", name, report.err)
	case report.it == nil:
		return one(table, unknown, "Check --operator-namespace, and that the operator is running.",
			"The ConfigMap %s, where the operator publishes its findings about the database, does not exist.", name)
	}
	since := report.it.CheckedAt.UTC().Format(time.RFC3339)
	if len(report.it.Findings) == 0 {
		results = one(table, fine, "", "The operator found no problem with the table users (since %s).", since)
	}
	for _, f := range report.it.Findings {
		f, l := f.Clean(), note
		if noStatement[f.Kind] || unsafe[f.Kind] {
			l = wrong
		}
		results = append(results, one(table, l, "", "%s %s: %s", f.Kind, f.Object, f.Consequence)...)
	}
	results = append(results, checkDefaults(*report.it)...)
	if len(report.it.Orphans) == 0 {
		return append(results, one(orphans, fine, "", "Each account has a ShardingUser (since %s).", since)...)
	}
	for _, orphan := range report.it.Orphans {
		orphan = orphan.Clean()
		state, l := "is inactive", note
		if orphan.Active {
			state, l = "can log in", wrong
		}
		results = append(results, one(orphans, l, fmt.Sprintf("Create the ShardingUser %s in the namespace %s again, or delete the row.", orphan.Name, orphan.Namespace),
			"The ShardingUser %s/%s does not exist, and its account %q %s.", orphan.Namespace, orphan.Name, orphan.Username, state)...)
	}
	if more := report.it.MoreOrphans; more > 0 {
		results = append(results, one(orphans, note, "", "There are %d more.", more)...)
	}
	if report.it.HeldOrphans != nil {
		results = append(results, one(orphans, wrong, adviceOnHeld(system), "%s", held(*report.it.HeldOrphans))...)
	}
	return results
}

// checkDefaults lists the accounts with a default password of the sharding manager. An older operator's report has none.
func checkDefaults(report store.Report) (results []result) {
	const defaults = "Defaults"
	found := store.DefaultPasswords{Usernames: report.DefaultPasswords}.Clean()
	for _, username := range found.Usernames {
		results = append(results, one(defaults, wrong,
			"Change the password in the Secret of its ShardingUser. Without a Secret, change it in the sharding manager, or delete the row.",
			"The account %q has a well-known default password of the sharding manager, and can log in.", username)...)
	}
	if more := report.MoreDefaultPasswords; more > 0 {
		results = append(results, one(defaults, wrong, "", "There are %d more.", more)...)
	}
	return results
}
