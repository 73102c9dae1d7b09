// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The sentence about a missing right is a statement that grants it, and nothing else.
func TestAMissingRightOfEitherRoleIsNamedWithItsColumns(t *testing.T) {
	t.Parallel()
	observe := func(t *testing.T, s *Store) error {
		t.Helper()
		_, err := s.Observe(t.Context(), "alice")
		return err
	}
	migrate := func(t *testing.T, s *Store) error { t.Helper(); return s.Migrate(t.Context()) }
	charge := func(t *testing.T, s *Store) error {
		t.Helper()
		_, err := s.Charge(t.Context(), attempt("alice"), usual)
		return err
	}
	merge := func(t *testing.T, s *Store) error {
		t.Helper()
		return s.Merge(t.Context(), store.OfflineBatch{ID: t.Name()}, usual)
	}
	rotate := func(t *testing.T, s *Store) error {
		t.Helper()
		o, err := s.Observe(t.Context(), "alice")
		if err != nil {
			return err
		}
		change := creation("alice")
		change.Verb, change.Revision, change.ClearLockout = user.Update, o.Ownership.Revision, true
		change.Password, change.Write = &user.PasswordChange{Hash: "other", Version: "2", New: true}, []user.Field{user.FieldPasswordHash}
		return applied(t, s, change)
	}
	for name, tt := range map[string]struct {
		role   Role
		revoke string // from the role
		do     func(t *testing.T, s *Store) error
	}{
		"the controller's, of users":           {RoleController, "ALL ON users", observe},
		"the controller's, of a column's read": {RoleController, "SELECT (roles) ON users", observe},
		"the controller's, of a column":        {RoleController, "UPDATE (password_hash) ON users", rotate},
		"the controller's, of the lock":        {RoleController, "UPDATE (locked_until) ON users", rotate},
		"the controller's, of its notes":       {RoleController, "UPDATE ON shardinguser_ownership", rotate},
		"the controller's, of the trail":       {RoleController, "ALL ON login_attempts", observe},
		"the controller's, of the changes":     {RoleController, "INSERT (reason) ON account_changes", rotate},
		"the controller's, of the migrations":  {RoleController, "ALL ON shardinguser_migrations", migrate},
		"the controller's, of the schema":      {RoleController, "USAGE ON SCHEMA public", observe},
		"the login role's, of users":           {RoleLogin, "ALL ON users", charge},
		"the login role's, of a column":        {RoleLogin, "UPDATE (locked_until) ON users", charge},
		"the login role's, of the notes":       {RoleLogin, "ALL ON shardinguser_ownership", observe},
		"the login role's, of the trail":       {RoleLogin, "INSERT (source) ON login_attempts", charge},
		"the login role's, of what was merged": {RoleLogin, "ALL ON shardinguser_merges", merge},
		"the login role's, of the migrations":  {RoleLogin, "ALL ON shardinguser_migrations", migrate},
		"the login role's, of the schema":      {RoleLogin, "USAGE ON SCHEMA public", migrate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := databaseWithSchema(t)
			pool := connect(t, admin)
			run(t, pool, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
			controller, login := testenv.TwoRoles(t, admin)
			settings := quick(map[Role]string{RoleController: controller, RoleLogin: login}[tt.role])
			settings.Role = tt.role
			role, _ := names(t, map[Role]string{RoleController: controller, RoleLogin: login}[tt.role])
			if _, err := open(t, quick(admin)).Apply(t.Context(), creation("alice")); err != nil {
				t.Fatal(err)
			}
			table := tt.revoke[strings.LastIndex(tt.revoke, " ")+1:]
			before := granted(t, pool, role, schema.Users)
			run(t, pool, "REVOKE "+tt.revoke+" FROM "+role)

			s := open(t, settings)
			err := tt.do(t, s)
			if !errors.Is(err, store.ErrUnavailable) || !strings.HasPrefix(err.Error(), tt.role.of()) {
				t.Fatalf("got %v, want a sentence about %q", err, tt.role.of())
			}
			if table == "public" { // which a role that may not use it does not even see
				if !strings.Contains(err.Error(), "GRANT USAGE") && !strings.Contains(err.Error(), "grant USAGE") &&
					!strings.Contains(err.Error(), "do not exist yet") {
					t.Errorf("got %v", err)
				}
				return
			}
			grant := regexp.MustCompile(`GRANT [^;]* ON TABLE "` + table + `" TO [^;]*;`).FindString(err.Error())
			if grant == "" {
				t.Fatalf("got %v, want a GRANT on %s", err, table)
			}
			run(t, pool, grant)
			if err := tt.do(t, s); err != nil {
				t.Errorf("after %s: %v", grant, err)
			}
			if after := granted(t, pool, role, schema.Users); strings.Join(after, ", ") != strings.Join(before, ", ") {
				t.Errorf("the role had %q, and has %q", before, after)
			}
		})
	}
}

func TestATableOfAnotherOwnerThatAnUpgradeChangesIsReported(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, _ := testenv.TwoRoles(t, admin)
	_, err := connect(t, controller).Exec(t.Context(), "ALTER TABLE login_attempts ADD more TEXT")
	got := classify(err, dsnIdentity{serves: RoleController}, 0)
	if want := `does not own the table "login_attempts"`; !strings.Contains(got.sentence, want) {
		t.Errorf("got %q, want %q", got.sentence, want)
	}
}

func TestOneRoleIsUnavailableWhileTheOtherIsNot(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	p := openPair(t, controller, login, nil)
	pool := connect(t, admin)
	for _, side := range []struct {
		dsn         string
		lost, other *Store
	}{{login, p.login, p.controller}, {controller, p.controller, p.login}} {
		role, _ := names(t, side.dsn)
		run(t, pool, "ALTER ROLE "+role+" NOLOGIN")
		run(t, pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
		eventually(t, "the one is unavailable", func() bool { return side.lost.Health().Unavailable && !side.lost.Health().Up() })
		if err := side.lost.Health().Writing; err == nil || !strings.HasPrefix(err.Error(), side.lost.settings.Role.of()+"The database rejected the login") {
			t.Errorf("its failure is %v", err)
		}
		if _, err := side.other.Observe(t.Context(), "alice"); err != nil || !side.other.Health().Up() || side.other.Health().Unavailable {
			t.Errorf("the other: %v, up %v, away %v", err, side.other.Health().Up(), side.other.Health().Unavailable)
		}
		run(t, pool, "ALTER ROLE "+role+" LOGIN")
		eventually(t, "the one is back", func() bool { return !side.lost.Health().Unavailable && side.lost.Health().Up() })
	}
}

// LISTEN takes no right: the controller's direct DSN serves both sides. Without it they poll.
func TestBothSidesListenByOneCredential(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	direct := testenv.Role(t, admin) // of no right, and taken away without taking anything else
	p := openPair(t, controller, login, func(s *Settings) { s.ListenDSN = fixed(direct) })
	watchers := map[*Store]*watched{p.controller: watch(t, p.controller), p.login: watch(t, p.login)}
	pool := connect(t, admin)
	role, _ := names(t, direct)
	for s := range watchers {
		eventually(t, "it is notified", notified(s))
	}
	if _, err := p.Apply(t.Context(), creation("alice")); err != nil {
		t.Fatal(err)
	}
	run(t, pool, "ALTER ROLE "+role+" NOLOGIN")
	run(t, pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
	for s, w := range watchers {
		w.told(t, "alice")
		w.forget()
		eventually(t, "it polls, and is up", func() bool { return s.Health().Polling() && s.Health().Up() && !s.Health().Unavailable })
	}
	charge(t, p.login, "alice")
	for _, w := range watchers {
		w.told(t, "alice")
	}
}

// A right that logins do not need does not make the database unavailable.
func TestARightThatLoginsDoNotNeedIsNoOutageOfTheirs(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, login := testenv.TwoRoles(t, admin)
	p := openPair(t, controller, login, nil)
	pool := connect(t, admin)
	run(t, pool, insertActive, "alice")
	role, _ := names(t, login)
	run(t, pool, "REVOKE INSERT (id) ON shardinguser_merges FROM "+role)
	expectUnavailable(t, p.Merge(t.Context(), store.OfflineBatch{ID: "x"}, usual), "GRANT SELECT (id, merged_at), INSERT (id)")
	if _, refuses := p.login.health.refusedFor(); !refuses {
		t.Error("it was not refused")
	}
	p.login.check(t.Context())
	if p.login.Health().Unavailable {
		t.Error("it is unavailable")
	}
	run(t, pool, "REVOKE INSERT (source) ON login_attempts FROM "+role)
	expectUnavailable(t, chargeFails(t, p.login, "alice"), "GRANT SELECT (id, username")
	eventually(t, "it is unavailable without what logins need", isUnavailable(p.login))
	testenv.GrantRoles(t, admin, controller, login)
	eventually(t, "it is back", func() bool { return !p.login.Health().Unavailable })
	charge(t, p.login, "alice")
}

func TestALoginDSNThatLeadsElsewhereServesNoLogin(t *testing.T) {
	t.Parallel()
	admin, elsewhere := testenv.Database(t), testenv.Database(t)
	for _, dsn := range []string{admin, elsewhere} {
		migrated(t, dsn)
		run(t, connect(t, dsn), insertActive, "alice")
	}
	run(t, connect(t, admin), "CREATE SCHEMA other; SET search_path = other; "+plainTable)
	controller, login := testenv.TwoRoles(t, admin)
	testenv.GrantRoles(t, elsewhere, controller, login)
	role, _ := names(t, login)
	run(t, connect(t, admin), "GRANT USAGE ON SCHEMA other TO "+role+"; GRANT SELECT ON other.users TO "+role)
	_, database := names(t, elsewhere)

	for name, wrong := range map[string]string{
		"in another database": strings.Replace(login, "/"+nameOf(t, admin), "/"+database, 1),
		"in another schema":   with(login, "search_path=other,public"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logged
			ours, theirs := quick(controller), quick(login)
			ours.Role, theirs.Role = RoleController, RoleLogin
			theirs.Peer = ready(t, ours)
			var dsn atomic.Pointer[string]
			dsn.Store(&wrong)
			theirs.DSN = func() (string, error) { return *dsn.Load(), nil }
			theirs.MaxConnLifetime, theirs.Log = 100*time.Millisecond, log.logger()
			s := maintained(t, theirs)
			eventually(t, "nobody is served", func() bool {
				_, err := s.Charge(t.Context(), attempt("alice"), usual)
				return err != nil && strings.Contains(err.Error(), mismatchedDSNs) && strings.HasPrefix(err.Error(), RoleLogin.of())
			})
			if s.Health().Up() || s.Health().Unavailable || s.Health().Writing == nil {
				t.Errorf("up %v, away %v, %v; want neither, and a failure", s.Health().Up(), s.Health().Unavailable, s.Health().Writing)
			}
			dsn.Store(&login)
			eventually(t, "all logins are served", func() bool {
				_, err := s.Charge(t.Context(), attempt("nobody"), usual)
				return err == nil && s.Health().Up()
			})
			// Once more where a login was under way that then succeeded, elsewhere.
			if n := strings.Count(log.String(), mismatchedDSNs); n < 1 || n > 2 {
				t.Errorf("it was reported %d times: %s", n, log.String())
			}
		})
	}
}

// Such a server is known by its start time, and its log gets no line for each question.
func TestAServerThatHidesItsIdentifierIsStillCompared(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	pool := connect(t, admin)
	run(t, pool, insertActive, "alice")
	run(t, pool, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
	controller, login := testenv.TwoRoles(t, admin)
	p := openPair(t, controller, login, nil)
	eventually(t, "it is up", up(p.login))
	charge(t, p.login, "alice")
	for _, s := range []*Store{p.controller, p.login} {
		at, err := s.identify(t.Context())
		if err != nil || at.HasServer() || !at.IsKnown() {
			t.Errorf("got %+v, %v; want the start time alone", at, err)
		}
	}
	if p.login.isMismatched(t.Context()) {
		t.Error("the stores are said to lead to different tables")
	}
}

// nameOf is the name of a DSN's database.
func nameOf(t *testing.T, dsn string) string {
	t.Helper()
	_, database := names(t, dsn)
	return database
}
