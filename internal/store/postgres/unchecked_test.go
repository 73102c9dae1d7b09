// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// uncharging is a store with the row of one account, whose attempts are charged and taken off the counter.
type uncharging struct {
	*testing.T
	s    *Store
	pool *pgxpool.Pool
}

// charge charges an attempt, which gets this key; with "" it keeps its own.
func (u uncharging) charge(key string) store.Charge {
	u.Helper()
	c, err := u.s.Charge(u.Context(), attempt("alice"), usual)
	if err != nil || c.Verdict != store.Check {
		u.Fatalf("%+v, %v", c, err)
	}
	if key != "" {
		run(u.T, u.pool, "UPDATE login_attempts SET attempt_key = $1 WHERE id = $2", key, c.ID)
	}
	return c
}

func (u uncharging) settle(c store.Charge, success bool) {
	u.Helper()
	if accepted, err := u.s.Settle(u.Context(), c, success); err != nil || (success && !accepted) {
		u.Fatalf("%t, %v", accepted, err)
	}
}

func (u uncharging) uncharge(keys ...string) {
	u.Helper()
	if err := u.s.uncharge(u.Context(), "alice", openAttempts{keys: keys}); err != nil {
		u.Fatal(err)
	}
}

// holds checks the counter and the lock.
func (u uncharging) holds(when string, failed int, locked bool) {
	u.Helper()
	counter := value[int](u.T, u.pool, "SELECT failed_login_attempts FROM users WHERE username = 'alice'")
	isLocked := value[bool](u.T, u.pool, "SELECT locked_until IS NOT NULL FROM users WHERE username = 'alice'")
	if counter != failed || isLocked != locked {
		u.Errorf("%s the counter is %d and locked is %t, want %d and %t", when, counter, isLocked, failed, locked)
	}
}

// Unchecked attempts are taken off the counter, and no others.
func TestAnUncheckedAttemptGivesNobodyAGuess(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s := ready(t, quick(dsn))
	pool := connect(t, dsn)
	for name, tt := range map[string]struct {
		happens func(u uncharging)
		failed  int
		locked  bool
	}{
		"alone": {func(u uncharging) { u.charge("a") }, 0, false},
		"between others": {func(u uncharging) {
			u.charge("")
			u.charge("a")
			u.charge("")
		}, 2, false},
		"several at once": {func(u uncharging) {
			u.charge("a")
			u.charge("")
			u.charge("b")
		}, 1, false},
		"by one replica after the other": {func(u uncharging) {
			u.charge("b")
			u.charge("a")
			u.uncharge("b")
		}, 0, false},
		"the one that locked": {func(u uncharging) {
			for range 4 {
				u.charge("")
			}
			u.charge("a")
		}, 4, false},
		"before another one that locked": {func(u uncharging) {
			u.charge("a")
			for range 4 {
				u.charge("")
			}
		}, 5, true},
		"before a success": {func(u uncharging) {
			u.charge("a")
			u.settle(u.charge(""), true)
			u.charge("")
			u.charge("")
		}, 2, false},
		"before an unlocking by hand": {func(u uncharging) {
			u.charge("")
			u.charge("a")
			run(u.T, u.pool, "UPDATE users SET failed_login_attempts = 0")
			u.charge("")
		}, 1, false},
		"before a lock that expired": {func(u uncharging) {
			u.charge("a")
			for range 4 {
				u.charge("")
			}
			run(u.T, u.pool, "UPDATE users SET locked_until = now() - INTERVAL '1 second'")
			u.charge("")
		}, 1, false},
		"settled meanwhile":                   {func(u uncharging) { u.settle(u.charge("a"), false) }, 1, false},
		"of another replica, with other keys": {func(u uncharging) { u.charge("c") }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, pool, "DELETE FROM login_attempts")
			run(t, pool, "DELETE FROM users")
			run(t, pool, insertActive, "alice")
			u := uncharging{t, s, pool}
			tt.happens(u)
			u.uncharge("a", "b")
			u.holds("once taken off,", tt.failed, tt.locked)
			u.uncharge("a", "b")
			u.holds("the second time,", tt.failed, tt.locked)
		})
	}
}
