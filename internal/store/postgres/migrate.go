// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

const (
	// migrationLock is the advisory lock of migrations, a random number.
	migrationLock int64 = 7263881540917334

	// migrationTimeout is how long one attempt may take, including the wait for another replica.
	migrationTimeout = 2 * time.Minute
)

// Migrate creates what is missing of the schema. [Store.Maintain] calls it until it succeeds, and again when a table is gone.
// A complete schema needs no right to create. Of several replicas one migrates, and the others wait. Its errors are package
// store's sentinels and those of the context.
//
// It also creates the trigger. Without the right to, changes are found by polling.
//
// As RoleLogin it creates nothing, and fails until everything exists.
func (s *Store) Migrate(ctx context.Context) error {
	var made bool
	err := s.call(ctx, asks, migrationTimeout, func(ctx context.Context) error {
		var err error
		if !s.settings.Role.makesSchema() {
			return s.findSchema(ctx)
		}
		made, err = s.migrate(ctx)
		return err
	})
	var notMigrated *store.UnavailableError
	if errors.As(err, &notMigrated) {
		if k := s.classify(notMigrated.Err, asks, migrationTimeout).kind; k == unavailable || k == doubtful {
			notMigrated = nil // that does not explain missing tables
		}
	}
	s.mu.Lock()
	s.notMigrated = notMigrated
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if made {
		s.settings.Log.Info("Created the missing parts of the database schema")
		s.health.whole()
		s.health.succeeded(writes)
	}
	if _, err := s.arrangeTrigger(ctx); err != nil {
		return err
	}
	s.migratedOnce.Do(func() {
		s.compareTables(ctx) // from now on, others are noticed
		s.settings.Log.Info("The database schema is complete")
		close(s.migrated)
	})
	return nil
}

// migrate reports whether something was missing.
func (s *Store) migrate(ctx context.Context) (made bool, err error) {
	var there bool
	if err := s.ask(ctx, tablesThere, &there); err != nil {
		return false, err
	}
	current, err := s.schemaVersion(ctx)
	if err != nil {
		return false, err
	}
	latest, err := latestMigration()
	if err != nil || (there && current >= latest) {
		return false, err // a newer operator created a newer schema, which still fits
	}
	if err := s.mayCreate(ctx); err != nil {
		return false, err
	}
	if !there && current >= latest {
		if err := s.rerun(ctx); err != nil {
			return false, err
		}
	}
	return s.runMigrations(ctx)
}

// findSchema fails if something is missing, which another role creates. It waits a moment for that, since both start on an empty
// database at once.
func (s *Store) findSchema(ctx context.Context) error {
	if s.settings.Peer != nil {
		limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
		defer cancel()
		_ = s.settings.Peer.Tried(limited)
	}
	var there bool
	if err := s.ask(ctx, tablesThere, &there); err != nil {
		return err
	}
	current, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	latest, err := latestMigration()
	if err != nil || (there && current >= latest) {
		return err
	}
	var schema *string
	if err := s.ask(ctx, "SELECT "+firstOfPath, &schema); err != nil {
		return err
	}
	sentence := "The tables of this version do not exist yet, or not in the schema of its search_path; the controller's role or an " +
		"administrator creates them, and config/database/roles.sql has to run after that."
	if schema == nil {
		sentence = missingSchema
	}
	return &store.UnavailableError{Sentence: sentence, Err: &pgconn.PgError{Code: codeUndefinedTable}}
}

// missingSchema is the sentence for a search_path that leads nowhere.
const missingSchema = "The first schema of the search_path does not exist, or the role may not use it; create it, grant USAGE on " +
	"it, or name another one by search_path in the DSN."

// tablesThere asks whether all tables exist, and whether those of the operator have the columns that migrations added: a single table
// may be restored from an older dump.
const tablesThere = "SELECT pg_catalog.to_regclass('users') IS NOT NULL AND pg_catalog.to_regclass('" + schema.Ownership + "') IS NOT NULL " +
	"AND pg_catalog.to_regclass('" + schema.Changes + "') IS NOT NULL " +
	"AND pg_catalog.to_regclass('" + schema.Attempts + "') IS NOT NULL AND pg_catalog.to_regclass('" + schema.Merges + "') IS NOT NULL " +
	"AND pg_catalog.to_regclass('" + schema.Probes + "') IS NOT NULL AND pg_catalog.to_regclass('" + schema.Familiar + "') IS NOT NULL AND NOT EXISTS (SELECT FROM (VALUES ('" +
	schema.Ownership + "', 'suspended'), ('" + schema.Ownership + "', 'password_judged'), ('" + schema.Ownership + "', 'system'), ('" +
	schema.Ownership + "', 'password_digest'), ('" + schema.Attempts + "', 'attempt_key'), ('" + schema.Attempts + "', 'attempts'), ('" +
	schema.Ownership + "', 'lockout_familiar'), ('" + schema.Attempts + "', 'familiar')) " +
	"AS added (of_table, name) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE NOT a.attisdropped " +
	"AND a.attrelid = pg_catalog.to_regclass(added.of_table)::oid AND a.attname::text = added.name))"

// rerun has the migrations run again, since a table of one of them is gone. It holds their lock: tables that another replica
// creates meanwhile exist afterwards.
func (s *Store) rerun(ctx context.Context) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1::bigint)", migrationLock); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, tablesThere).Scan(&there); err != nil || there {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM "+schema.Versions+" WHERE version_id > 0")
		return err
	})
}

// runMigrations runs the migrations that have not run yet, and reports whether there were any.
func (s *Store) runMigrations(ctx context.Context) (made bool, err error) {
	config, err := connConfig(s.settings.ListenDSN)
	if err != nil {
		return false, err
	}
	// This session has to resolve names as those of the pool do. The session of a pooler that drops the path is not changed: other
	// clients get it next.
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, raw *pgx.Conn) error {
		path, err := session.Settle(ctx, raw.PgConn(), config)
		if err != nil || path.IsDropped || path.Value == config.RuntimeParams["search_path"] {
			return err
		}
		_, err = raw.Exec(ctx, session.SetPath(path.Value, false), pgx.QueryExecModeSimpleProtocol)
		return err
	}))
	defer func() { _ = db.Close() }()
	files, err := fs.Sub(schema.Migrations, "migrations")
	if err != nil {
		return false, fmt.Errorf("open the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(schema.Versions),
		goose.WithSessionLocker(migrationLocker{}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return false, fmt.Errorf("read the migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	return len(results) > 0, err
}

// migrationLocker has one replica migrate after the other. The locker of goose does not qualify the type of the lock's number, so
// a function of the same name in our schema could be called in place of the server's.
type migrationLocker struct{}

// SessionLock waits for the lock until the context ends.
func (migrationLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var isLocked bool
		err := conn.QueryRowContext(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", migrationLock).Scan(&isLocked)
		if err != nil || isLocked {
			return err
		}
		if !backoff.Pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// SessionUnlock releases the lock.
func (migrationLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_catalog.pg_advisory_unlock($1::bigint)", migrationLock)
	return err
}

// schemaVersion returns the number of the last applied migration; 0 where there is none.
func (s *Store) schemaVersion(ctx context.Context) (int64, error) {
	var version int64
	err := s.ask(ctx, "SELECT COALESCE(pg_catalog.max(version_id), 0) FROM "+schema.Versions+" WHERE is_applied", &version)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusal.Code == codeUndefinedTable {
		return 0, nil
	}
	return version, err
}

// latestMigration returns the number of the newest migration of this version.
func latestMigration() (int64, error) {
	files, err := fs.Glob(schema.Migrations, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("find the migrations: %w", errors.Join(err, fs.ErrNotExist))
	}
	return goose.NumericComponent(files[len(files)-1])
}

// firstOfPath is the schema in which tables are created. If no schema of the path exists, the server uses the temporary one.
const firstOfPath = `(SELECT n.nspname::text FROM pg_catalog.pg_namespace n
    WHERE n.nspname = pg_catalog.current_schema() AND n.oid <> pg_catalog.pg_my_temp_schema())`

// mayCreate fails if the role may not create tables, and names the missing GRANT before anything is tried.
func (s *Store) mayCreate(ctx context.Context) error {
	var (
		role   string
		schema *string
		may    *bool
	)
	refusal := &pgconn.PgError{Code: codeMissingRight} // what the server would say
	err := s.ask(ctx, "SELECT CURRENT_USER, "+firstOfPath+", pg_catalog.has_schema_privilege("+firstOfPath+", 'CREATE')",
		&role, &schema, &may)
	switch {
	case err != nil:
		return err
	case schema == nil || may == nil:
		return &store.UnavailableError{Sentence: missingSchema, Err: refusal}
	case !*may:
		return &store.UnavailableError{Sentence: missingCreate(*schema, role), Err: refusal}
	}
	return nil
}
