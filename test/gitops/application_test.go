// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync"
	syncing "github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/argoproj/gitops-engine/pkg/sync/syncwaves"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An application is synced, compared and deleted by the same libraries and in the same steps as an Application of Argo CD.
type application struct {
	name, namespace string
	repository      repository
	revision, path  string // in the repository
	serverSide      bool   // the sync option ServerSideApply=true
	serverSideDiff  bool   // the compare option ServerSideDiff=true

	skipped func(*unstructured.Unstructured) bool // of kinds without a CRD
	built   []*unstructured.Unstructured          // the manifests of a revision, cached as by repo-server
	of      string                                // that revision
}

var (
	engine   = &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	tracking = argo.NewResourceTracking()
)

// only are the kinds that Argo CD watches in these tests.
type only []string

func (o only) IsExcludedResource(group, kind, _ string) bool {
	return group == "events.k8s.io" || !slices.Contains(o, kind)
}

// watched is Argo CD's cache of the cluster, which all applications share.
var watched struct {
	once    gosync.Once
	cluster cache.ClusterCache
}

func cluster(t *testing.T) cache.ClusterCache {
	t.Helper()
	settings := cache.Settings{
		ResourceHealthOverride: lua.ResourceHealthOverrides(overrides(t)),
		ResourcesFilter:        only{"Namespace", "Secret", "ShardingUser", "ShardingUserPolicy", "CustomResourceDefinition"},
	}
	watched.once.Do(func() {
		watched.cluster = cache.NewClusterCache(config, cache.SetLogr(logr.Discard()), cache.SetKubectl(engine), cache.SetSettings(settings),
			cache.SetPopulateResourceInfoHandler(func(u *unstructured.Unstructured, _ bool) (any, bool) {
				return tracking.GetAppName(u, common.LabelKeyAppInstance, v1alpha1.TrackingMethodAnnotation, ""), true
			}))
	})
	if err := watched.cluster.EnsureSynced(); err != nil {
		t.Fatal(err)
	}
	return watched.cluster
}

// newApplication returns an application with a new repository, in a new namespace of the same name.
func newApplication(t *testing.T) *application {
	t.Helper()
	namespace := newNamespace(t)
	return &application{name: namespace, namespace: namespace, repository: newRepository(t)}
}

// commit replaces the content of the repository.
func (a *application) commit(t *testing.T, files map[string]string) {
	t.Helper()
	a.revision = a.repository.commit(t, files)
}

// reconcile pairs the objects in Git with the live ones.
func (a *application) reconcile(t *testing.T) sync.ReconciliationResult {
	t.Helper()
	if a.of != a.revision {
		a.built, a.of = a.repository.manifests(t, a.revision, a.path), a.revision
	}
	var targets []*unstructured.Unstructured
	for _, u := range a.built {
		u = u.DeepCopy()
		if a.skipped != nil && a.skipped(u) {
			continue
		}
		if namespaced, err := cluster(t).IsNamespaced(u.GroupVersionKind().GroupKind()); err != nil {
			t.Fatal(err)
		} else if namespaced && u.GetNamespace() == "" {
			u.SetNamespace(a.namespace)
		}
		if err := tracking.SetAppInstance(u, common.LabelKeyAppInstance, a.name, a.namespace, v1alpha1.TrackingMethodAnnotation, ""); err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u)
	}
	live, err := cluster(t).GetManagedLiveObjs(targets, func(r *cache.Resource) bool { return r.Info == a.name })
	if err != nil {
		t.Fatal(err)
	}
	return sync.Reconcile(targets, live, a.namespace, cluster(t))
}

// compare returns Argo CD's comparison.
func (a *application) compare(t *testing.T, r sync.ReconciliationResult) *diff.DiffResultList {
	t.Helper()
	builder := argodiff.NewDiffConfigBuilder().
		WithDiffSettings(nil, overrides(t), false, normalizers.IgnoreNormalizerOpts{JQExecutionTimeout: patience}).
		WithTracking(common.LabelKeyAppInstance, string(v1alpha1.TrackingMethodAnnotation)).
		WithNoCache().WithLogger(logr.Discard()).
		WithGVKParser(cluster(t).GetGVKParser()).WithManager(common.ArgoCDSSAManager).
		WithStructuredMergeDiff(a.serverSide)
	if a.serverSideDiff {
		applier, cleanup, err := kube.ManageServerSideDiffDryRuns(config, cluster(t).GetOpenAPISchema(), engine.Tracer, engine.Log, engine.OnKubectlRun)
		if err != nil {
			t.Fatal(err)
		}
		defer cleanup()
		builder.WithServerSideDiff(true).WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier))
	}
	settings, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	list, err := argodiff.StateDiffs(r.Live, r.Target, settings)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// outOfSync returns the differences from Git, one a line; "" if the application is Synced.
func (a *application) outOfSync(t *testing.T) string {
	t.Helper()
	r := a.reconcile(t)
	var lines []string
	for i, result := range a.compare(t, r).Diffs {
		switch target, live := r.Target[i], r.Live[i]; {
		case target == nil:
			lines = append(lines, named(live)+" is to be pruned")
		case live == nil:
			lines = append(lines, named(target)+" is missing")
		case result.Modified:
			var is, wouldBe map[string]any
			if err := errors.Join(json.Unmarshal(result.NormalizedLive, &is), json.Unmarshal(result.PredictedLive, &wouldBe)); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%s is out of sync (-live +by Git):\n%s", named(live), cmp.Diff(is, wouldBe)))
		}
	}
	return strings.Join(lines, "\n")
}

func named(u *unstructured.Unstructured) string { return u.GetKind() + "/" + u.GetName() }

// health returns the health of the objects in Git that have one, by kind and name.
func (a *application) health(t *testing.T) map[string]health.HealthStatus {
	t.Helper()
	r := a.reconcile(t)
	all := map[string]health.HealthStatus{}
	for i, target := range r.Target {
		switch live := r.Live[i]; {
		case live == nil:
			all[named(target)] = health.HealthStatus{Status: health.HealthStatusMissing}
		case healthOf(t, live) != (health.HealthStatus{}):
			all[named(live)] = healthOf(t, live)
		}
	}
	return all
}

// becomes waits for these health codes, by kind and name.
func (a *application) becomes(t *testing.T, want map[string]healthCode) {
	t.Helper()
	eventually(t, func() string {
		got := a.health(t)
		codes := map[string]healthCode{}
		for name, status := range got {
			codes[name] = status.Status
		}
		if maps.Equal(codes, want) {
			return ""
		}
		return fmt.Sprintf("the health is %v, want %v", got, want)
	})
}

// syncedAnd waits for these health codes, and until everything is in sync.
func (a *application) syncedAnd(t *testing.T, want map[string]healthCode) {
	t.Helper()
	a.becomes(t, want)
	eventually(t, func() string { return a.outOfSync(t) })
}

// An operation is a sync, which may take several steps.
type operation struct {
	phase   syncing.OperationPhase
	message string
	results []syncing.ResourceSyncResult
	started metav1.Time
}

func begin() *operation {
	return &operation{phase: syncing.OperationRunning, started: metav1.NewTime(time.Now())}
}

// step continues the operation until it has to wait for live objects.
func (a *application) step(t *testing.T, o *operation) {
	t.Helper()
	r := a.reconcile(t)
	steps, cleanup, err := sync.NewSyncContext(a.revision, r, config, config, engine, a.namespace, cluster(t).GetOpenAPISchema(),
		sync.WithLogr(logr.Discard()),
		sync.WithHealthOverride(lua.ResourceHealthOverrides(overrides(t))),
		sync.WithOperationSettings(false, true, false, false), // prune
		sync.WithInitialState(o.phase, o.message, o.results, o.started),
		sync.WithManifestValidation(true),
		sync.WithServerSideApply(a.serverSide),
		sync.WithServerSideApplyManager(common.ArgoCDSSAManager),
		sync.WithResourceModificationChecker(false, a.compare(t, r)),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	steps.Sync()
	o.phase, o.message, o.results = steps.GetState()
}

// sync syncs the application, and returns when the sync has succeeded.
func (a *application) sync(t *testing.T) {
	t.Helper()
	if o := a.finish(t, begin()); o.phase != syncing.OperationSucceeded {
		t.Fatalf("the sync ended as %s: %s: %+v", o.phase, o.message, o.results)
	}
}

// finish continues the operation until it ends.
func (a *application) finish(t *testing.T, o *operation) *operation {
	t.Helper()
	eventually(t, func() string {
		if a.step(t, o); o.phase.Completed() {
			return ""
		}
		return fmt.Sprintf("the sync is still %s: %s", o.phase, o.message)
	})
	return o
}

// delete deletes the application as Argo CD's finalizer does: the last wave first, in the foreground, and the next wave when
// that is deleted. It returns when everything is deleted.
func (a *application) delete(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		left := a.deleteWave(t)
		if left == "" {
			return ""
		}
		return "the deletion of the application still waits for " + left
	})
}

// deleteWave continues the deletion until it has to wait, and returns the remaining objects.
func (a *application) deleteWave(t *testing.T) (left string) {
	t.Helper()
	live, err := cluster(t).GetManagedLiveObjs(nil, func(r *cache.Resource) bool { return r.Info == a.name })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	pending, wave := false, 0
	for _, u := range live {
		if len(names) == 0 || syncwaves.Wave(u) > wave {
			wave = syncwaves.Wave(u)
		}
		names = append(names, named(u))
		pending = pending || u.GetDeletionTimestamp() != nil
	}
	for _, u := range live {
		if pending || syncwaves.Wave(u) != wave {
			continue
		}
		foreground := metav1.DeletePropagationForeground
		err := engine.DeleteResource(t.Context(), config, u.GroupVersionKind(), u.GetName(), u.GetNamespace(),
			metav1.DeleteOptions{PropagationPolicy: &foreground})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

type healthCode = health.HealthStatusCode

const suspended = health.HealthStatusSuspended

// healthy returns the health codes of users that are all Healthy.
func healthy(names ...string) map[string]healthCode {
	all := map[string]healthCode{}
	for _, name := range names {
		all[string(users)+"/"+name] = health.HealthStatusHealthy
	}
	return all
}
