// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/queue"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Three causes make a search due: changed rows, deleted resources, and changed policies.

// watchCluster causes searches until stop is called: when a resource is deleted, whose finalizer may not have run, and when the
// policies or the labels of a namespace change.
func (o *Search) watchCluster(ctx context.Context) (stop func(), err error) {
	var stops []func() error
	stop = func() {
		for _, stop := range stops {
			_ = stop() // the cache ends as well
		}
	}
	watch := func(object client.Object, handler toolscache.ResourceEventHandler) error {
		informer, err := o.cache.GetInformer(ctx, object)
		if err != nil {
			return fmt.Errorf("watch what causes searches for orphans: %w", err)
		}
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("watch what causes searches for orphans: %w", err)
		}
		stops = append(stops, func() error { return informer.RemoveEventHandler(registration) })
		return nil
	}
	err = watch(&v1alpha1.ShardingUser{}, toolscache.ResourceEventHandlerFuncs{
		UpdateFunc: o.wantAfter(func(before, after client.Object) bool { return isAbandoned(after) && !isAbandoned(before) }),
		DeleteFunc: func(any) { o.want() },
	})
	if o.leavers != nil {
		err = errors.Join(err, watch(&v1alpha1.ShardingUserPolicy{}, toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { o.want() }, UpdateFunc: o.wantAfter(policies.IsEdit), DeleteFunc: func(any) { o.want() },
		}), watch(policies.Namespace(), toolscache.ResourceEventHandlerFuncs{
			UpdateFunc: o.wantAfter(policies.HasOtherLabels), DeleteFunc: func(any) { o.want() },
		}))
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// wantAfter returns a handler of updates that causes a search after those that matter.
func (o *Search) wantAfter(matters func(before, after client.Object) bool) func(before, after any) {
	return func(before, after any) {
		was, wasObject := before.(client.Object)
		is, isObject := after.(client.Object)
		if wasObject && isObject && matters(was, is) {
			o.want()
		}
	}
}

// watch causes searches until ctx ends. The first rows are the whole table, which the first search covers.
func (o *Search) watch(ctx context.Context) {
	isFirst := true
	o.options.Rows.Watch(ctx, func(usernames []string) {
		if !isFirst {
			o.changed(ctx, usernames)
		}
		isFirst = false
	}, o.want)
}

// next is the time until the next search. Orphans that are yet to be deactivated or suspended are searched for again soon.
func (o *Search) next() time.Duration {
	if o.leavers.isPending() {
		return time.Millisecond // after the rest
	}
	if o.leavers.isRefused() {
		return o.options.Grace
	}
	if o.options.Deactivate && len(o.known) > 0 {
		return o.options.Grace
	}
	return interval
}

// rest is the least time until the next search.
func (o *Search) rest() time.Duration {
	if o.leavers.isPending() {
		return o.options.Confirm
	}
	return o.options.Rest
}

func (o *Search) want() {
	select {
	case o.wanted <- struct{}{}:
	default:
	}
}

// changed causes a search where a row changed that no resource claims, and an ownership record of ours has: it may be back
// from an older dump.
func (o *Search) changed(ctx context.Context, usernames []string) {
	if len(usernames) > queue.Bulk {
		o.want()
		return
	}
	if slices.ContainsFunc(usernames, o.isKnown) {
		o.want() // it may have been an orphan
		return
	}
	cluster, err := o.options.Cluster(ctx)
	if err != nil {
		return
	}
	usernames = slices.DeleteFunc(slices.Clone(usernames), func(username string) bool {
		return len(cache.Requests(ctx, o.cached, cache.WithUsername(username))) > 0
	})
	if len(usernames) == 0 {
		return
	}
	accounts, err := o.options.Accounts.Snapshot(ctx, usernames)
	if err != nil {
		o.want()
		return
	}
	for username, account := range accounts {
		own := account.Ownership
		if own == nil || own.Owner.Cluster != cluster {
			continue
		}
		if own.State == user.Owned || o.leavers.refuses(ctx, username, account) {
			o.want()
			return
		}
	}
}

func (o *Search) isKnown(username string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.usernames[username]
}
