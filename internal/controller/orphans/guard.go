// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	// fewOrphans is how many orphans are deactivated without a confirmation, unless they are most of them.
	fewOrphans = 3

	// orphanShare is the share of all accounts that may be deactivated without a confirmation: one in so many.
	orphanShare = 10

	// guardWindow is the time whose deactivations count together: a cluster may lose its resources little by little.
	guardWindow = time.Hour

	// EventTooManyOrphans is the reason of the Event about a replica's pod that reports held orphans.
	EventTooManyOrphans = "TooManyOrphans"
)

// guard holds the deactivation of orphans where so many appear together that the cluster probably lost its resources: an API
// server that was restored from an old backup, or a CRD that was deleted and created again. An administrator confirms the
// deactivation by an annotation on the published report.
//
// Only the goroutine that searches uses it.
type guard struct {
	held        []store.Owned        // the identities that wait for a confirmation
	confirmed   map[store.Owned]bool // the identities that an administrator confirmed
	deactivated map[string]time.Time // the usernames of the last hour, and when
	announced   store.OrphansToken   // of the held ones that were reported last
	now         func() time.Time
}

func newGuard() *guard {
	return &guard{confirmed: map[store.Owned]bool{}, deactivated: map[string]time.Time{}, now: time.Now}
}

// hold decides whether the unconfirmed orphans found among so many accounts may be deactivated, and remembers those that may not.
// A confirmed one that is no orphan any more needs a new confirmation to become inactive later.
func (g *guard) hold(found []store.Owned, accounts int) (isHeld bool) {
	g.held = nil
	var unconfirmed []store.Owned
	confirmed := map[store.Owned]bool{}
	for _, record := range found {
		if key := identity(record); g.confirmed[key] {
			confirmed[key] = true
		} else {
			unconfirmed = append(unconfirmed, key)
		}
	}
	g.confirmed = confirmed
	for username, at := range g.deactivated {
		if g.now().Sub(at) >= guardWindow {
			delete(g.deactivated, username)
		}
	}
	recent := len(g.deactivated)
	if !tooMany(len(unconfirmed)+recent, accounts+recent) || len(unconfirmed) == 0 {
		return false
	}
	g.held = unconfirmed
	return true
}

// tooMany reports whether so many orphans among so many accounts look like a cluster that lost its resources.
func tooMany(orphans, accounts int) bool {
	switch {
	case orphans <= 1:
		return false // a single leaver, even in a cluster with a single user
	case orphans >= fewOrphans && 2*orphans > accounts:
		return true
	default:
		return orphans == accounts || orphans > max(fewOrphans, accounts/orphanShare)
	}
}

// deactivatedOne remembers a deactivation that nobody confirmed.
func (g *guard) deactivatedOne(record store.Owned) {
	if key := identity(record); !g.confirmed[key] {
		g.deactivated[record.Username] = g.now()
	} else {
		delete(g.confirmed, key)
	}
}

// token returns what stands for the held orphans; empty where none are held.
func (g *guard) token() store.OrphansToken { return store.NewOrphansToken(g.held) }

// confirm takes the confirmation of the held orphans.
func (g *guard) confirm() {
	for _, record := range g.held {
		g.confirmed[record] = true
	}
	g.held = nil
}

// isConfirmed reports whether an administrator confirmed the deactivation of the held orphans. A confirmation holds once: the
// annotation is removed.
func (o *Search) isConfirmed(ctx context.Context) (bool, error) {
	token := o.guard.token()
	if token == "" {
		return false, nil
	}
	var report corev1.ConfigMap
	annotation := store.AnnotationDeactivateOrphansOf(o.options.System)
	err := o.live.Get(ctx, client.ObjectKey{Namespace: o.options.Namespace, Name: store.ReportName}, &report)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the confirmation to deactivate orphans: %w", err)
	case report.Annotations[annotation] != string(token):
		return false, nil
	}
	base := report.DeepCopy()
	delete(report.Annotations, annotation)
	if err := o.publisher.client.Patch(ctx, &report, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})); err != nil {
		return false, fmt.Errorf("take the confirmation to deactivate orphans: %w", err)
	}
	logf.FromContext(ctx).Info("An administrator confirmed the deactivation of orphaned accounts", "accounts", len(o.guard.held))
	return true, nil
}

// announceHeld reports held orphans, once for the same ones.
func (o *Search) announceHeld(ctx context.Context, accounts int) {
	count, token := len(o.guard.held), o.guard.token()
	o.held.Set(float64(count))
	if token == o.guard.announced {
		return
	}
	o.guard.announced = token
	if count == 0 {
		return
	}
	logf.FromContext(ctx).Info("Orphaned accounts are not deactivated: there are too many at once. Restore the ShardingUsers, or "+
		"confirm it", "orphans", count, "accounts", accounts, "command", store.OrphansCommand(o.options.System, "--deactivate"))
	o.events.Eventf(o.options.Replica.Pod(), nil, corev1.EventTypeWarning, EventTooManyOrphans, "SearchForOrphans",
		"%d of %d accounts are orphaned. That many at once look like a cluster that lost its ShardingUsers, so none is deactivated. "+
			"Restore the ShardingUsers, or run %s.", count, accounts, store.OrphansCommand(o.options.System, "--deactivate"))
}
