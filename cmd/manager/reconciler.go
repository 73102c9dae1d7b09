// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/controller/declared"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// newOptions returns the reconciler's options, and the cluster accounts, which share its policies and statuses.
func newOptions(
	ctx context.Context, mgr ctrl.Manager, cluster *cluster, hasher *password.Hasher, settings config.Settings,
) (options controller.Options, clusterAccounts *declared.ClusterAccounts, err error) {
	options = controller.Options{
		Cluster:           cluster.UID,
		System:            settings.System,
		Concurrency:       settings.MaxConcurrentReconciles,
		MinPasswordLength: settings.PasswordMinLength,
		ProtectedRoles:    settings.ProtectedRoles,
		Registry:          registry(settings),
	}
	if settings.DigestKeySecret != "" {
		key := client.ObjectKey{Namespace: settings.Namespace, Name: settings.DigestKeySecret}
		options.Digests = secrets.NewDigests(mgr.GetAPIReader(), mgr.GetClient(), key, time.Now)
		if err := mgr.Add(options.Digests); err != nil {
			return options, nil, fmt.Errorf("add the key of password digests: %w", err)
		}
	}
	if options.Statuses, err = status.NewWriter(mgr, options.Registry); err != nil {
		return options, nil, err
	}
	if settings.Policies {
		if options.Policies, err = policies.New(ctx, mgr); err != nil {
			return options, nil, err
		}
		if err := policies.AddStatuses(mgr, options.Policies, settings.Namespace); err != nil {
			return options, nil, err
		}
	}
	return options, declared.New(mgr, hasher, declared.Options{
		Cluster: options.Cluster, Policies: options.Policies, Statuses: options.Statuses, MinPasswordLength: options.MinPasswordLength,
	}), nil
}
