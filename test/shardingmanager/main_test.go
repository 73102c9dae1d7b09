// SPDX-License-Identifier: Apache-2.0

package shardingmanager_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/test/shardingmanager"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// An installation is a database in which the sharding manager has its own role.
type installation struct {
	t         *testing.T
	admin     string
	db        *pgxpool.Pool // an administrator's
	dsn, role string        // the manager's
}

func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{t: t, admin: testenv.Database(t)}
	i.dsn = testenv.Role(t, i.admin)
	config, err := pgx.ParseConfig(i.dsn)
	if err != nil {
		t.Fatal(err)
	}
	i.role = config.User
	if i.db, err = pgxpool.New(t.Context(), i.admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.db.Close)
	return i
}

// theirs returns an installation where the manager may create its table.
func theirs(t *testing.T) *installation {
	t.Helper()
	i := install(t)
	i.sql("GRANT CREATE ON SCHEMA public TO " + i.role)
	return i
}

// other creates another role.
func (i *installation) other() string {
	i.t.Helper()
	config, err := pgx.ParseConfig(testenv.Role(i.t, i.admin))
	if err != nil {
		i.t.Fatal(err)
	}
	return config.User
}

// sql runs statements. $role is the manager's role, $other another one.
func (i *installation) sql(statements string) {
	i.t.Helper()
	statements = strings.ReplaceAll(statements, "$role", i.role)
	if strings.Contains(statements, "$other") {
		statements = strings.ReplaceAll(statements, "$other", i.other())
	}
	if _, err := i.db.Exec(i.t.Context(), statements); err != nil {
		i.t.Fatalf("%s: %v", statements, err)
	}
}

// ask scans the only row of a query.
func ask[T any](i *installation, sql string) (value T) {
	i.t.Helper()
	if err := i.db.QueryRow(i.t.Context(), sql).Scan(&value); err != nil {
		i.t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func (i *installation) start(o shardingmanager.Options) *manager {
	i.t.Helper()
	o.DSN = i.dsn
	started, err := shardingmanager.Start(i.t.Context(), o)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() {
		if err := started.Stop(); err != nil {
			i.t.Error(err)
		}
	})
	return &manager{started, i.t}
}

type manager struct {
	*shardingmanager.Manager
	t *testing.T
}

// logsIn reports whether a password is accepted.
func (m *manager) logsIn(username, password string) bool {
	m.t.Helper()
	answer, err := m.LogIn(m.t.Context(), username, password)
	if err != nil {
		m.t.Fatal(err)
	}
	if answer.Status != http.StatusOK && answer.Status != http.StatusUnauthorized {
		m.t.Errorf("it answers %+v", answer)
	}
	return answer.Status == http.StatusOK
}

const right = "correct horse battery staple"

// add inserts an active account whose password is right.
func (i *installation) add(username string, cost int) {
	i.t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(right), cost)
	if err != nil {
		i.t.Fatal(err)
	}
	_, err = i.db.Exec(i.t.Context(), `INSERT INTO users (username, password_hash, roles) VALUES ($1, $2, '["viewer"]')`, username, string(hash))
	if err != nil {
		i.t.Fatal(err)
	}
}
