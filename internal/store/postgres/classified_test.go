// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// An older version knows neither column. It leaves what it finds, or the defaults.
func TestPasswordsOfAnOlderVersionAreUnjudged(t *testing.T) {
	t.Parallel()
	dsn := databaseWithSchema(t)
	s, pool := ready(t, quick(dsn)), connect(t, dsn)
	note := func() *user.Ownership {
		t.Helper()
		o, err := s.Observe(t.Context(), "alice")
		if err != nil || o.Ownership == nil {
			t.Fatalf("Observe = %+v, %v", o.Ownership, err)
		}
		return o.Ownership
	}

	change := creation("alice")
	change.Password = &user.PasswordChange{Hash: "!", Version: "v1", Suspicion: "base64"}
	if err := applied(t, s, change); err != nil {
		t.Fatal(err)
	}
	if n := note(); n.PasswordUnchecked || n.PasswordSuspicion != "base64" {
		t.Errorf("what was judged is %+v", n)
	}

	run(t, pool, "UPDATE shardinguser_ownership SET password_version = 'v2'")
	if n := note(); !n.PasswordUnchecked || n.PasswordSuspicion != "" {
		t.Errorf("what an older version wrote over it is %+v", n)
	}

	run(t, pool, "ALTER TABLE shardinguser_ownership DROP password_suspicion, DROP password_judged")
	run(t, pool, "DELETE FROM "+schema.Versions+" WHERE version_id >= 7")
	if err := open(t, quick(dsn)).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := note(); !n.PasswordUnchecked || n.PasswordSuspicion != "" {
		t.Errorf("what was there before the migration is %+v", n)
	}
}
