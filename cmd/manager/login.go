// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/cache"
	"github.com/sharding-system/shardinguser-operator/internal/store/fallback"
)

// logins is the login side. It runs outside the manager: with a database it needs neither the API server nor the lease, and it
// serves for longer than the manager, which releases the lease at once.
type logins struct {
	server   *login.Server   // nil if the login API is disabled
	fallback *fallback.Store // nil without a database or the login API
	upkeep   []part          // of the store and the caches; it logs its errors
}

// newLogins returns the login side over the store.
func newLogins(
	accounts accounts, declared fallback.Cluster, announce func(context.Context, bool), hasher *password.Hasher, settings config.Settings,
	registry prometheus.Registerer, logger logr.Logger,
) (logins, error) {
	log := slog.New(logr.ToSlogHandler(logger.WithName("login")))
	retention := login.Retention{
		Trail: accounts, Changes: accounts, Keep: settings.Login.AuditRetention, MaxSize: settings.Login.AuditMaxSize, Registry: registry, Log: log,
	}
	if accounts.logins != nil {
		retention.Sized, retention.SizedChanges = accounts.logins, accounts.database
	}
	retention, err := login.NewRetention(retention)
	if err != nil {
		return logins{}, fmt.Errorf("build the retention of login attempts: %w", err)
	}
	l := logins{upkeep: []part{retention.Run}}
	for _, s := range accounts.databases() {
		l.upkeep = append(l.upkeep, s.Maintain)
	}
	if !settings.Login.Enabled() {
		return l, nil
	}
	limits := store.Limits{Attempts: settings.Login.LockoutAttempts, Duration: settings.Login.LockoutDuration}
	options := login.Options{
		Attempts:     accounts,
		Accounts:     accounts,
		Hasher:       hasher,
		Limits:       limits,
		RecognizeFor: settings.Login.VerifyCacheTTL,
		SourceRate:   settings.Login.SourceRate,
		SourceBurst:  settings.Login.SourceBurst,
		Registry:     registry,
		Log:          log,
		Now:          time.Now,
	}
	if accounts.logins != nil {
		cached, err := cache.New(cache.Options{
			Database: accounts.logins,
			Size:     settings.Login.AccountCacheSize,
			Registry: registry,
			Now:      time.Now,
		})
		if err != nil {
			return l, fmt.Errorf("build the account cache: %w", err)
		}
		l.fallback, err = fallback.New(fallback.Options{
			Database:   accounts.logins,
			Cache:      cached,
			Cluster:    declared,
			Limits:     limits,
			Attempts:   settings.Login.FallbackAttempts,
			NoFallback: !settings.Login.Fallback,
			Announce:   announce,
			Registry:   registry,
			Log:        log,
		})
		if err != nil {
			return l, fmt.Errorf("build the fallback: %w", err)
		}
		l.upkeep = append(l.upkeep, cached.Run, l.fallback.Run)
		options.Attempts, options.Accounts = l.fallback, l.fallback
	}
	if options.Tokens, err = newTokens(settings.Login, log); err != nil {
		return l, err
	}
	service, err := login.New(options)
	if err != nil {
		return l, fmt.Errorf("build the login service: %w", err)
	}
	l.server, err = login.NewServer(service, login.ServerOptions{
		Address:        settings.Login.BindAddress,
		CertDir:        settings.Login.TLSCertDir,
		TrustedProxies: settings.Login.TrustedProxies,
		MaxConnections: settings.Login.MaxConnections,
		Traced:         settings.Tracing,
		Delay:          settings.ShutdownDelay,
		// The rest is for the attempts that are not settled by then.
		Drain: (settings.GracefulShutdownTimeout - settings.ShutdownDelay) / 2,
	})
	if err != nil {
		return l, fmt.Errorf("build the login server: %w", err)
	}
	return l, nil
}

// newTokens returns what issues and checks tokens; nil without a signing secret or key.
func newTokens(settings config.Login, log *slog.Logger) (*login.Tokens, error) {
	if settings.JWTSecretFile == "" && settings.JWTSigningKeyFile == "" {
		return nil, nil //nolint:nilnil // There are no tokens then.
	}
	return login.NewTokens(login.TokenOptions{
		Secret:        settings.JWTSecretFile,
		Key:           settings.JWTSigningKeyFile,
		Previous:      settings.JWTPreviousSecretFile,
		PreviousUntil: settings.JWTPreviousSecretUntil,
		Lifetime:      settings.TokenLifetime,
		Issuer:        settings.TokenIssuer,
		Audience:      settings.TokenAudience,
		Now:           time.Now,
		Log:           log,
	})
}

// run serves until ctx ends, from when ready returns. The upkeep ends after the last attempts, which need it.
func (l logins) run(ctx context.Context, ready part) error {
	upkeep, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	for _, run := range l.upkeep {
		parts.Go(func() { _ = run(upkeep) })
	}
	if l.server == nil || ready(ctx) != nil {
		<-ctx.Done()
		return nil
	}
	return l.server.Run(ctx)
}

// readyToServe returns what the login server waits for. Without a database that are the lease and the restore: only the leader
// has the accounts then. The error is that of the context.
func (l logins) readyToServe(elected <-chan struct{}, restored part) part {
	return func(ctx context.Context) error {
		if l.fallback != nil {
			return nil
		}
		select {
		case <-elected:
			return restored(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reconciled returns the store that the reconciler uses.
func (l logins) reconciled(accounts accounts) reconciled {
	if l.fallback == nil {
		return accounts
	}
	return l.fallback.ForReconciler(accounts.database)
}

type reconciled interface {
	rows.Batches
	rows.Watcher
	Health() store.Health
}
