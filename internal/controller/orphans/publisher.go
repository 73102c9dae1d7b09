// SPDX-License-Identifier: Apache-2.0

package orphans

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

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,verbs=create
// +kubebuilder:rbac:groups="",namespace=system,resources=configmaps,resourceNames=shardinguser-database,verbs=get;patch

const (
	// reportInterval is the time between two comparisons of the report with the published one.
	reportInterval = 5 * time.Second

	// reportRetry is the time until a report that could not be written is written again.
	reportRetry = time.Minute

	// mostOrphans is how many orphans a report lists, so that it fits into a ConfigMap.
	mostOrphans = 1000
)

// publisher publishes what the leader found about the database: for kubectl shardinguser doctor, in a ConfigMap.
type publisher struct {
	client    client.Client
	live      client.Reader
	namespace string
	key       string // of the system's report in the ConfigMap; the reports of other systems have other keys
	findings  func() []store.Finding
	defaults  func() store.DefaultPasswords

	mu      sync.Mutex
	orphans []store.Orphan
	held    *store.HeldOrphans
	ready   bool // the first search for orphans is done

	// Of the goroutine that publishes alone:
	published store.Report
	failure   string // that was logged last; "" where there is none
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *publisher) NeedLeaderElection() bool { return true }

// setOrphans takes the result of a search.
func (p *publisher) setOrphans(orphans []store.Orphan, held *store.HeldOrphans) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orphans, p.held, p.ready = orphans, held, true
}

// report returns what there is to publish; false if the first search is not done.
func (p *publisher) report() (store.Report, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	report := store.Report{
		Findings: p.findings(), Orphans: p.orphans, HeldOrphans: p.held, CheckedAt: time.Now().UTC().Truncate(time.Second),
	}
	defaults := p.defaults().Clean()
	report.DefaultPasswords, report.MoreDefaultPasswords = defaults.Usernames, defaults.Count-len(defaults.Usernames)
	if more := len(report.Orphans) - mostOrphans; more > 0 {
		report.Orphans, report.MoreOrphans = report.Orphans[:mostOrphans], more
	}
	return report, p.ready
}

// Start implements manager.Runnable.
func (p *publisher) Start(ctx context.Context) error {
	for wait := time.Duration(0); backoff.Pause(ctx, wait); {
		wait = reportInterval
		report, isKnown := p.report()
		if !isKnown || (!p.published.CheckedAt.IsZero() && sameReport(report, p.published)) {
			continue
		}
		err := p.publish(ctx, report)
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			continue // the leader of another system wrote its report meanwhile
		}
		if err != nil && !isNeedless(report, err) {
			wait = reportRetry
			if text := err.Error(); text != p.failure && ctx.Err() == nil {
				p.failure = text
				logf.FromContext(ctx).Info("Cannot publish the findings about the database; they are in the log and the metrics",
					"configMap", p.namespace+"/"+store.ReportName, "error", text)
			}
			continue
		}
		p.published, p.failure = report, ""
	}
	return nil
}

// isNeedless reports whether a ConfigMap that cannot be written would be empty.
func isNeedless(report store.Report, err error) bool {
	return len(report.Findings)+len(report.Orphans)+len(report.DefaultPasswords) == 0 && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err))
}

// sameReport compares all but the time.
func sameReport(a, b store.Report) bool {
	return slices.Equal(a.Findings, b.Findings) && slices.Equal(a.Orphans, b.Orphans) && a.MoreOrphans == b.MoreOrphans &&
		token(a.HeldOrphans) == token(b.HeldOrphans) &&
		slices.Equal(a.DefaultPasswords, b.DefaultPasswords) && a.MoreDefaultPasswords == b.MoreDefaultPasswords
}

func token(held *store.HeldOrphans) store.OrphansToken {
	if held == nil {
		return ""
	}
	return held.Token
}

// publish writes the report if the published one differs.
func (p *publisher) publish(ctx context.Context, report store.Report) error {
	value, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	data := map[string]string{p.key: string(value)}
	there := &corev1.ConfigMap{}
	err = p.live.Get(ctx, client.ObjectKey{Namespace: p.namespace, Name: store.ReportName}, there)
	switch {
	case apierrors.IsNotFound(err):
		there.ObjectMeta, there.Data = metav1.ObjectMeta{Namespace: p.namespace, Name: store.ReportName}, data
		if err := p.client.Create(ctx, there); err != nil {
			return fmt.Errorf("create the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
	}
	var before store.Report
	if json.Unmarshal([]byte(there.Data[p.key]), &before) == nil && sameReport(before, report) {
		return nil
	}
	base := there.DeepCopy()
	if there.Data == nil {
		there.Data = data
	}
	there.Data[p.key] = data[p.key]
	if err := p.client.Patch(ctx, there, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write the ConfigMap: %w; apply config/rbac/role.yaml, which allows it", err)
	}
	return nil
}
