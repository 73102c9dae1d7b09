// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/store/storetest"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheStoreInMemoryKeepsTheStoresPromises(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		s := memory.New(time.Now)
		return storetest.Harness{Store: s, Other: program{s}, NullableHash: true}
	})
}

func TestALockRunsOutByTheInjectedClock(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := memory.New(func() time.Time { return now })
	end := now.Add(15 * time.Minute)
	s.Edit("alice", func(*user.Row) *user.Row { return &user.Row{LockedUntil: &end} })

	locked := func() bool {
		o, err := s.Observe(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		return o.Locked()
	}
	if !locked() {
		t.Error("not locked at first")
	}
	now = end
	if locked() {
		t.Error("still locked at the end of the lock")
	}
}

// program acts on the store as the sharding manager acts on a table.
type program struct{ s *memory.Store }

func (p program) edit(t *testing.T, username string, edit func(*user.Row)) {
	t.Helper()
	p.s.Edit(username, func(row *user.Row) *user.Row {
		if row == nil {
			t.Errorf("there is no row of %q", username)
			return nil
		}
		edit(row)
		return row
	})
}

func (p program) Insert(t *testing.T, username string, row storetest.Row) {
	t.Helper()
	p.s.Edit(username, func(*user.Row) *user.Row { return &user.Row{PasswordHash: row.Hash, Active: row.Active} })
	p.SetRoles(t, username, row.Roles)
}

func (p program) Columns(t *testing.T, username string) map[string]any {
	t.Helper()
	o, err := p.s.Observe(t.Context(), username)
	if err != nil {
		t.Fatal(err)
	}
	if o.Row == nil {
		return nil
	}
	return map[string]any{
		"password_hash": o.Row.PasswordHash, "roles": o.Row.Roles, "malformed": o.Row.RolesMalformed,
		"active": o.Row.Active, "failed_login_attempts": o.Row.FailedLoginAttempts,
		"locked_until": o.Row.LockedUntil, "last_login_at": o.Row.LastLogin,
	}
}

func (p program) Fail(t *testing.T, username string) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) {
		row.FailedLoginAttempts++
		if row.FailedLoginAttempts >= 5 {
			row.LockedUntil = new(time.Now().Add(15 * time.Minute))
		}
	})
}

func (p program) LogIn(t *testing.T, username string) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) { row.LastLogin = new(time.Now()) })
}

func (p program) Lock(t *testing.T, username string, left time.Duration) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) { row.LockedUntil = new(time.Now().Add(left)) })
}

func (p program) SetRoles(t *testing.T, username, roles string) {
	t.Helper()
	var parsed []*string
	err := json.Unmarshal([]byte(roles), &parsed)
	malformed := err != nil || parsed == nil || slices.Contains(parsed, nil)
	p.edit(t, username, func(row *user.Row) {
		row.Roles, row.RolesMalformed = nil, malformed
		if malformed {
			return
		}
		for _, role := range parsed {
			row.Roles = append(row.Roles, *role)
		}
	})
}

func (p program) SetHash(t *testing.T, username string, hash *string) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) {
		row.PasswordHash = ""
		if hash != nil {
			row.PasswordHash = *hash
		}
	})
}

func (p program) Delete(t *testing.T, username string) {
	t.Helper()
	p.s.Edit(username, func(*user.Row) *user.Row { return nil })
}

func (program) Now(*testing.T) time.Time { return time.Now() }
