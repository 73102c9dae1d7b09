// SPDX-License-Identifier: Apache-2.0

package cache

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

// The indexes of ShardingUsers. Without them each changed Secret or row would cost a walk over all users.
const (
	bySecret   = "spec.password.secretRef.name"
	byUsername = "effectiveUsername"
	byLock     = "status.locked"
)

// yes is the only value of byLock: unlocked users are not looked up.
const yes = "true"

// WithUsername selects the users that claim a username.
func WithUsername(username string) client.ListOption {
	return client.MatchingFields{byUsername: username}
}

// WithSecret selects the users that name a Secret.
func WithSecret(name string) client.ListOption { return client.MatchingFields{bySecret: name} }

// Locked selects the users whose status reports a lock.
func Locked() client.ListOption { return client.MatchingFields{byLock: yes} }

// AddIndexes adds the indexes that WithUsername, WithSecret and Locked use.
func AddIndexes(ctx context.Context, mgr ctrl.Manager) error {
	indexes := map[string]func(*v1alpha1.ShardingUser) []string{
		bySecret: func(u *v1alpha1.ShardingUser) []string {
			if u.Spec.Password == nil {
				return nil
			}
			return []string{u.Spec.Password.SecretRef.Name}
		},
		byUsername: func(u *v1alpha1.ShardingUser) []string { return []string{user.Username(u)} },
		byLock: func(u *v1alpha1.ShardingUser) []string {
			if !u.Status.Locked {
				return nil
			}
			return []string{yes}
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

// Requests returns a request for each cached ShardingUser that the options select.
func Requests(ctx context.Context, reader client.Reader, options ...client.ListOption) []reconcile.Request {
	var list []reconcile.Request
	users, err := Users(ctx, reader, options...)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot list the affected ShardingUsers")
	}
	for _, u := range users {
		list = append(list, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&u)})
	}
	return list
}

// Users returns the cached ShardingUsers that the options select. The caller must not change them: they are the cache's
// own, which saves 100,000 copies.
func Users(ctx context.Context, reader client.Reader, options ...client.ListOption) ([]v1alpha1.ShardingUser, error) {
	var list v1alpha1.ShardingUserList
	if err := reader.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list ShardingUsers from the cache: %w", err)
	}
	return list.Items, nil
}
