// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The cached row is active: nobody made it inactive since the database became unavailable.
func TestAnAccountEndsInTheFallback(t *testing.T) {
	now := time.Now()
	o := newOffline(map[string]user.Observed{"alice": {
		Row:       &user.Row{PasswordHash: "hash", Active: true},
		Ownership: &user.Ownership{State: user.Owned, ValidUntil: new(now.Add(time.Hour))},
	}}, func() time.Time { return now })
	charge := func() store.Charge {
		t.Helper()
		c, err := o.charge(t.Context(), store.Attempt{Username: "alice"}, store.Limits{Attempts: 5, Duration: time.Minute}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	now = now.Add(time.Hour - time.Second)
	before := charge()
	if before.Verdict != store.Check {
		t.Errorf("before the end: %s", before.Verdict)
	}
	now = now.Add(time.Second)
	if got := charge().Verdict; got != store.Inactive {
		t.Errorf("at the end: %s", got)
	}
	if accepted, err := o.settle(t.Context(), before, true); err != nil || accepted {
		t.Errorf("a success that is settled at the end is accepted: %t, %v", accepted, err)
	}
}
