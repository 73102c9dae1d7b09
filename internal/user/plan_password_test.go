// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfAPassword(t *testing.T) {
	runPlan(t, map[string]planCase{
		"another version of the Secret requests its password": {
			desired(withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"an unchecked password is requested once more": {
			desired(), synced(unjudged),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"an unmanaged password is not checked": {
			desired(withoutPassword), synced(nothingOfOurs, unjudged), leave(),
		},
		"the first password of an owned row is requested": {
			desired(edited), synced(nothingOfOurs, rowHash(user.UnusablePassword)),
			user.Decision{Change: change(user.Update, toEdited), TakePassword: true},
		},
		"a Secret that is missing leaves the password in force": {
			desired(secretMissing), synced(),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"a missing Secret does not stop other changes": {
			desired(edited, secretMissing, withRoles("admin")), synced(),
			user.Decision{
				Change:  change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles)),
				Problem: noSecret,
			},
		},
		"a missing Secret does not stop a correction": {
			desired(secretMissing), synced(rowHash(alien)),
			user.Decision{
				Change:  change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldPasswordHash},
			},
		},
		"a Secret that never existed leaves the row's password": {
			desired(secretMissing), synced(nothingOfOurs, rowHash(alien)),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"an unmanaged password may change": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(alien)),
			leave(),
		},
		"a password that is no longer managed stays in the row": {
			desired(edited, withoutPassword), synced(),
			user.Decision{Change: change(user.Update, toEdited, unmanaging)},
		},
		"a changed password that is no longer managed stays": {
			desired(edited, withoutPassword), synced(rowHash(alien)),
			user.Decision{Change: change(user.Update, toEdited, unmanaging)},
		},
		"a password and an unlock request are one change": {
			desired(withSecret("v2"), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t1")), TakePassword: true, Confirm: true},
		},
	})
}

func TestWithPassword(t *testing.T) {
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		password user.PasswordChange
		want     user.Change
	}{
		"a new row gets it without clearing a counter": {
			desired(), nothingThere(),
			user.PasswordChange{Hash: hashV1, Version: "v1", New: true},
			change(user.Create, onNothing, puttingNew(hashV1, "v1")),
		},
		"another password is written and clears the counter": {
			desired(withSecret("v2")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldPasswordHash), clearsLock),
		},
		"another version of the same password is only recorded": {
			desired(withSecret("v2")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"the same password in a new version is restored": {
			desired(withSecret("v2")), synced(rowHash(alien), lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, writing(user.FieldPasswordHash),
				func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"an existing hash is not written again": {
			desired(withSecret("v2")), synced(rowHash(hashV2)),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, puttingNew(hashV2, "v2"), clearsLock),
		},
		"it is added to other writes": {
			desired(edited, withSecret("v2"), withRoles("admin"), inactive), synced(),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, toEdited, toRoles("admin"), toInactive, puttingNew(hashV2, "v2"),
				writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash), clearsLock),
		},
		"an adopted row with the same password keeps its counter": {
			desired(adopting), synced(noRecord, lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v1"},
			change(user.Adopt, onNothing, puttingBack),
		},
		"an adopted row with another password clears its counter": {
			desired(adopting), synced(noRecord, lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV2, Version: "v1", New: true},
			change(user.Adopt, onNothing, puttingNew(hashV2, "v1"), clearsLock),
		},
		"an unlock that comes with the same password is kept": {
			desired(withSecret("v2"), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, unlocking("t1"),
				func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"a deleted row is restored with it": {
			desired(withSecret("v2")), synced(rowGone),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Create, puttingNew(hashV2, "v2")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, tt.desired, tt.observed)
			if !decision.TakePassword {
				t.Fatal("the plan does not ask for the password")
			}
			before := image(t, decision, tt.observed)
			got := decision.WithPassword(tt.password, tt.observed)
			got.Origin = user.Origin{}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the change differs (-want +got):\n%s", diff)
			}
			scribble(got.Write)
			if after := image(t, decision, tt.observed); before != after {
				t.Errorf("WithPassword changed its input, or shares it:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func puttingNew(hash, version string) changeOption {
	return func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hash, Version: version, New: true} }
}
