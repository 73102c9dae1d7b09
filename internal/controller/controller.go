// SPDX-License-Identifier: Apache-2.0

// Package controller reconciles ShardingUsers into rows of the table users: observe → decide → apply → report. It is
// the only place with a Kubernetes client. What to do is decided in internal/user, and done by a store; here both meet
// the API server.
//
// A reconcile starts anew each time: it reads the resource, the version of its Secret and the row, and concludes
// nothing from what an earlier one wrote into the status. So it does not matter why it runs, how often, or what was
// going on when an earlier one was cut off.
package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// +kubebuilder:rbac:groups=sharding.io,resources=shardingusers,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=sharding.io,resources=shardingusers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=sharding.io,resources=shardinguserpolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=sharding.io,resources=shardinguserpolicies/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Retries of what failed begin quickly and become slow, so that an outage is not made worse by those who wait for its
// end. A database that is back is announced by the rows' source, so nobody waits for the longest delay then.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// Accounts is the store as the reconciler needs it; package store says what it promises.
type Accounts interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
}

// Options are the reconciler's own settings.
type Options struct {
	// Cluster is the UID of the namespace kube-system, by which owners of several clusters are told apart. It waits
	// until that is known.
	Cluster func(context.Context) (string, error)

	// Concurrency is how many users are reconciled at the same time, at least 1.
	Concurrency int

	// MinPasswordLength is the least number of characters of a password that is taken from a Secret.
	MinPasswordLength int

	// Namespace is the manager's own, where it publishes what policies say.
	Namespace string

	// NoPolicies leaves ShardingUserPolicies out of account.
	NoPolicies bool

	// ProtectedRoles are those that are not taken from the last active user who holds them.
	ProtectedRoles []string

	// Declarations are what the log-in side asks of the same manager; nil where nobody does.
	Declarations *Declarations

	// Restored waits until the store knows what it has to before the first reconcile; nil where that is so at once.
	Restored func(context.Context) error

	// Trouble is what a call of the store will meet with, as far as is known: one that reads, and one that writes. It is nil
	// where nothing is known to keep the call from its end. Without it every call is tried.
	Trouble func() (reading, writing error)

	// Explain names what in the database may keep fields of a row from being written, in a sentence for operators; nil where
	// there is nothing to ask.
	Explain func(ctx context.Context, fields []user.Field) string

	// RejectedRetry is after what time a write is made again for the first time that the database refused or did not keep;
	// 0 is 30 seconds. The time doubles with each retry, up to 20 times this.
	RejectedRetry time.Duration

	// ReadAhead is what the store is read through, so that rows can be read ahead.
	ReadAhead *ReadAhead

	// Registry takes the reconciler's metrics.
	Registry prometheus.Registerer
}

// Reconciler keeps the rows of the table users as the ShardingUsers say, and their statuses as the rows say.
type Reconciler struct {
	client     client.Client // reads from the cache, writes to the API server
	live       client.Reader // reads from the API server
	events     *events
	accounts   *gate
	policies   *policies // nil where they are turned off
	secrets    *secretReader
	hashing    *hashing
	reports    *reporter
	stale      *staleness
	unfinished *unfinished
	retries    *retries
	late       lateness
	lag        *lag
	metrics    *metrics
	options    Options
}

// Setup builds the reconciler and adds it to the manager. Rows tells of accounts that may have changed in the store.
func Setup(ctx context.Context, mgr ctrl.Manager, accounts Accounts, rows Rows, hasher *password.Hasher, options Options) error {
	users, err := newTally(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	m, err := newMetrics(options.Registry, users, hasher)
	if err != nil {
		return err
	}
	if options.Declarations == nil {
		if options.Declarations, err = NewDeclarations(ctx, mgr, hasher, options); err != nil {
			return err
		}
	}
	statuses, policies := options.Declarations.statuses, options.Declarations.policies
	r := &Reconciler{
		client:     mgr.GetClient(),
		live:       mgr.GetAPIReader(),
		events:     statuses.events,
		accounts:   newGate(traced{accounts}, options.Trouble, time.Now),
		policies:   policies,
		secrets:    newSecretReader(mgr.GetClient(), mgr.GetAPIReader(), options.MinPasswordLength),
		hashing:    newHashing(hasher),
		stale:      newStaleness(time.Now),
		unfinished: newUnfinished(time.Now),
		retries:    newRetries(time.Now, options.RejectedRetry),
		lag:        newLag(m.observeLag, time.Now),
		metrics:    m,
		options:    options,
	}
	if err := register(options.Registry, r.retries); err != nil {
		return err
	}
	r.secrets.generator = newGenerator(mgr.GetClient(), time.Now)
	r.reports = &reporter{statuses: statuses, pace: newPace(time.Now), outages: newPace(time.Now), stale: r.stale}

	if err := cache.AddIndexes(ctx, mgr); err != nil {
		return err
	}
	controlled := ctrl.NewControllerManagedBy(mgr).
		Named("shardinguser").
		For(&v1alpha1.ShardingUser{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})).
		Watches(&v1alpha1.ShardingUser{}, edits(), builder.WithPredicates(worthALook())).
		WatchesMetadata(&corev1.Secret{}, r.secretChanges()).
		WatchesRawSource(newRowSource(rows, mgr.GetClient(), r.accounts, options.ReadAhead, r.retries, r.lag)).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: options.Concurrency,
			NewQueue:                newFairQueue,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](
				firstRetry, lastRetry),
		})
	if policies != nil {
		controlled = controlled.
			Watches(&v1alpha1.ShardingUserPolicy{}, r.policyChanges(), builder.WithPredicates(policyEdits())).
			WatchesMetadata(&corev1.Namespace{}, r.namespaceChanges())
	}
	if err := controlled.Complete(r); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if policies != nil {
		statuses := policyStatuses{
			client: mgr.GetClient(), live: mgr.GetAPIReader(), policies: policies, namespace: options.Namespace,
		}
		return statuses.setUp(mgr)
	}
	return nil
}

// edits is the changes that people make to resources that are there.
func edits() handler.EventHandler {
	return handler.Funcs{UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		add(queue, []reconcile.Request{{NamespacedName: client.ObjectKeyFromObject(e.ObjectNew)}}, editPriority)
	}}
}

// worthALook keeps status writes, labels and the like from causing reconciles: what matters in a ShardingUser is its
// spec, its deletion, two annotations, and that nobody took our finalizer away.
func worthALook() predicate.Predicate {
	others := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !sameRequests(e.ObjectOld, e.ObjectNew) || !controllerutil.ContainsFinalizer(e.ObjectNew, v1alpha1.Finalizer)
	}}
	return predicate.Or(predicate.GenerationChangedPredicate{}, others)
}

// sameRequests reports whether two copies of a resource ask for the same by annotation.
func sameRequests(a, b client.Object) bool {
	for _, name := range []string{
		v1alpha1.AnnotationPaused, v1alpha1.AnnotationUnlockRequestedAt, v1alpha1.AnnotationAllowLastAdministrator,
	} {
		if a.GetAnnotations()[name] != b.GetAnnotations()[name] {
			return false
		}
	}
	return true
}

// fewUsers is how many a Secret is for that is somebody's password, or an edit that is about somebody. What many share, a new
// password of all of them or a policy, takes its time.
const fewUsers = 10

// addEdited adds those whom one edit concerns.
func addEdited(queue workqueue.TypedRateLimitingInterface[reconcile.Request], users []reconcile.Request) {
	if len(users) > fewUsers {
		add(queue, users, newPriority)
	} else {
		add(queue, users, editPriority)
	}
}

// secretChanges looks at whoever has a Secret that came, went, or changed.
func (r *Reconciler) secretChanges() handler.EventHandler {
	all := handler.EnqueueRequestsFromMapFunc(r.usersOfSecret)
	update := func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		users := r.usersOfSecret(ctx, e.ObjectNew)
		if e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion() { // the cache's resync
			add(queue, users, listPriority)
		} else {
			addEdited(queue, users)
		}
	}
	return handler.Funcs{CreateFunc: all.Create, UpdateFunc: update, DeleteFunc: all.Delete}
}

// usersOfSecret is everybody whose password is in the Secret.
func (r *Reconciler) usersOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return cache.Requests(ctx, r.client, client.InNamespace(secret.GetNamespace()),
		cache.WithSecret(secret.GetName()))
}
