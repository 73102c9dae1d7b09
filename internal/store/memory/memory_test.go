// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/store/storetest"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheStoreInMemoryKeepsTheStoresPromises(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		var ahead time.Duration
		now := func() time.Time { return time.Now().Add(ahead) }
		s := memory.New(now)
		return storetest.Harness{Store: s, Other: program{s, now, &ahead}, Nullable: true}
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

func TestAFloodOfUnknownNamesFillsNoMemoryAndLeavesACounterAsItIs(t *testing.T) {
	s := memory.New(time.Now)
	s.Edit("admin", func(*user.Row) *user.Row { return &user.Row{Active: true} })
	limits := store.Limits{Attempts: 5, Duration: time.Minute}
	charge := func(username string) store.Charge {
		c, err := s.Charge(t.Context(), store.Attempt{
			Username: username, Alias: fmt.Sprintf("%0255s", username), UserAgent: strings.Repeat("x", 1000),
		}, limits)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 4 {
		charge("admin")
	}
	before := heap()
	for i := range 200_000 {
		charge(fmt.Sprintf("name-%d", i))
	}
	if after := heap(); after > before+50<<20 {
		t.Errorf("the memory grew by %d MB", (after-before)>>20)
	}
	if c := charge("admin"); !c.Locks {
		t.Errorf("got %+v, want the lock", c)
	}
	if len(s.Attempts()) == 0 {
		t.Error("there is no audit trail")
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// program acts on the store as the sharding manager acts on a table.
type program struct {
	s     *memory.Store
	now   func() time.Time // by a clock that can be set ahead
	ahead *time.Duration
}

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
			row.LockedUntil = new(p.now().Add(15 * time.Minute))
		}
	})
}

func (p program) LogIn(t *testing.T, username string) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) { row.LastLogin = new(p.now()) })
}

func (p program) Lock(t *testing.T, username string, left time.Duration) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) { row.LockedUntil = new(p.now().Add(left)) })
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

func (p program) SetActive(t *testing.T, username string, active *bool) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) { row.Active = active != nil && *active })
}

func (p program) SetFailed(t *testing.T, username string, failed *int) {
	t.Helper()
	p.edit(t, username, func(row *user.Row) {
		row.FailedLoginAttempts = 0
		if failed != nil {
			row.FailedLoginAttempts = *failed
		}
	})
}

func (p program) Attempts(*testing.T) []store.Record { return p.s.Attempts() }

func (p program) Age(_ *testing.T, by time.Duration) { *p.ahead += by }

func (p program) Now(*testing.T) time.Time { return p.now() }
