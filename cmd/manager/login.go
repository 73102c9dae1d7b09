// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// addLogin adds the log-in side: it serves on every replica, whether or not it leads, unless it is turned off. Without a
// database each replica has a store of its own, and only the leader's is filled: then the leader alone serves, once it is.
// What is on record of attempts is kept short in any case.
func addLogin(
	mgr ctrl.Manager, accounts accounts, hasher *password.Hasher, settings config.Settings, registry prometheus.Registerer, logger logr.Logger,
) error {
	log := slog.New(logr.ToSlogHandler(logger.WithName("login")))
	retention := login.Retention{Trail: accounts, Keep: settings.Login.AuditRetention, Log: log}
	if err := mgr.Add(everyReplica(retention.Run)); err != nil {
		return fmt.Errorf("add the retention of log-in attempts: %w", err)
	}
	if !settings.Login.Enabled() {
		return nil
	}

	options := login.Options{
		Attempts:     accounts,
		Accounts:     accounts,
		Hasher:       hasher,
		Limits:       store.Limits{Attempts: settings.Login.LockoutAttempts, Duration: settings.Login.LockoutDuration},
		RecognizeFor: settings.Login.VerifyCacheTTL,
		SourceRate:   settings.Login.SourceRate,
		SourceBurst:  settings.Login.SourceBurst,
		Registry:     registry,
		Log:          log,
		Now:          time.Now,
	}
	if file := settings.Login.JWTSecretFile; file != "" {
		tokens, err := login.NewTokens(file, time.Now, log)
		if err != nil {
			return err
		}
		options.Tokens = tokens
	}
	service, err := login.New(options)
	if err != nil {
		return fmt.Errorf("build the log-in service: %w", err)
	}
	server, err := login.NewServer(service, login.ServerOptions{
		Address:        settings.Login.BindAddress,
		CertDir:        settings.Login.TLSCertDir,
		TrustedProxies: settings.Login.TrustedProxies,
		Drain:          settings.GracefulShutdownTimeout / 2, // the rest is for what is then still to be settled
	})
	if err != nil {
		return fmt.Errorf("build the log-in server: %w", err)
	}
	var serve manager.Runnable = everyReplica(server.Run)
	if accounts.restored != nil {
		serve = manager.RunnableFunc(func(ctx context.Context) error { // of the leader's kind
			if accounts.restored(ctx) != nil {
				return nil //nolint:nilerr // the manager ends
			}
			return server.Run(ctx)
		})
	}
	if err := mgr.Add(serve); err != nil {
		return fmt.Errorf("add the log-in server: %w", err)
	}
	return nil
}
