// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	versionTable = "shardinguser_migrations"

	// migrationLock is the advisory lock of migrations, drawn by lot.
	migrationLock int64 = 7263881540917334

	// migrationTimeout is how long one attempt may take, the wait for another replica's included.
	migrationTimeout = 2 * time.Minute
)

// Migrate makes what is missing of the schema, once; [Store.Maintain] calls it until it succeeds. A schema that is
// complete needs no right to create anything. Of several replicas one migrates, and the others wait. Its errors are
// package store's sentinels and the context's.
//
// It also sees to the trigger. That one may be missing: changes are then found by polling.
func (s *Store) Migrate(ctx context.Context) error {
	err := s.call(ctx, writes, migrationTimeout, s.migrate)
	s.mu.Lock()
	s.notMigrated = nil
	_ = errors.As(err, &s.notMigrated)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := s.ensureTrigger(ctx); err != nil {
		return err
	}
	s.migratedOnce.Do(func() { close(s.migrated) })
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	current, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	latest, err := latestMigration()
	if err != nil || current >= latest {
		return err // a newer schema than ours is one that a newer operator made, and still fits
	}
	if err := s.mayCreate(ctx); err != nil {
		return err
	}

	config, err := connConfig(s.settings.ListenDSN)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open the migrations: %w", err)
	}
	// The lock is looked at every second, for as long as the context lasts.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock),
		lock.WithLockTimeout(1, uint64(migrationTimeout/time.Second)), lock.WithUnlockTimeout(1, 3))
	if err != nil {
		return fmt.Errorf("make the migrations' lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(versionTable),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	_, err = provider.Up(ctx)
	return err
}

// schemaVersion is the number of the last migration that was made; 0 where there is none.
func (s *Store) schemaVersion(ctx context.Context) (int64, error) {
	var version int64
	err := s.pool.QueryRow(ctx, "SELECT COALESCE(max(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && refusal.Code == codeUndefinedTable {
		return 0, nil
	}
	return version, err
}

// latestMigration is the number of the newest migration that we know.
func latestMigration() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("find the migrations: %w", errors.Join(err, fs.ErrNotExist))
	}
	return goose.NumericComponent(files[len(files)-1])
}

// mayCreate looks whether the role may make tables, to name the GRANT that is missing before anything is tried.
func (s *Store) mayCreate(ctx context.Context) error {
	var (
		role   string
		schema *string
		may    *bool
	)
	err := s.pool.QueryRow(ctx, `
SELECT current_user, current_schema(), has_schema_privilege(current_schema(), 'CREATE')`).Scan(&role, &schema, &may)
	switch {
	case err != nil:
		return err
	case schema == nil || may == nil:
		return &store.UnavailableError{Sentence: "The first schema of the search_path does not exist, or the role may not use " +
			"it; create it, or name another one by search_path in the DSN."}
	case !*may:
		return &store.UnavailableError{Sentence: missingCreate(*schema, role)}
	}
	return nil
}
