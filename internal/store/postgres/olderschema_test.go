// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// With two roles, neither of which owns the tables, a new version may run for a while before the owner migrates. Logins read
// nothing of the newest columns, so the database still decides them.
func TestLoginsGoOnUntilTheOwnerOfTheTablesMigrates(t *testing.T) {
	t.Parallel()
	admin := databaseWithSchema(t)
	controller, logins := testenv.TwoRoles(t, admin)
	pool := connect(t, admin)
	run(t, pool, insertActive, "alice")
	run(t, pool, "ALTER TABLE shardinguser_ownership DROP COLUMN system, DROP COLUMN password_digest, DROP COLUMN valid_until, DROP COLUMN withheld, DROP COLUMN lockout_familiar, "+
		"DROP COLUMN sign_out_handled, DROP COLUMN signed_out_at")
	run(t, pool, "ALTER TABLE login_attempts DROP COLUMN familiar")
	run(t, pool, "DROP TABLE shardinguser_familiar")
	run(t, pool, "DROP TABLE account_changes")
	run(t, pool, "DELETE FROM shardinguser_migrations WHERE version_id >= 8")

	ours, theirs := quick(controller), quick(logins)
	ours.Role, theirs.Role = RoleController, RoleLogin
	c := maintained(t, ours)
	theirs.Peer = c
	l := maintained(t, theirs)
	eventually(t, "both have noticed", func() bool { return l.Health().Reading != nil && c.Health().Reading != nil })
	away := awayMeanwhile(l, func() {
		for range 20 {
			charge(t, l, "alice")
			backoff.Pause(t.Context(), 10*time.Millisecond)
		}
	})
	if away {
		t.Error("the database is said to be unavailable for logins")
	}
	if err := open(t, quick(admin)).Migrate(t.Context()); err != nil { // as the tables' owner
		t.Fatal(err)
	}
	testenv.GrantRoles(t, admin, controller, logins) // the new table needs a grant
	eventually(t, "both are up", func() bool { return l.Health().Up() && c.Health().Up() })
}
