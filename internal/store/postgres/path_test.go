// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestEverySessionHasPgTempLastWhateverTheDSNAndTheRoleSay(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	dsn := testenv.Role(t, admin)
	role, database := names(t, dsn)
	pool := connect(t, admin)
	run(t, pool, "CREATE SCHEMA accounts")
	run(t, pool, "ALTER DATABASE "+database+" SET search_path = pg_temp, public")
	run(t, pool, "ALTER ROLE "+role+" SET search_path = pg_temp, public, pg_catalog")
	for parameter, want := range map[string]string{
		"":                             "public, pg_temp",
		"search_path=pg_temp,accounts": "accounts, pg_temp",
		"Search_Path=pg_temp,accounts": "accounts, pg_temp",
		"options=-c%20search_path%3Dpg_temp,accounts,pg_catalog":      "accounts, pg_temp",
		"options=--search-path%3Dpg_temp,accounts":                    "accounts, pg_temp",
		"search_path=accounts,public&options=-csearch_path%3Dpg_temp": "accounts, public, pg_temp",
	} {
		s := open(t, quick(with(dsn, parameter)))
		var got string
		if err := s.ask(t.Context(), "SHOW search_path", &got); err != nil || got != want {
			t.Errorf("%q: the pool's session has %q, %v, want %q", parameter, got, err, want)
		}
		config, err := connConfig(s.settings.DSN)
		if err != nil {
			t.Fatal(err)
		}
		direct, err := s.dial(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := direct.QueryRow(t.Context(), "SHOW search_path").Scan(&got); err != nil || got != want {
			t.Errorf("%q: a probe's session has %q, %v, want %q", parameter, got, err, want)
		}
		hangUp(t.Context(), direct.raw)
	}
}

// The pooler may set a path, and the one of the role may lead to the table users of another program.
func TestThePathBehindAPoolerLeadsToTheOperatorsTables(t *testing.T) {
	t.Parallel()
	admin := testenv.Database(t)
	run(t, connect(t, admin), "CREATE SCHEMA accounts; CREATE SCHEMA empty; "+plainTable)
	config, err := connConfig(fixed(admin))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(context.WithoutCancel(t.Context()), conn) })
	leads := func(ofSession, role, want string) {
		t.Helper()
		if path, err := session.RolesPath(t.Context(), conn.PgConn(), ofSession, role); err != nil || path != want {
			t.Errorf("of the session's path %q and the role's %q it takes %q, want %q, %v", ofSession, role, path, want, err)
		}
	}
	leads("empty", "public", "public, pg_temp")
	leads("public", "empty", "public, pg_temp")
	leads("empty", "accounts", "accounts, pg_temp")
	migrated(t, with(admin, "search_path=accounts"))
	leads("accounts", "public", "accounts, pg_temp")
	leads("public", "accounts", "accounts, pg_temp")
	migrated(t, admin)
	leads("accounts", "public", "public, pg_temp")
}
