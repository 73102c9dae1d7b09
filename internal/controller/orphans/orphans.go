// SPDX-License-Identifier: Apache-2.0

// Package orphans finds accounts whose ShardingUser does not exist: orphans, and leavers that no policy permits. It reports
// and, if asked to, deactivates them, and publishes them with the findings about the table users.
package orphans

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	controllercache "github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The usual times of a search.
const (
	// interval is the time between two searches that nothing else causes.
	interval = time.Hour

	// usualRest is the least time between two searches that changed rows cause.
	usualRest = 30 * time.Second

	// usualDelay lets the cause of a search finish first: a restore, or deletions that an outage delayed.
	usualDelay = 2 * time.Second

	// usualGrace is how long an account is an orphan before it is deactivated: a restore of the
	// cluster may bring the resource back.
	usualGrace = time.Minute

	// pageSize is how many ownership records are read at once.
	pageSize = 1000

	// getsPerSecond is how many resources are confirmed a second.
	getsPerSecond = 50
)

// Records is the store as the search needs it.
type Records interface {
	// Owned reads the next ownership records of a scope that follow a username, at most limit of them.
	Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error)

	// Released reads the next released ownership records whose rows are active, in the same way.
	Released(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error)
}

// Options are the settings of a Search.
type Options struct {
	Records  Records
	Accounts rows.Batches
	Rows     rows.Watcher
	Cluster  func(context.Context) (string, error)
	System   string // that the manager serves; "" is the default one

	// Findings are about the table users. They are published with the orphans.
	Findings func() []store.Finding

	// DefaultPasswords are the accounts with a default password of the sharding manager. They are published, too.
	DefaultPasswords func() store.DefaultPasswords

	// Namespace is the manager's own, where both are published.
	Namespace string

	// Replica is the pod that Events are about.
	Replica status.Replica

	// WatchNamespaces are those that the manager watches; none means all.
	WatchNamespaces []string

	// Deactivate makes the rows of orphans inactive.
	Deactivate bool

	// ProtectedRoles are the roles that the last active holder keeps.
	ProtectedRoles []string

	// Policies judge accounts without a resource; nil where policies are turned off.
	Policies *policies.Policies

	// Delay, Rest, Grace and Confirm are other times than the usual ones; 0 for those.
	Delay, Rest, Grace, Confirm time.Duration

	// Restored waits until the store is restored; nil where it needs no restore.
	Restored func(context.Context) error

	Registry prometheus.Registerer
}

// EventOrphanedAccounts is the reason of the Event about a replica's pod that reports new orphans.
const EventOrphanedAccounts = "OrphanedAccounts"

// Search searches for orphans on the leader: at start, after each recovery of the database, when rows change that no
// resource claims, and hourly. Only a GET past the cache makes an account an orphan, so an empty or partial list does not.
type Search struct {
	options   Options
	cache     cache.Cache
	cached    client.Reader
	live      client.Reader
	gets      *rate.Limiter
	count     prometheus.Gauge
	held      prometheus.Gauge
	events    recorder.EventRecorder
	publisher *publisher
	leavers   *leavers // nil where no policies are in force

	wanted chan struct{} // holds one when a search is due

	// Of the goroutine that searches alone:
	known   map[store.Owned]time.Time // since when; Active and RowExists are zero
	refused map[store.Owned]string    // why one cannot be deactivated, as it was logged
	failed  bool                      // the last search failed, which was logged
	last    time.Time                 // when the last search ended
	guard   *guard

	mu        sync.Mutex
	usernames map[string]bool // of known
}

// Add adds a Search to the manager, and the publisher of its results and of the findings.
func Add(mgr ctrl.Manager, options Options) error {
	options.Delay, options.Rest = cmp.Or(options.Delay, usualDelay), cmp.Or(options.Rest, usualRest)
	options.Grace, options.Confirm = cmp.Or(options.Grace, usualGrace), cmp.Or(options.Confirm, usualConfirm)
	o := &Search{
		options: options, cache: mgr.GetCache(), cached: mgr.GetClient(), live: controllercache.ForSystem(mgr.GetAPIReader(), options.System),
		gets:   rate.NewLimiter(getsPerSecond, getsPerSecond),
		events: mgr.GetEventRecorder("shardinguser-operator"), wanted: make(chan struct{}, 1), known: map[store.Owned]time.Time{},
		refused: map[store.Owned]string{}, guard: newGuard(),
		count: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shardinguser_orphaned_accounts",
			Help: "Accounts whose ownership record names a ShardingUser that does not exist, at the leader's last check.",
		}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shardinguser_held_orphans",
			Help: "Orphaned accounts that --orphans=deactivate does not deactivate before an administrator confirms it: too many at once.",
		}),
		publisher: &publisher{
			client: mgr.GetClient(), live: mgr.GetAPIReader(), namespace: options.Namespace, key: store.ReportKeyOf(options.System),
			findings: options.Findings, defaults: options.DefaultPasswords,
		},
	}
	metrics := []prometheus.Collector{o.count, o.held}
	if options.Policies != nil {
		o.leavers = newLeavers(o, options.Policies)
		metrics = append(metrics, o.leavers.suspended)
	}
	for _, metric := range metrics {
		if err := options.Registry.Register(metric); err != nil {
			return fmt.Errorf("register the metrics of orphans: %w", err)
		}
	}
	for _, part := range []manager.Runnable{o, o.publisher} {
		if err := mgr.Add(part); err != nil {
			return fmt.Errorf("add the search for orphans: %w", err)
		}
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (o *Search) NeedLeaderElection() bool { return true }

// Start implements manager.Runnable. The caches are filled by then.
func (o *Search) Start(ctx context.Context) error {
	if o.options.Restored != nil {
		if err := o.options.Restored(ctx); err != nil {
			return nil // the manager ends
		}
	}
	stop, err := o.watchCluster(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { o.watch(ctx) })
	o.want()
	for {
		wait := time.NewTimer(o.next())
		isCaused := false
		select {
		case <-ctx.Done():
		case <-o.wanted:
			isCaused = true
		case <-wait.C:
		}
		wait.Stop()
		if !backoff.Pause(ctx, o.options.Delay) {
			return nil
		}
		isConfirmed := o.takeConfirmation(ctx) // before a caused search too: logins to held accounts cause searches
		if !isCaused && !isConfirmed && !o.isDue() {
			continue
		}
		err := o.search(ctx)
		o.last = time.Now()
		if err != nil {
			o.want()
			if !o.failed && ctx.Err() == nil {
				logf.FromContext(ctx).Info("Cannot search for orphaned accounts; the search is retried", "error", err.Error())
			}
		}
		o.failed = err != nil
		if !backoff.Pause(ctx, o.rest()) {
			return nil
		}
	}
}

// search compares the ownership records with the resources, and reports and deactivates what it finds.
func (o *Search) search(ctx context.Context) error {
	cluster, err := o.options.Cluster(ctx)
	if err != nil {
		return err
	}
	scope := store.Scope{Cluster: cluster, System: o.options.System}
	round, err := o.leavers.begin(ctx)
	if err != nil {
		return err
	}
	found, accounts, err := o.searchOwned(ctx, scope, round)
	if err != nil {
		return err
	}
	if err := round.searchReleased(ctx, scope); err != nil {
		return err
	}
	round.end(ctx)
	found = o.deactivateAll(ctx, found, accounts)
	o.report(ctx, found)
	return nil
}

// isDue reports whether a search that nothing causes is due. Held orphans wait for their confirmation, since to look at each of
// them again takes many requests.
func (o *Search) isDue() bool {
	return o.guard.token() == "" || o.leavers.isPending() || o.leavers.isRefused() || time.Since(o.last) >= interval
}

// takeConfirmation reports whether an administrator confirmed the deactivation of the held orphans since the last search.
func (o *Search) takeConfirmation(ctx context.Context) bool {
	isConfirmed, err := o.isConfirmed(ctx)
	if err != nil {
		logf.FromContext(ctx).Info("Cannot read whether the deactivation of orphaned accounts is confirmed; it is retried", "error", err.Error())
	}
	if isConfirmed {
		o.guard.confirm()
	}
	return isConfirmed
}

// searchOwned returns the owned records whose resource is gone, and how many records there are in watched namespaces. Those that
// no policy permits are suspended.
func (o *Search) searchOwned(ctx context.Context, scope store.Scope, round *leaverRound) (found []store.Owned, accounts int, err error) {
	err = eachPage(ctx, scope, o.options.Records.Owned, func(page []store.Owned) error {
		page = slices.DeleteFunc(slices.Clone(page), func(record store.Owned) bool { return !o.isWatched(record.Owner.Namespace) })
		accounts += len(page)
		gone, observed, err := o.gone(ctx, page)
		if err != nil {
			return err
		}
		for _, record := range gone {
			isSuspended, err := round.consider(ctx, record.Username, observed[record.Username])
			if err != nil {
				return err
			}
			record.Active = record.Active && !isSuspended
			found = append(found, record)
		}
		return nil
	})
	return found, accounts, err
}

// eachPage calls do with each page of the ownership records that read returns.
func eachPage(
	ctx context.Context, scope store.Scope, read func(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error),
	do func(page []store.Owned) error,
) error {
	for after := ""; ; {
		page, err := read(ctx, scope, after, pageSize)
		if err != nil {
			return fmt.Errorf("read the ownership records: %w", err)
		}
		if err := do(page); err != nil {
			return err
		}
		if len(page) < pageSize {
			return nil
		}
		after = page[len(page)-1].Username
	}
}

// scopeOf returns the scope that an owner belongs to.
func scopeOf(owner user.Owner) store.Scope {
	return store.Scope{Cluster: owner.Cluster, System: owner.System}
}

// gone returns the records whose resource is gone, and their accounts. The cache is asked first, and only those that it does not
// have are confirmed. That it cannot be found out is an error.
func (o *Search) gone(ctx context.Context, page []store.Owned) (gone []store.Owned, accounts map[string]user.Observed, err error) {
	var usernames []string
	for _, record := range page {
		isClaimed, err := claims(ctx, o.cached, record)
		if err == nil && !isClaimed {
			if err = o.gets.Wait(ctx); err == nil {
				isClaimed, err = claims(ctx, o.live, record)
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if !isClaimed {
			gone, usernames = append(gone, record), append(usernames, record.Username)
		}
	}
	if len(gone) == 0 {
		return nil, nil, nil
	}
	// The records were read before: by now a deletion may have come to its end.
	accounts, err = o.options.Accounts.Snapshot(ctx, usernames)
	if err != nil {
		return nil, nil, fmt.Errorf("read the ownership records: %w", err)
	}
	gone = slices.DeleteFunc(gone, func(record store.Owned) bool {
		observed := accounts[record.Username]
		return !observed.OwnedBy(record.Owner)
	})
	return gone, accounts, nil
}

// isWatched reports whether the manager watches a namespace. Of another one it knows nothing.
func (o *Search) isWatched(namespace string) bool {
	return len(o.options.WatchNamespaces) == 0 || slices.Contains(o.options.WatchNamespaces, namespace)
}

// claims reports whether the resource of a record is there, or another one in its place that takes the username over.
func claims(ctx context.Context, reader client.Reader, record store.Owned) (bool, error) {
	var u v1alpha1.ShardingUser
	err := reader.Get(ctx, client.ObjectKey{Namespace: record.Owner.Namespace, Name: record.Owner.Name}, &u)
	switch {
	case err == nil && isAbandoned(&u):
		return false, nil
	case err == nil:
		return string(u.UID) == record.Owner.UID || user.Username(&u) == record.Username, nil
	case apierrors.IsNotFound(err) && namesObject(err):
		return false, nil
	}
	return false, fmt.Errorf("confirm that the ShardingUser %s does not exist: %w", record.Owner, err)
}

// isAbandoned reports whether a resource is being deleted and does not have our finalizer: it is as good as gone, and another
// finalizer may keep it for any time.
func isAbandoned(u client.Object) bool {
	return !u.GetDeletionTimestamp().IsZero() && !controllerutil.ContainsFinalizer(u, v1alpha1.Finalizer)
}

// namesObject reports whether the API server says that one object does not exist. If it does not know the kind, its answer
// names none.
func namesObject(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsUnexpectedServerError(err) &&
		status.Status().Details != nil && status.Status().Details.Name != ""
}

// identity is what makes a record the same orphan as before.
func identity(record store.Owned) store.Owned {
	return store.Owned{Username: record.Username, Owner: record.Owner}
}
