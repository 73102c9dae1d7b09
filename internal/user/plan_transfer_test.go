// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// `kubectl shardinguser transfer` records generation 0, since no generation of the new owner was applied.
func TestPlanOfATransferredAccount(t *testing.T) {
	transferred := recordedGeneration(0)
	runPlan(t, map[string]planCase{
		"the first reconcile records the generation, and writes no column": {
			desired(), synced(transferred),
			user.Decision{Change: change(user.Update)},
		},
		"the Secret of the other cluster has another version": {
			desired(withSecret("v2")), synced(transferred),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"other roles are an edit, and no drift": {
			desired(withRoles("admin")), synced(transferred),
			user.Decision{Change: change(user.Update, toRoles("admin"), writing(user.FieldRoles))},
		},
	})
}

func TestOnlyAnotherVersionOfTheSecretIsRecorded(t *testing.T) {
	t.Parallel()
	recording := func(edit func(*user.Change)) user.Change {
		own := synced().Ownership
		c := user.Change{Verb: user.Update, Password: &user.PasswordChange{Version: "v2", Hash: own.PasswordHash}}
		if edit != nil {
			edit(&c)
		}
		return c
	}
	for name, tt := range map[string]struct {
		change   user.Change
		desired  user.Desired
		observed user.Observed
		want     bool
	}{
		"the same password":               {recording(nil), desired(), synced(), true},
		"another password":                {recording(func(c *user.Change) { c.Password.New = true }), desired(), synced(), false},
		"another hash of it":              {recording(func(c *user.Change) { c.Password.Hash = alien }), desired(), synced(), false},
		"a suspicion":                     {recording(func(c *user.Change) { c.Password.Suspicion = "quotes" }), desired(), synced(), false},
		"a column too":                    {recording(func(c *user.Change) { c.Write = []user.Field{user.FieldRoles} }), desired(), synced(), false},
		"an unlock request too":           {recording(func(c *user.Change) { c.Unlock = "now" }), desired(), synced(), false},
		"no password":                     {recording(func(c *user.Change) { c.Password = nil }), desired(), synced(), false},
		"an edit too":                     {recording(nil), desired(edited), synced(), false},
		"an adoption":                     {recording(func(c *user.Change) { c.Verb = user.Adopt }), desired(), synced(), false},
		"the lockout of a policy changed": {recording(nil), desired(permitted(user.Lockout{Attempts: 3})), synced(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := user.OnlyRecords(tt.desired, tt.change, tt.observed); got != tt.want {
				t.Errorf("OnlyRecords = %v, want %v", got, tt.want)
			}
		})
	}
}
