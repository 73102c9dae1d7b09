// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// createSplit creates alice, whose policy gives familiar addresses a budget of their own.
func createSplit(t *testing.T, s *Store) {
	t.Helper()
	change := user.Change{
		Verb: user.Create, Username: "alice", Owner: user.Owner{Cluster: "c", Namespace: "n", Name: "alice", UID: "u"}, Generation: 1,
		Deletion: "Delete", Active: true, Password: &user.PasswordChange{Hash: "!", Version: "v", New: true},
		Lockout: user.Lockout{Familiar: true},
	}
	if _, err := s.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

// chargeFrom is an attempt at alice's account from an address.
func chargeFrom(t *testing.T, s *Store, source string) store.Charge {
	t.Helper()
	c, err := s.Charge(t.Context(), store.Attempt{Username: "alice", Source: source}, usual)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func settled(t *testing.T, s *Store, c store.Charge, success bool) {
	t.Helper()
	accepted, err := s.Settle(t.Context(), c, success)
	if err != nil || accepted != success {
		t.Fatalf("accepted is %t, %v", accepted, err)
	}
}

func TestAFamiliarAttemptThatWasNeverCheckedIsTakenOffItsOwnBudget(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := open(t, quick(dsn))
	createSplit(t, s)
	from := func(source string) store.Charge { return chargeFrom(t, s, source) }
	settled(t, s, from("192.0.2.1"), true)
	from("203.0.113.1")
	settled(t, s, from("192.0.2.1"), false)
	var open openAttempts
	for range 4 {
		open.ids = append(open.ids, from("192.0.2.1").ID)
	}
	if c := from("192.0.2.1"); c.Verdict != store.Locked {
		t.Fatalf("the verdict is %s", c.Verdict)
	}
	if err := s.uncharge(t.Context(), "alice", open); err != nil {
		t.Fatal(err)
	}
	pool := connect(t, dsn)
	type counters struct {
		Common, Familiar int
		Locked           bool
	}
	got := counters{
		value[int](t, pool, "SELECT failed_login_attempts FROM users"),
		value[int](t, pool, "SELECT failed_login_attempts FROM shardinguser_familiar"),
		value[bool](t, pool, "SELECT locked_until IS NOT NULL FROM shardinguser_familiar"),
	}
	if want := (counters{Common: 1, Familiar: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The owner of the tables may migrate after the login role's operator was updated, and grant its rights later still.
func TestWithoutTheTableOfFamiliarAddressesOrItsRightsAllAttemptsShareTheCommonBudget(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, logins := testenv.TwoRoles(t, admin)
	pool := connect(t, admin)
	c, l := open(t, quick(controller)), quick(logins)
	l.Role = RoleLogin
	s := open(t, l)
	createSplit(t, c)
	role, _ := names(t, logins)
	run(t, pool, "REVOKE ALL ON shardinguser_familiar FROM "+role)
	run(t, pool, "REVOKE ALL (familiar) ON login_attempts FROM "+role)
	settled(t, s, chargeFrom(t, s, "192.0.2.1"), true)
	run(t, pool, "ALTER TABLE shardinguser_familiar RENAME TO elsewhere")
	run(t, pool, "ALTER TABLE shardinguser_ownership RENAME COLUMN lockout_familiar TO another")
	run(t, pool, "ALTER TABLE login_attempts RENAME COLUMN familiar TO another")
	settled(t, s, chargeFrom(t, s, "192.0.2.1"), true)
	run(t, pool, "ALTER TABLE elsewhere RENAME TO shardinguser_familiar")
	run(t, pool, "ALTER TABLE shardinguser_ownership RENAME COLUMN another TO lockout_familiar")
	run(t, pool, "ALTER TABLE login_attempts RENAME COLUMN another TO familiar")
	testenv.GrantRoles(t, admin, controller, logins)
	settled(t, s, chargeFrom(t, s, "192.0.2.1"), true)
	if n := value[int](t, pool, "SELECT count(*) FROM shardinguser_familiar"); n != 1 {
		t.Errorf("%d accounts have familiar addresses, want one: of the login after the rights were granted", n)
	}
}

func TestExpiredFamiliarAddressesArePurgedAndOthersStay(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := open(t, quick(dsn))
	pool := connect(t, dsn)
	run(t, pool, "INSERT INTO shardinguser_familiar (username, sources, logins, last_login_at) "+
		"SELECT 'user-' || n, ARRAY['192.0.2.1'], ARRAY[now() - n * INTERVAL '1 day'], now() - n * INTERVAL '1 day' FROM generate_series(28, 33) n")
	for range 2 {
		if _, err := s.PurgeAttempts(t.Context(), store.FamiliarFor, 2); err != nil {
			t.Fatal(err)
		}
	}
	left := value[[]string](t, pool, "SELECT array_agg(username::text ORDER BY username) FROM shardinguser_familiar")
	if strings.Join(left, " ") != "user-28 user-29" {
		t.Errorf("%v are left", left)
	}
}
