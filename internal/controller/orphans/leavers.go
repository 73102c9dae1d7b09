// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// usualConfirm is the time between the two searches that both have to find a leaver before it is suspended.
const usualConfirm = 10 * time.Second

// EventSuspendedAccounts is the reason of the Event about a replica's pod that reports suspended leavers.
const EventSuspendedAccounts = "SuspendedAccounts"

// leavers suspends accounts whose ShardingUser is gone and that no policy permits: orphans, and accounts that were retained. The
// search for orphans finds them. Two searches have to agree, and each judges by the policies and namespaces as the API server
// has them, past the cache. A suspension is undone when the ShardingUser is created again: the record stays.
//
// A nil leavers, where policies are turned off, suspends nothing.
type leavers struct {
	orphans   *Search
	policies  *policies.Policies
	suspended prometheus.Counter

	// Of the goroutine that searches alone:
	suspects map[store.Owned]time.Time // since when
	refused  map[store.Owned]string    // why one cannot be suspended, as it was logged
}

func newLeavers(o *Search, p *policies.Policies) *leavers {
	return &leavers{
		orphans: o, policies: p, suspects: map[store.Owned]time.Time{}, refused: map[store.Owned]string{},
		suspended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "shardinguser_leavers_suspended_total",
			Help: "Accounts without a ShardingUser that the operator deactivated because no ShardingUserPolicy permits them.",
		}),
	}
}

// isPending reports whether leavers wait for the second search.
func (l *leavers) isPending() bool { return l != nil && len(l.suspects) > len(l.refused) }

// isRefused reports whether the database, or the last-holder rule, keeps leavers active.
func (l *leavers) isRefused() bool { return l != nil && len(l.refused) > 0 }

// refuses reports whether, by the cache, no policy permits a released account. An error counts as a refusal: a search finds out.
func (l *leavers) refuses(ctx context.Context, username string, account user.Observed) bool {
	if l == nil {
		return false
	}
	u := user.Leaver(username, account)
	if u == nil || !l.orphans.isWatched(u.Namespace) {
		return false
	}
	u.DeletionTimestamp = &metav1.Time{Time: account.Now}         // its namespace may be gone
	permission, err := l.policies.Permission(ctx, u, time.Time{}) // it has no end
	return err != nil || permission.Refusal != nil
}

// leaverRound is one search. A nil round, of a cluster without policies, suspends nothing.
type leaverRound struct {
	*leavers
	set        policy.Set
	namespaces map[string]*metav1.PartialObjectMetadata // nil of one that does not exist
	found      map[store.Owned]time.Time
	failed     map[store.Owned]string
	done       []store.Owned
}

// begin reads the policies for one search.
func (l *leavers) begin(ctx context.Context) (*leaverRound, error) {
	if l == nil {
		return nil, nil //nolint:nilnil // as documented
	}
	var list v1alpha1.ShardingUserPolicyList
	if err := l.orphans.live.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	set := policy.New(list.Items)
	if set.IsEmpty() {
		clear(l.suspects)
		clear(l.refused)
		return nil, nil //nolint:nilnil // as documented
	}
	return &leaverRound{
		leavers: l, set: set, namespaces: map[string]*metav1.PartialObjectMetadata{}, found: map[store.Owned]time.Time{}, failed: map[store.Owned]string{},
	}, nil
}

// searchReleased considers all released records.
func (r *leaverRound) searchReleased(ctx context.Context, scope store.Scope) error {
	if r == nil {
		return nil
	}
	return eachPage(ctx, scope, r.orphans.options.Records.Released, func(page []store.Owned) error {
		usernames := make([]string, 0, len(page))
		for _, record := range page {
			if r.orphans.isWatched(record.Owner.Namespace) {
				usernames = append(usernames, record.Username)
			}
		}
		accounts, err := r.orphans.options.Accounts.Snapshot(ctx, usernames)
		if err != nil {
			return fmt.Errorf("read the released accounts: %w", err)
		}
		for _, username := range usernames {
			if own := accounts[username].Ownership; own == nil || own.State != user.Released || scopeOf(own.Owner) != scope {
				continue // a resource took it
			}
			if _, err := r.consider(ctx, username, accounts[username]); err != nil {
				return err
			}
		}
		return nil
	})
}

// consider suspends an account whose resource is gone where no policy permits it, and an earlier search found the same. It
// returns whether it did.
func (r *leaverRound) consider(ctx context.Context, username string, observed user.Observed) (isSuspended bool, err error) {
	if r == nil {
		return false, nil
	}
	u := user.Leaver(username, observed)
	if u == nil {
		return false, nil
	}
	isPermitted, err := r.permits(ctx, u)
	if err != nil || isPermitted {
		return false, err
	}
	record := store.Owned{Username: username, Owner: observed.Ownership.Owner}
	since, isKnown := r.suspects[record]
	if !isKnown {
		since = time.Now()
	}
	if !isKnown || time.Since(since) < r.orphans.options.Confirm {
		r.found[record] = since
		return false, nil
	}
	switch err := r.suspend(ctx, record, observed); {
	case err == nil:
		r.done = append(r.done, record)
		return true, nil
	case errors.Is(err, store.ErrConflict):
		r.found[record] = since // the next search judges the account as it is then
		return false, nil
	case errors.Is(err, store.ErrUnavailable), ctx.Err() != nil:
		return false, fmt.Errorf("suspend an account that no policy permits: %w", err)
	default:
		r.found[record] = since
		r.refuse(ctx, record, err)
		return false, nil
	}
}

// permits judges an account by its namespace as the API server has it.
func (r *leaverRound) permits(ctx context.Context, u *v1alpha1.ShardingUser) (bool, error) {
	namespace, isKnown := r.namespaces[u.Namespace]
	if !isKnown {
		if err := r.orphans.gets.Wait(ctx); err != nil {
			return false, err
		}
		namespace = policies.Namespace()
		err := r.orphans.live.Get(ctx, client.ObjectKey{Name: u.Namespace}, namespace)
		switch {
		case apierrors.IsNotFound(err) && namesObject(err):
			namespace = nil
		case err != nil:
			return false, fmt.Errorf("read the namespace of an account without a ShardingUser: %w", err)
		}
		r.namespaces[u.Namespace] = namespace
	}
	return policies.PermissionIn(r.set, namespace, u, time.Time{}).Refusal == nil, nil
}

func (r *leaverRound) suspend(ctx context.Context, record store.Owned, observed user.Observed) error {
	change := user.Suspension(record.Username, observed, r.orphans.options.ProtectedRoles)
	return deactivateGone(ctx, r.orphans.options.Accounts, change)
}

// refuse logs, once for each cause, that an account stays active although no policy permits it.
func (r *leaverRound) refuse(ctx context.Context, record store.Owned, err error) {
	r.failed[record] = err.Error()
	if r.refused[record] == err.Error() {
		return
	}
	logf.FromContext(ctx).Info("Cannot deactivate an account without a ShardingUser that no policy permits; it is retried",
		"shardinguser", record.Owner.String(), "username", record.Username, "error", err.Error())
}

// end remembers the suspects for the next search, and reports the suspensions.
func (r *leaverRound) end(ctx context.Context) {
	if r == nil {
		return
	}
	r.suspects, r.refused = r.found, r.failed
	r.suspended.Add(float64(len(r.done)))
	names := make([]string, 0, len(r.done))
	for _, record := range r.done {
		names = append(names, record.Owner.String())
		logf.FromContext(ctx).Info("Deactivated an account without a ShardingUser: no policy permits it",
			"shardinguser", record.Owner.String(), "username", record.Username)
	}
	if len(names) == 0 {
		return
	}
	r.orphans.events.Eventf(r.orphans.options.Replica.Pod(), nil, corev1.EventTypeWarning, EventSuspendedAccounts, "SearchForOrphans",
		"Deactivated %d accounts whose ShardingUsers do not exist, since no ShardingUserPolicy permits them: %s. Create the ShardingUsers "+
			"again, or permit the deletion policy Retain and activate the rows.", len(names), firstFew(names))
}

// firstFew is the first names of a list, and how many more there are.
func firstFew(names []string) string {
	const most = 3
	list := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
