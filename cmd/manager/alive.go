// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
)

const (
	// aliveInterval lets a sign of life survive three failed writes.
	aliveInterval = store.AliveFor / 4

	// aliveRetry is the time until a failed one is tried again, for example until the tables exist.
	aliveRetry = 2 * time.Second

	// stopTimeout limits the last write, which the end of the process waits for.
	stopTimeout = 2 * time.Second
)

// addSignOfLife has the leader record in the database that it runs. `kubectl shardinguser transfer` takes no account of another
// cluster whose operator is alive.
func addSignOfLife(mgr ctrl.Manager, accounts accounts, cluster *cluster, settings config.Settings, log logr.Logger) error {
	if accounts.database == nil {
		return nil
	}
	err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		uid, err := cluster.UID(ctx)
		if err != nil {
			return nil //nolint:nilerr // the manager ends
		}
		keepAlive(ctx, accounts.database, store.Scope{Cluster: uid, System: settings.System}, log)
		return nil
	}))
	if err != nil {
		return fmt.Errorf("add the sign of life: %w", err)
	}
	return nil
}

// keepAlive records that an operator of this scope runs, until ctx ends.
func keepAlive(ctx context.Context, database *postgres.Store, scope store.Scope, log logr.Logger) {
	process := rand.Text()
	for {
		wait := aliveInterval
		if err := database.MarkAlive(ctx, scope, process); err != nil && ctx.Err() == nil {
			log.V(1).Info("Cannot record in the database that the operator runs", "reason", err.Error()) // the health reports it
			wait = aliveRetry
		}
		if !backoff.Pause(ctx, wait) {
			break
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := database.MarkStopped(ending, scope, process); err != nil {
		log.V(1).Info("Cannot record in the database that the operator stopped", "reason", err.Error())
	}
}
