// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfProtectedRoles(t *testing.T) {
	admin, root := protecting("admin"), protecting("root", "admin")
	asAdmin := rowRoles("operator", "admin")
	runPlan(t, map[string]planCase{
		"a role that is taken away is endangered": {
			desired(admin, edited), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles), endangering("admin"))},
		},
		"each role that is taken away is endangered": {
			desired(root, edited), synced(rowRoles("admin", "operator", "root")),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles), endangering("root", "admin"))},
		},
		"a role that stays is not": {
			desired(root, edited, withRoles("admin")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"a role that the row does not have is not": {
			desired(admin, edited, withRoles()), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles(), writing(user.FieldRoles))},
		},
		"a new role is not": {
			desired(admin, edited, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"a deactivation endangers all of them": {
			desired(admin, edited, inactive, withRoles("operator", "admin")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, toInactive, toRoles("operator", "admin"),
				writing(user.FieldActive, user.FieldPasswordHash), endangering("admin"))},
		},
		"an inactive user endangers none": {
			desired(admin, edited, inactive), synced(asAdmin, rowInactive),
			user.Decision{Change: change(user.Update, toEdited, toInactive, writing(user.FieldRoles))},
		},
		"malformed roles are none": {
			desired(admin), synced(rowMalformed),
			user.Decision{Change: change(user.Update, writing(user.FieldRoles)), Drift: []user.Field{user.FieldRoles}},
		},
		"a role that another program added is not": {
			desired(admin), synced(asAdmin),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"an annotation allows taking the last one": {
			desired(admin, edited, unprotected), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles))},
		},
		"another password endangers none": {
			desired(admin, withRoles("operator", "admin"), withSecret("v2")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toRoles("operator", "admin")), TakePassword: true},
		},
	})
}

func TestPlanOfTheEndOfARowWithProtectedRoles(t *testing.T) {
	admin, root := protecting("admin"), protecting("root", "admin")
	asAdmin := rowRoles("operator", "admin")
	runPlan(t, map[string]planCase{
		"Delete endangers them": {
			desired(admin, deleting), synced(asAdmin), user.Decision{Change: change(user.Delete, endangering("admin"))},
		},
		"Delete endangers roles that the resource does not name": {
			desired(admin, deleting, withRoles()), synced(asAdmin),
			user.Decision{Change: change(user.Delete, toRoles(), endangering("admin"))},
		},
		"Delete without a row endangers none": {
			desired(admin, deleting), synced(rowGone), user.Decision{Change: change(user.Delete)},
		},
		"Deactivate endangers them": {
			desired(admin, deleting, withPolicy(deactivate)), synced(asAdmin),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate), endangering("admin"))},
		},
		"Retain endangers none": {
			desired(admin, deleting, withPolicy(retain)), synced(asAdmin),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"Retain without permission endangers them": {
			desired(refused, admin, deleting, withPolicy(retain)), synced(asAdmin),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain), endangering("admin"))},
		},
		"an annotation allows a deletion": {
			desired(admin, deleting, unprotected), synced(asAdmin), user.Decision{Change: change(user.Delete)},
		},
		"a suspension endangers them": {
			desired(refused, admin, withRoles("operator", "admin")), synced(asAdmin),
			user.Decision{
				Change: change(user.Update, suspending, toRoles("operator", "admin"), writing(user.FieldActive, user.FieldPasswordHash),
					endangering("admin")),
				Problem: notPermitted,
			},
		},
		"an annotation allows a suspension": {
			desired(refused, admin, unprotected), synced(asAdmin),
			user.Decision{Change: change(user.Update, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted},
		},
		"an adoption endangers roles that the spec does not name": {
			desired(root, adopting, withoutPassword, withRoles("root")), synced(noRecord, rowRoles("root", "admin")),
			user.Decision{Change: change(user.Adopt, onNothing, toRoles("root"), endangering("admin"))},
		},
		"an inactive adoption endangers all of them": {
			desired(admin, adopting, withoutPassword, inactive, withRoles("admin")), synced(noRecord, asAdmin),
			user.Decision{Change: change(user.Adopt, onNothing, toInactive, writing(user.FieldPasswordHash), toRoles("admin"), endangering("admin"))},
		},
		"the end of a former resource's row endangers them": {
			desired(admin), synced(ownedBy(predecessor), asAdmin),
			user.Decision{Change: change(user.Delete, forPredecessor, endangering("admin")), Confirm: true, Again: true},
		},
		"it does not endanger roles of the new resource": {
			desired(admin, withRoles("admin")), synced(ownedBy(predecessor), asAdmin),
			user.Decision{Change: change(user.Delete, forPredecessor, toRoles("admin")), Confirm: true, Again: true},
		},
		"it endangers roles of a new resource without permission": {
			desired(refused, admin, withRoles("admin")), synced(ownedBy(predecessor), asAdmin),
			user.Decision{
				Change:  change(user.Delete, forPredecessor, toRoles("admin"), endangering("admin")),
				Confirm: true, Again: true,
			},
		},
	})
}

func TestLastAdministrator(t *testing.T) {
	admin := protecting("admin")
	asAdmin := rowRoles("operator", "admin")
	const (
		last   = `"alice" is the last active user with the role "admin", so it `
		giveIt = `; give the role to another active user, or set the annotation sharding.io/allow-removing-last-administrator to "true".`
	)
	for name, tt := range map[string]struct {
		desired      user.Desired
		observed     user.Observed
		reason, want string
	}{
		"a role that is taken away": {
			desired(admin, edited), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"one of two roles that are taken away": {
			desired(protecting("admin", "root"), edited), synced(rowRoles("root", "admin")), v1alpha1.ReasonLastAdministrator,
			strings.Replace(last, `"admin"`, `"admin" or "root"`, 1) + "keeps the role" + giveIt,
		},
		"a deactivated user": {
			desired(admin, edited, inactive), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "is not deactivated" + giveIt,
		},
		"a deleted row": {
			desired(admin, deleting), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "is not deleted" + giveIt,
		},
		"a deactivated row": {
			desired(admin, deleting, withPolicy(deactivate)), synced(asAdmin),
			v1alpha1.ReasonLastAdministrator, last + "is not deactivated" + giveIt,
		},
		"an adopted row": {
			desired(admin, adopting), synced(noRecord, asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"it precedes a problem of the Secret": {
			desired(admin, edited, secretMissing), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"a user without permission stays active and not permitted": {
			desired(refused, admin), synced(asAdmin), v1alpha1.ReasonNotPermitted,
			`No policy permits alice. The account stays active, because "alice" is the last active user with the role "admin"` + giveIt,
		},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, tt.desired, tt.observed)
			if len(decision.Change.Endangered) == 0 {
				t.Fatal("the plan endangers nothing")
			}
			before := image(t, decision)
			got := user.LastAdministrator(decision)
			if diff := cmp.Diff(&user.Problem{Reason: tt.reason, Message: tt.want}, got); diff != "" {
				t.Errorf("the problem differs (-want +got):\n%s", diff)
			}
			if after := image(t, decision); before != after {
				t.Errorf("the decision changed:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

// Changes that take no role are made at once. The recorded generation stays: with a new one, the roles would be drift
// at the next plan.
func TestWithoutRoleLoss(t *testing.T) {
	admin := protecting("admin")
	asAdmin := rowRoles("operator", "admin")
	passwordV2 := user.PasswordChange{Hash: hashV2, Version: "v2", New: true}
	asItIs := func(c *user.Change) { c.Roles, c.Active = []string{"operator", "admin"}, true }
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		taken    *user.PasswordChange
		want     user.Decision
		nothing  bool
	}{
		"a demotion alone": {desired(admin, edited), synced(asAdmin), nil, user.Decision{}, true},
		"a deletion":       {desired(admin, deleting), synced(asAdmin), nil, user.Decision{}, true},
		"a suspension":     {desired(refused, admin), synced(asAdmin), nil, user.Decision{}, true},
		"an adoption":      {desired(admin, adopting), synced(noRecord, asAdmin), &passwordV2, user.Decision{}, true},
		"a demotion and another password": {
			desired(admin, edited, withSecret("v2")), synced(asAdmin), &passwordV2,
			user.Decision{Change: change(user.Update, asItIs, writing(user.FieldPasswordHash), func(c *user.Change) {
				c.Password, c.ClearLockout = &passwordV2, true
			})},
			false,
		},
		"a deactivation and another version of the same password": {
			desired(admin, edited, inactive, withSecret("v2")), synced(asAdmin), &user.PasswordChange{Hash: hashV1, Version: "v2"},
			user.Decision{Change: change(user.Update, asItIs, func(c *user.Change) {
				c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"}
			})},
			false,
		},
		"a demotion and an unlock request": {
			desired(admin, edited, requestUnlock("monday")), synced(asAdmin), nil,
			user.Decision{Change: change(user.Update, asItIs, func(c *user.Change) { c.Unlock, c.ClearLockout = "monday", true })},
			false,
		},
		"a demotion and a password that is no longer managed": {
			desired(admin, edited, withoutPassword), synced(asAdmin), nil,
			user.Decision{Change: change(user.Update, asItIs, func(c *user.Change) { c.Password = &user.PasswordChange{} })},
			false,
		},
		"a deactivation and a hash of another program": {
			desired(admin, edited, inactive), synced(asAdmin, rowHash(alien)), nil,
			user.Decision{
				Change: change(user.Update, asItIs, writing(user.FieldPasswordHash), func(c *user.Change) {
					c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1"}
				}),
				Drift: []user.Field{user.FieldPasswordHash},
			},
			false,
		},
		"a demotion and other terms of a policy": {
			desired(admin, edited, permitted(strict)), synced(asAdmin), nil,
			user.Decision{Change: change(user.Update, asItIs, func(c *user.Change) { c.Lockout = strict })},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, tt.desired, tt.observed)
			if len(decision.Change.Endangered) == 0 {
				t.Fatal("the plan endangers nothing")
			}
			if tt.taken != nil {
				decision.Change = decision.WithPassword(*tt.taken, tt.observed)
			}
			before := image(t, decision, tt.observed)
			got, ok := decision.WithoutRoleLoss(tt.observed)
			got.Change.Origin = user.Origin{}
			if diff := cmp.Diff(tt.want, got); diff != "" || ok == tt.nothing {
				t.Errorf("something else is left, %t (-want +got):\n%s", ok, diff)
			}
			if after := image(t, decision, tt.observed); before != after {
				t.Errorf("the decision changed:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}
