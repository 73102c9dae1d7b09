// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestAnUnprovedOutageCausesACheckAndNoMore(t *testing.T) {
	t.Parallel()
	s := open(t, quick("postgres://u@h/db"))
	for name, err := range map[string]error{
		"a call that took too long":    context.DeadlineExceeded,
		"a statement that was ended":   &pgconn.PgError{Code: "57014"},
		"a lock that was not to get":   &pgconn.PgError{Code: "55P03"},
		"a session that was ended":     &pgconn.PgError{Code: "57P01"},
		"a connection that broke":      &pgconn.PgError{Code: "08006"},
		"too many connections":         &pgconn.PgError{Code: "53300"},
		"a pool that has no more":      &unsentError{errBusy},
		"a row that is not taken":      &pgconn.PgError{Code: "23514"},
		"a write that is refused":      &pgconn.PgError{Code: "42501"},
		"a disk that is full":          &pgconn.PgError{Code: "53100"},
		"a table that changed":         &pgconn.PgError{Code: "0A000"},
		"a database that only reads":   &pgconn.PgError{Code: "25006"},
		"a table that is not there":    &pgconn.PgError{Code: "42P01"},
		"a pooler that mixes up names": &pgconn.PgError{Code: "26000"},
	} {
		for _, access := range []access{asks, reads, writes} {
			_ = s.failure(t.Context(), err, access, time.Second)
			if s.Health().Unavailable {
				t.Fatalf("%s, access %d: it is unavailable", name, access)
			}
		}
	}
}

func TestADatabaseThatRejectsWritesIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	_, database := names(t, dsn)
	admin := connect(t, testenv.Server(t).DSN())
	run(t, admin, "ALTER DATABASE "+database+" SET default_transaction_read_only = on")
	s.Pool().Reset()
	eventually(t, "it is unavailable", isUnavailable(s))
	run(t, admin, "ALTER DATABASE "+database+" RESET default_transaction_read_only")
	eventually(t, "it is back", func() bool { return !s.Health().Unavailable })
	charge(t, s, "alice")
}

func TestADatabaseThatRefusesLoginsIsUnavailableUntilItRecovers(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, plainTable)
	run(t, pool, insertActive, "alice")
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	run(t, pool, "GRANT SELECT, INSERT, UPDATE, DELETE ON users TO "+role)
	s := ready(t, quick(dsn))
	charge(t, s, "alice")

	run(t, pool, "REVOKE UPDATE ON users FROM "+role)
	if err := chargeFails(t, s, "alice"); unsent(t, err) {
		t.Errorf("it is said to be unsent: %v", err)
	}
	eventually(t, "it is unavailable", isUnavailable(s))
	run(t, pool, "GRANT UPDATE ON users TO "+role)
	eventually(t, "it is back", func() bool { return !s.Health().Unavailable })
	charge(t, s, "alice")

	run(t, pool, "REVOKE SELECT ON users FROM "+role)
	eventually(t, "it is unavailable", isUnavailable(s))
	run(t, pool, "GRANT SELECT ON users TO "+role)
	eventually(t, "it is back", func() bool { return !s.Health().Unavailable })

	// A missing table that logins do not need is no reason.
	run(t, pool, "REVOKE INSERT ON users FROM "+role)
	away := awayMeanwhile(s, func() {
		for range 20 {
			expectUnavailable(t, applied(t, s, creation("bob")), "GRANT")
			backoff.Pause(t.Context(), 10*time.Millisecond)
		}
	})
	if away || s.Health().Up() {
		t.Errorf("away is %t, and up is %t", away, s.Health().Up())
	}
	charge(t, s, "alice")
}

func TestATableThatLoginsDoNotNeedMakesNoDatabaseUnavailable(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, _ := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	var log logged
	settings := quick(dsn)
	settings.Log = log.logger()
	s := ready(t, settings)
	away := awayMeanwhile(s, func() {
		run(t, pool, "REVOKE ALL ON shardinguser_merges FROM "+role)
		eventually(t, "it says that a right is missing", func() bool {
			return !s.Health().Up() && strings.Contains(log.String(), `ON TABLE \"shardinguser_merges\" TO`)
		})
		expectUnavailable(t, s.Merge(t.Context(), failures("1", "alice"), usual), "shardinguser_merges")
		charge(t, s, "alice")

		run(t, pool, "REVOKE CREATE ON SCHEMA public FROM "+role)
		run(t, pool, "DROP TABLE shardinguser_merges")
		eventually(t, "it says that a right is missing", func() bool {
			return strings.Contains(log.String(), "may not create the operator's tables")
		})
		charge(t, s, "alice")
	})
	if away {
		t.Error("it was unavailable meanwhile")
	}
	run(t, pool, "GRANT CREATE ON SCHEMA public TO "+role)
	eventually(t, "it can merge", func() bool { return s.Merge(t.Context(), failures("1", "alice"), usual) == nil })
	eventually(t, "it is up", up(s))
}
