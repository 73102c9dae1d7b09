// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,verbs=create
// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,resourceNames=shardinguser-database,verbs=get;patch

const (
	// reportInterval is the time between two looks whether the report differs from the published one.
	reportInterval = 5 * time.Second

	// reportRetry is the time until a report that could not be written is written again.
	reportRetry = time.Minute

	// mostOrphans is how many orphans a report lists, so that it fits into a ConfigMap.
	mostOrphans = 1000
)

// databaseReports publishes on the leader what is found about the database.
type databaseReports struct {
	client    client.Client
	live      client.Reader
	namespace string
	findings  func() []store.Finding
	defaults  func() store.DefaultPasswords

	mu      sync.Mutex
	orphans []store.Orphan
	ready   bool // the first search for orphans is done

	// Of the goroutine that publishes alone:
	published store.Report
	failure   string // that was logged last; "" where there is none
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (r *databaseReports) NeedLeaderElection() bool { return true }

// setOrphans takes the result of a search.
func (r *databaseReports) setOrphans(orphans []store.Orphan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphans, r.ready = orphans, true
}

// report is what there is to publish now; false where that is not known yet.
func (r *databaseReports) report() (store.Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := store.Report{Findings: r.findings(), Orphans: r.orphans, CheckedAt: time.Now().UTC().Truncate(time.Second)}
	defaults := r.defaults().Clean()
	report.DefaultPasswords, report.MoreDefaultPasswords = defaults.Usernames, defaults.Count-len(defaults.Usernames)
	if more := len(report.Orphans) - mostOrphans; more > 0 {
		report.Orphans, report.MoreOrphans = report.Orphans[:mostOrphans], more
	}
	return report, r.ready
}

// Start implements manager.Runnable.
func (r *databaseReports) Start(ctx context.Context) error {
	for wait := time.Duration(0); sleep(ctx, wait); {
		wait = reportInterval
		report, isKnown := r.report()
		if !isKnown || (!r.published.CheckedAt.IsZero() && sameReport(report, r.published)) {
			continue
		}
		if err := r.publish(ctx, report); err != nil && !isNeedless(report, err) {
			wait = reportRetry
			if text := err.Error(); text != r.failure && ctx.Err() == nil {
				r.failure = text
				logf.FromContext(ctx).Info("Cannot publish the findings about the database; they are in the log and the metrics",
					"configMap", r.namespace+"/"+store.ReportName, "error", text)
			}
			continue
		}
		r.published, r.failure = report, ""
	}
	return nil
}

// isNeedless tells whether a ConfigMap that may not be written, or has no namespace, would hold nothing to read.
func isNeedless(report store.Report, err error) bool {
	return len(report.Findings)+len(report.Orphans)+len(report.DefaultPasswords) == 0 && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err))
}

// sameReport compares all but the time.
func sameReport(a, b store.Report) bool {
	return slices.Equal(a.Findings, b.Findings) && slices.Equal(a.Orphans, b.Orphans) && a.MoreOrphans == b.MoreOrphans &&
		slices.Equal(a.DefaultPasswords, b.DefaultPasswords) && a.MoreDefaultPasswords == b.MoreDefaultPasswords
}

// publish writes the report where the published one differs.
func (r *databaseReports) publish(ctx context.Context, report store.Report) error {
	value, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	data := map[string]string{store.ReportKey: string(value)}
	there := &corev1.ConfigMap{}
	err = r.live.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: store.ReportName}, there)
	switch {
	case apierrors.IsNotFound(err):
		there.ObjectMeta, there.Data = metav1.ObjectMeta{Namespace: r.namespace, Name: store.ReportName}, data
		if err := r.client.Create(ctx, there); err != nil {
			return fmt.Errorf("create the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
	}
	var before store.Report
	if json.Unmarshal([]byte(there.Data[store.ReportKey]), &before) == nil && sameReport(before, report) {
		return nil
	}
	base := there.DeepCopy()
	there.Data = data
	if err := r.client.Patch(ctx, there, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
	}
	return nil
}
