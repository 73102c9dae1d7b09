// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller/cache"
	"github.com/sharding-system/shardinguser-operator/internal/controller/defaultusers"
)

// addDefaultUsers adds the creation of the default users to the manager, if it is enabled.
func addDefaultUsers(mgr ctrl.Manager, accounts accounts, settings config.Settings, log logr.Logger) error {
	if !settings.DefaultUsers.Enabled() {
		return nil
	}
	options := defaultusers.Options{
		Namespace:         settings.DefaultUsers.Namespace,
		System:            settings.System,
		Watched:           settings.WatchNamespaces,
		WellKnown:         settings.DefaultUsers.Passwords == config.DefaultUsersSharding,
		MinPasswordLength: settings.PasswordMinLength,
		Log:               log.WithName("default-users"),
	}
	if settings.DefaultUsers.TakeOver && accounts.database != nil { // the sharding manager inserts nothing into memory
		options.Beginning = accounts.database.Beginning
	}
	err := mgr.Add(defaultusers.New(cache.ForSystem(mgr.GetAPIReader(), settings.System), mgr.GetClient(), accounts, options))
	if err != nil {
		return fmt.Errorf("add the default users: %w", err)
	}
	return nil
}
