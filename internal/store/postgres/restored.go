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
	tables  [5]int64 // the numbers of users and of the operator's own; 0 for one that does not exist
	version int64
}

// lookAtIdentity reads the catalog only.
var lookAtIdentity = func() string {
	var columns []string
	for _, table := range []string{"users", schema.Ownership, schema.Attempts, schema.Merges, schema.Probes} {
		columns = append(columns, "COALESCE(pg_catalog.to_regclass('"+table+"')::oid::bigint, 0::bigint)")
	}
	return "SELECT " + strings.Join(columns, ", ")
}()

// keepNoticingRestores has the schema and the table inspected, and every account read again, when the tables are others than
// before, until ctx ends.
func (s *Store) keepNoticingRestores(ctx context.Context) {
	if s.Tried(ctx) != nil {
		return
	}
	var known tableIdentity
	for ticker := time.NewTicker(s.timing.compare); ; {
		if current, err := s.identifyTables(ctx); err == nil {
			if known != (tableIdentity{}) && current != known {
				s.noticeRestore(known, current)
			}
			known = current
		}
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
	}
}

func (s *Store) identifyTables(ctx context.Context) (identity tableIdentity, err error) {
	limited, cancel := context.WithTimeout(ctx, s.timing.look)
	defer cancel()
	t := &identity.tables
	if err := s.ask(limited, lookAtIdentity, &t[0], &t[1], &t[2], &t[3], &t[4]); err != nil {
		return identity, err
	}
	identity.version, err = s.schemaVersion(limited)
	return identity, err
}

// noticeRestore causes what a restore makes necessary. Migrate creates what is missing, and logs that.
func (s *Store) noticeRestore(before, after tableIdentity) {
	latest, _ := latestMigration() // it was read at the start
	s.settings.Log.Info("The tables were replaced, as by a restore; checking the schema, the trigger and every account",
		slog.Group("version", "before", before.version, "now", after.version, "ofThisOperator", latest))
	wake(s.missing)
	wake(s.inspectable)
	s.health.announce()
}
