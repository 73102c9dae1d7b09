// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// atVersion returns a database as an operator of an earlier version had it, with one account and its ownership record.
func atVersion(t *testing.T, version int64) (dsn string) {
	t.Helper()
	dsn = testenv.Database(t)
	config, err := connConfig(fixed(dsn))
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	files, err := fs.Sub(schema.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(schema.Versions), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, dsn)
	run(t, pool, insert, "restored")
	run(t, pool, `INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
		password_version, password_hash, password_weak, unlock_handled)
		VALUES ('restored', 'cluster', 'team-a', 'restored', 'uid', 'owned', 1, 'Delete', '', '', false, '')`)
	return dsn
}

// dumped dumps a database.
func dumped(t *testing.T, dsn string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "dump")
	if err := testenv.Dump(t.Context(), dsn, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// restore restores a dump as docs/backup-and-restore.md says.
func restore(t *testing.T, dsn, file string, args ...string) {
	t.Helper()
	if err := testenv.Restore(t.Context(), dsn, file, append(args, "--clean", "--if-exists", "--single-transaction")...); err != nil {
		t.Fatal(err)
	}
}

// noticing is a maintained store at this database, whose log is kept. It looks for restores more often than usual.
func noticing(t *testing.T, dsn string) (*Store, *logged) {
	t.Helper()
	log := &logged{}
	settings := quick(dsn)
	settings.Log = log.logger()
	settings.CheckInterval = time.Hour // nobody calls, and no check is due
	s := open(t, settings)
	s.timing.compare = 100 * time.Millisecond
	background(t, func(ctx context.Context) {
		if err := s.Maintain(ctx); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the schema is complete", func() bool {
		select {
		case <-s.migrated:
			return true
		default:
			return false
		}
	})
	return s, log
}

func says(log *logged, text string) func() bool {
	return func() bool { return strings.Contains(log.String(), text) }
}

func TestARestoredDumpOfAnEarlierVersionIsMigrated(t *testing.T) {
	t.Parallel()
	latest, err := latestMigration()
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(schema.Migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			t.Fatal(err)
		}
		if version == latest {
			continue
		}
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			dump := dumped(t, atVersion(t, version))
			dsn := databaseWithSchema(t)
			s, log := noticing(t, dsn)
			watch(t, s)
			eventually(t, "the store is notifying", notified(s))
			restore(t, dsn, dump)
			eventually(t, "it says what it found", says(log, fmt.Sprintf("version.now=%d version.ofThisOperator=%d", version, latest)))
			eventually(t, "it says that it migrated", says(log, "Created the missing parts of the database schema"))
			eventually(t, "the account can be read", func() bool {
				o, err := s.Observe(t.Context(), "restored")
				return err == nil && o.Row != nil && o.Ownership != nil
			})
			pool := connect(t, dsn)
			eventually(t, "the triggers are there", func() bool { return countTriggers(t, pool) == schema.TriggerCount })
			eventually(t, "the store is up and notifying", func() bool { return s.Health().Up() && s.Health().Notified })
		})
	}
}

func TestARestoredDumpOfANewerVersionIsReported(t *testing.T) {
	t.Parallel()
	source := databaseWithSchema(t)
	pool := connect(t, source)
	run(t, pool, "ALTER TABLE shardinguser_ownership ADD COLUMN of_tomorrow TEXT")
	run(t, pool, "INSERT INTO shardinguser_migrations (version_id, is_applied) VALUES (99, true)")
	run(t, pool, insert, "restored")
	dump := dumped(t, source)
	dsn := databaseWithSchema(t)
	s, log := noticing(t, dsn)
	restore(t, dsn, dump)
	eventually(t, "it has a finding", func() bool {
		return slices.ContainsFunc(s.Health().Findings, func(f store.Finding) bool {
			return f.Kind == store.FindingSchemaVersion && strings.Contains(f.Consequence, "a newer operator uses the database too")
		})
	})
	eventually(t, "it logs it", says(log, "kind=schema-version"))
	if o, err := s.Observe(t.Context(), "restored"); err != nil || o.Row == nil {
		t.Errorf("observed %+v, %v", o, err)
	}
}

func TestRestoredTablesWithoutATriggerGetIt(t *testing.T) {
	t.Parallel()
	source := databaseWithSchema(t)
	ready(t, quick(source))
	pool := connect(t, source)
	eventually(t, "the triggers are there", func() bool { return countTriggers(t, pool) == schema.TriggerCount })
	run(t, pool, "DROP FUNCTION "+schema.TriggerFunction+" CASCADE")
	run(t, pool, insert, "restored")
	dump := dumped(t, source)

	dsn := databaseWithSchema(t)
	s, log := noticing(t, dsn)
	w := watch(t, s)
	eventually(t, "the store is notifying", notified(s))
	restore(t, dsn, dump)
	eventually(t, "it says that the tables were replaced", says(log, "The tables were replaced"))
	w.told(t, "restored")
	eventually(t, "it says that it created the triggers", says(log, "Created the triggers on the table users"))
	target := connect(t, dsn)
	if n := countTriggers(t, target); n != schema.TriggerCount {
		t.Errorf("%d triggers are there", n)
	}
	w.forget()
	run(t, target, insert, "later")
	w.told(t, "later")
}

// As by a dump of the table users alone, into a new database.
func TestMissingBookKeepingTablesAreCreated(t *testing.T) {
	t.Parallel()
	for name, tables := range map[string]string{
		"all":                  "shardinguser_ownership, shardinguser_merges, shardinguser_probes, shardinguser_familiar, shardinguser_migrations, login_attempts",
		"the ownership":        "shardinguser_ownership",
		"the versions":         "shardinguser_migrations",
		"the record of logins": "login_attempts",
		"what no call needs":   "shardinguser_merges, shardinguser_probes, shardinguser_familiar",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := databaseWithSchema(t)
			s, log := noticing(t, dsn)
			pool := connect(t, dsn)
			run(t, pool, insert, "restored")
			run(t, pool, "DROP TABLE "+tables)
			eventually(t, "it says that it created them", func() bool {
				return says(log, "The tables were replaced")() && says(log, "Created the missing parts of the database schema")()
			})
			eventually(t, "the tables are there", func() bool { return value[bool](t, pool, tablesThere) })
			if o, err := s.Observe(t.Context(), "restored"); err != nil || o.Row == nil {
				t.Errorf("observed %+v, %v", o, err)
			}
		})
	}
}
