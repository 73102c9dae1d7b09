// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
)

// A restore beside a running operator may be one transaction that replaces all tables, so no call fails. The tables may then be
// of another version, and have no trigger.

// tableIdentity is what changes when the tables are replaced, or their version.
type tableIdentity struct {
	tables  [7]int64 // the numbers of users and of the operator's own; 0 for one that does not exist
	version int64
}

// lookAtIdentity reads the catalog only.
var lookAtIdentity = func() string {
	var columns []string
	for _, table := range []string{"users", schema.Ownership, schema.Attempts, schema.Changes, schema.Merges, schema.Probes, schema.Familiar} {
		columns = append(columns, "COALESCE(pg_catalog.to_regclass('"+table+"')::oid::bigint, 0::bigint)")
	}
	return "SELECT " + strings.Join(columns, ", ")
}()

// keepNoticingRestores has the schema migrated and the table inspected when the tables are others than before, until ctx ends. The
// next sweep finds the changed accounts.
func (s *Store) keepNoticingRestores(ctx context.Context) {
	if s.Tried(ctx) != nil {
		return
	}
	for ticker := time.NewTicker(s.timing.compare); ; {
		if before, after := s.compareTables(ctx); before != after && before != (tableIdentity{}) {
			s.noticeRestore(before, after)
		}
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
	}
}

// compareTables returns the tables that were known and those that exist, and remembers the latter. Both are the same if the
// database does not answer.
func (s *Store) compareTables(ctx context.Context) (before, after tableIdentity) {
	current, err := s.identifyTables(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.tables
	if err == nil {
		s.tables = current
	}
	return before, s.tables
}

func (s *Store) identifyTables(ctx context.Context) (identity tableIdentity, err error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	t := &identity.tables
	if err := s.ask(limited, lookAtIdentity, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6]); err != nil {
		return identity, err
	}
	identity.version, err = s.schemaVersion(limited)
	return identity, err
}

// noticeRestore causes what a restore makes necessary. Migrate creates what is missing, and logs that.
func (s *Store) noticeRestore(before, after tableIdentity) {
	latest, _ := latestMigration() // it was read at the start
	s.settings.Log.Info("The tables were replaced, as by a restore; checking the schema and the trigger",
		slog.Group("version", "before", before.version, "now", after.version, "ofThisOperator", latest))
	s.splitsBudgets.Store(false)
	wake(s.missing)
	wake(s.inspectable)
	s.health.announce()
}
