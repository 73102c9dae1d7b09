// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/IBM/pgxpoolprometheus"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/controller/declared"
	"github.com/sharding-system/shardinguser-operator/internal/controller/defaultusers"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/dsn"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/tracing"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// accounts is the store in Postgres or in memory, by its interfaces.
type accounts struct {
	rows.Batches
	rows.Watcher
	defaultusers.Store
	orphans.Records
	login.Attempts
	login.Trail
	login.ChangeTrail

	database *postgres.Store // of the reconciler; nil without a database, when memory is set
	memory   *memory.Store
	logins   *postgres.Store // of the login side: the same, unless logins have their own role
	close    func()
}

// Health returns the health of the reconciler's store. A store in memory is always healthy.
func (a accounts) Health() store.Health {
	if a.database == nil {
		return store.Health{}
	}
	return a.database.Health()
}

// trail returns the audit trail. The role of logins may not read all of it.
func (a accounts) trail() audit.Source {
	if a.database == nil {
		return a.memory
	}
	return a.database
}

// explain returns a function that asks the database why a row cannot be written, or nil without a database.
func (a accounts) explain() func(ctx context.Context, fields []user.Field) string {
	if a.database == nil {
		return nil
	}
	return a.database.Explain
}

// databases returns the open stores in Postgres, without duplicates.
func (a accounts) databases() []*postgres.Store {
	switch a.logins {
	case nil:
		return nil
	case a.database:
		return []*postgres.Store{a.database}
	}
	return []*postgres.Store{a.database, a.logins}
}

// up reports whether the database is available to all configured roles.
func (a accounts) up() bool {
	return !slices.ContainsFunc(a.databases(), func(s *postgres.Store) bool { return !s.Health().Up() })
}

// notifying reports whether no store has to poll.
func (a accounts) notifying() bool {
	return a.logins.Health().Notified && (a.database == a.logins || !a.database.Health().Polling())
}

// restore adds the restore of a store in memory from the resources of the cluster, on the leader. Restored waits for its end;
// with a database, it waits for the first attempt to create the tables.
func (a accounts) restore(mgr ctrl.Manager, clusterAccounts *declared.ClusterAccounts) (restored part, err error) {
	if a.database != nil {
		return a.database.Tried, nil
	}
	restore := declared.NewRestore(clusterAccounts, a.memory)
	if err := mgr.Add(restore); err != nil {
		return nil, fmt.Errorf("add the restore of the accounts: %w", err)
	}
	return restore.Wait, nil
}

// openStore opens the store in Postgres, or the one in memory if no database is configured, and registers its metrics.
func openStore(settings config.Settings, registry prometheus.Registerer, log logr.Logger) (accounts, error) {
	if !settings.Database.Configured() {
		slog.New(logr.ToSlogHandler(log)).Warn("No database is configured: accounts are kept in memory and are lost on restart; " +
			"set a DSN by --user-database-dsn-file or USER_DATABASE_DSN")
		s := memory.New(time.Now)
		s.OnChange(logChange(log))
		no := func() bool { return false }
		err := errors.Join(registerStoreMetrics(registry, true, no, no), registerFindings(registry, accounts{}))
		return accounts{
			Batches: s, Watcher: s, Store: s, Records: s, Attempts: s, Trail: s, ChangeTrail: s, memory: s, close: func() {},
		}, err
	}

	database, logins, err := openDatabase(settings, log)
	if err != nil {
		return accounts{}, fmt.Errorf("open the database: %w", err)
	}
	a := accounts{
		Batches: database, Watcher: database, Store: database, Records: database, ChangeTrail: database, database: database,
		Attempts: logins, Trail: logins, logins: logins,
	}
	a.close = func() {
		for _, s := range a.databases() {
			s.Close()
		}
	}
	return a, errors.Join(registerStoreMetrics(registry, false, a.up, a.notifying), registerPools(registry, a),
		registerFindings(registry, a))
}

// openDatabase opens one store, or two with separate pools and roles if logins have their own DSN. Both use the DSN for
// listening if there is one, since listening needs no privileges.
func openDatabase(settings config.Settings, log logr.Logger) (controller, logins *postgres.Store, err error) {
	d := settings.Database
	var listen postgres.DSNSource
	if d.ListenDSNFile != "" {
		listen = plain(d.CurrentListenDSN)
	}
	common := postgres.Settings{
		DSN:              plain(d.CurrentDSN),
		ListenDSN:        listen,
		MaxConns:         d.MaxConnections,
		MinIdleConns:     idle(d.IdleConnections),
		MaxConnLifetime:  d.ConnectionLifetime,
		MaxConnIdleTime:  d.ConnectionIdleTime,
		StatementTimeout: d.Timeout,
		ResyncInterval:   settings.ResyncInterval,
		PollInterval:     settings.PollInterval,
		NoNotifications:  !settings.Notifications,
		Changed:          logChange(log),
		Log:              slog.New(logr.ToSlogHandler(log.WithName("database"))),
	}
	if settings.Tracing {
		common.Tracer = tracing.Statements()
	}
	log.Info("Using the database", "dsn", d.DSN.String())
	if d.LoginDSNFile == "" {
		s, err := postgres.Open(common)
		return s, s, err
	}
	own, err := d.CurrentLoginDSN()
	if err != nil {
		return nil, nil, err
	}
	log.Info("Using the database for logins", "dsn", own.String())
	ours, theirs := common, common
	ours.Role = postgres.RoleController
	if controller, err = postgres.Open(ours); err != nil {
		return nil, nil, err
	}
	theirs.Role, theirs.Peer = postgres.RoleLogin, controller
	theirs.DSN = plain(d.CurrentLoginDSN)
	theirs.MaxConns = d.LoginMaxConnections
	theirs.Log = slog.New(logr.ToSlogHandler(log.WithName("database").WithName("login")))
	if logins, err = postgres.Open(theirs); err != nil {
		controller.Close()
		return nil, nil, err
	}
	return controller, logins, nil
}

// registerPools registers the metrics of the pools. They have a label only if there are two.
func registerPools(registry prometheus.Registerer, a accounts) error {
	if a.logins == a.database {
		return registry.Register(pgxpoolprometheus.NewCollector(a.database.Pool(), nil))
	}
	var errs []error
	for role, s := range map[string]*postgres.Store{"controller": a.database, "login": a.logins} {
		errs = append(errs, registry.Register(pgxpoolprometheus.NewCollector(s.Pool(), map[string]string{"role": role})))
	}
	return errors.Join(errs...)
}

// logChange returns a function that logs a recorded change, for programs that collect logs. A record has printable texts and no hash.
func logChange(log logr.Logger) func(store.AccountChange) {
	log = log.WithName("changes")
	return func(c store.AccountChange) {
		log.Info("Recorded a change of an account",
			"id", c.ID, "action", c.Action, "username", c.Username, "oldRoles", c.OldRoles, "newRoles", c.NewRoles,
			"oldActive", c.OldActive, "newActive", c.NewActive, "passwordChanged", c.PasswordChanged,
			"cluster", c.Owner.Cluster, "system", c.Owner.System, "shardinguser", c.Owner.String(), "uid", c.Owner.UID,
			"generation", c.Generation, "manager", c.Manager, "reason", c.Reason)
	}
}

// plain returns a source of DSNs with their passwords, which only the driver may see.
func plain(current func() (dsn.DSN, error)) postgres.DSNSource {
	return func() (string, error) {
		text, err := current()
		return string(text), err
	}
}

// idle returns a number of idle connections for the store, where zero means the default and a negative number means none.
func idle(connections int) int {
	if connections == 0 {
		return -1
	}
	return connections
}

// registerStoreMetrics registers the metrics of the kind and the state of the store.
func registerStoreMetrics(registry prometheus.Registerer, inMemory bool, up, notifying func() bool) error {
	gauge := func(name, help string, holds func() bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if holds() {
				return 1
			}
			return 0
		})
	}
	return errors.Join(
		registry.Register(gauge("shardinguser_in_memory_store",
			"1 if no database is configured and accounts are kept in memory.", func() bool { return inMemory })),
		registry.Register(gauge("shardinguser_database_up",
			"1 while the database is available and writable for each configured role.", up)),
		registry.Register(gauge("shardinguser_notifications_active",
			"1 while this replica receives notifications of changed rows; 0 if it polls or does not need them.", notifying)),
	)
}
