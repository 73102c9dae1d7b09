// SPDX-License-Identifier: Apache-2.0

// Package controller reconciles ShardingUsers into rows of the table users. Each reconcile observes, decides, applies and
// reports:
//
//	Reconcile ──▶ attempt   observe   the resource, package policies, package secrets (Peek), package rows (Observe)
//	                        decide    user.Plan, a pure function; only a new password is read from its Secret
//	                        apply     one statement, package rows (Apply), and what was read back
//	          ──▶ report    one status patch, package status; requeue when a lock expires
//
// The folders below are its rooms: queue decides who goes first, rows stands before the store, memory holds what is
// remembered about each user. Here and in them are the only Kubernetes clients of the manager.
//
// A reconcile starts from the beginning. It reads the resource, the version of its Secret and the row, and concludes nothing
// from what an earlier one wrote to the status. So it does not matter why it runs, how often, or where an earlier one was
// interrupted.
package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/memory"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// +kubebuilder:rbac:groups=sharding.io,resources=shardingusers,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=sharding.io,resources=shardingusers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=sharding.io,resources=shardinguserpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=sharding.io,resources=shardinguserpolicies/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options are the reconciler's own settings.
type Options struct {
	// Cluster returns the UID of the namespace kube-system, which distinguishes owners of several clusters. It waits until the
	// UID is known.
	Cluster func(context.Context) (string, error)

	// System is the one whose resources are reconciled; "" is the default system.
	System string

	// Concurrency is the number of concurrent reconciles, at least 1.
	Concurrency int

	// MinPasswordLength is the least number of characters of a password in a Secret.
	MinPasswordLength int

	// Policies are those of the cluster; nil where they are turned off.
	Policies *policies.Policies

	// Statuses writes the statuses of this manager.
	Statuses *status.Writer

	// ProtectedRoles are the roles that the last active holder keeps.
	ProtectedRoles []string

	// Digests recognises passwords after a restart; nil where there is no key for that.
	Digests *secrets.Digests

	// Restored waits until the store is restored, before the first reconcile; nil where it needs no restore.
	Restored func(context.Context) error

	// Health returns what the store knows of its database. Without it every call is tried.
	Health func() store.Health

	// Explain returns a sentence that names what in the database may keep fields of a row from being written; nil without a
	// database.
	Explain func(ctx context.Context, fields []user.Field) string

	// RejectedRetry is the time until the first retry of a write that the database rejected or did not keep; 0 means 30
	// seconds. It doubles with each retry, up to 20 times this.
	RejectedRetry time.Duration

	// Prefetcher is what the store is read through.
	Prefetcher *rows.Prefetcher

	// Registry takes the reconciler's metrics.
	Registry prometheus.Registerer
}

// Reconciler keeps the rows of the table users as the ShardingUsers say, and their statuses as the rows say.
type Reconciler struct {
	client    client.Client // reads from the cache, writes to the API server
	uncached  client.Reader // reads from the API server
	store     *rows.Breaker
	policies  *policies.Policies // nil where they are turned off
	secrets   *secrets.Reader
	hasher    *secrets.Hasher
	statuses  *status.Reporter
	events    *status.Events
	staleness *status.Staleness
	orphans   *possibleOrphans
	users     *memory.Users        // what is remembered about users, of all rooms
	unchanged *memory.Slot[string] // the version of the Secret that is still to be recorded
	retries   *rows.Retries
	conflicts queue.Conflicts
	lag       *rows.Lag
	metrics   *metrics
	options   Options
}

// trouble returns the errors that calls of the store are expected to get.
func (o Options) trouble() (reading, writing error) {
	if o.Health == nil {
		return nil, nil
	}
	health := o.Health()
	return health.Reading, health.Writing
}

// Setup builds the reconciler and adds it to the manager. Watcher reports accounts that may have changed in the store.
func Setup(
	ctx context.Context, mgr ctrl.Manager, store rows.Store, watcher rows.Watcher, hasher *password.Hasher, options Options,
) error {
	counts, err := status.NewUserCounts(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	users := memory.New(time.Now)
	retries := rows.NewRetries(users, time.Now, options.RejectedRetry)
	m, err := newMetrics(options.Registry, hasher, options.Digests, counts, retries)
	if err != nil {
		return err
	}
	generator := secrets.NewGenerator(mgr.GetClient(), time.Now)
	staleness := status.NewStaleness(users)
	r := &Reconciler{
		client:    mgr.GetClient(),
		uncached:  cache.ForSystem(mgr.GetAPIReader(), options.System),
		store:     rows.NewBreaker(store, options.trouble, time.Now),
		policies:  options.Policies,
		secrets:   secrets.NewReader(mgr.GetClient(), mgr.GetAPIReader(), generator, options.MinPasswordLength, users),
		hasher:    secrets.NewHasher(hasher, options.Digests, users),
		statuses:  status.NewReporter(options.Statuses, staleness, users),
		events:    options.Statuses.Events(),
		staleness: staleness,
		orphans:   newPossibleOrphans(time.Now),
		users:     users,
		unchanged: memory.NewSlot[string](users, 0),
		retries:   retries,
		lag:       rows.NewLag(m.observeLag, time.Now),
		metrics:   m,
		options:   options,
	}
	if err := cache.AddIndexes(ctx, mgr); err != nil {
		return err
	}
	return r.watch(mgr, rows.NewSource(watcher, mgr.GetClient(), r.store, options.Prefetcher, r.retries, r.lag))
}

// watch adds the controller and its watches to the manager.
func (r *Reconciler) watch(mgr ctrl.Manager, changedRows *rows.Source) error {
	noUpdates := predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
	controlled := ctrl.NewControllerManagedBy(mgr).
		Named("shardinguser").
		For(&v1alpha1.ShardingUser{}, builder.WithPredicates(noUpdates)).
		Watches(&v1alpha1.ShardingUser{}, edits(), builder.WithPredicates(relevantEdits())).
		WatchesMetadata(&corev1.Secret{}, r.secretChanges()).
		WatchesRawSource(changedRows).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.options.Concurrency,
			NewQueue:                queue.New,
			RateLimiter:             queue.NewLimiter(),
		})
	if r.policies != nil {
		controlled = controlled.
			Watches(&v1alpha1.ShardingUserPolicy{}, r.policyChanges(), builder.WithPredicates(policies.Edits())).
			WatchesMetadata(&corev1.Namespace{}, r.namespaceChanges())
	}
	if err := controlled.Complete(r); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	return nil
}
