// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Indexes of the cache: from a Secret and from a row to the users that have to do with it, without a walk over all.
const (
	indexSecret   = "spec.password.secretRef.name"
	indexUsername = "effectiveUsername"
	indexLocked   = "status.locked"
)

// isLocked is the one value of indexLocked: nobody asks for those who are not locked.
const isLocked = "true"

func addIndexes(ctx context.Context, mgr ctrl.Manager) error {
	indexes := map[string]func(*v1alpha1.ShardingUser) []string{
		indexSecret: func(u *v1alpha1.ShardingUser) []string {
			if u.Spec.Password == nil {
				return nil
			}
			return []string{u.Spec.Password.SecretRef.Name}
		},
		indexUsername: func(u *v1alpha1.ShardingUser) []string { return []string{user.Username(u)} },
		indexLocked: func(u *v1alpha1.ShardingUser) []string {
			if !u.Status.Locked {
				return nil
			}
			return []string{isLocked}
		},
	}
	for name, values := range indexes {
		extract := func(o client.Object) []string {
			u, ok := o.(*v1alpha1.ShardingUser)
			if !ok {
				return nil
			}
			return values(u)
		}
		if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ShardingUser{}, name, extract); err != nil {
			return fmt.Errorf("index ShardingUsers by %s: %w", name, err)
		}
	}
	return nil
}

// requests is a request for each ShardingUser in the cache that the options select.
func requests(ctx context.Context, reader client.Reader, options ...client.ListOption) []reconcile.Request {
	var list []reconcile.Request
	users, err := cachedUsers(ctx, reader, options...)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the affected ShardingUsers")
	}
	for _, u := range users {
		list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
	}
	return list
}

// cachedUsers is the ShardingUsers in the cache that the options select. They are the cache's own: nobody may change
// them. That saves a copy of each, which counts when there are 100,000.
func cachedUsers(ctx context.Context, reader client.Reader, options ...client.ListOption) ([]v1alpha1.ShardingUser, error) {
	var list v1alpha1.ShardingUserList
	if err := reader.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list ShardingUsers from the cache: %w", err)
	}
	return list.Items, nil
}
