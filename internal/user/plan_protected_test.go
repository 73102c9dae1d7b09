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
	const retain, deactivate = v1alpha1.DeletionRetain, v1alpha1.DeletionDeactivate
	runPlan(t, map[string]planCase{
		"who loses one is endangered": {
			desired(admin, edited), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles), endangering("admin"))},
		},
		"who loses several is told of each": {
			desired(root, edited), synced(rowRoles("admin", "operator", "root")),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles), endangering("root", "admin"))},
		},
		"who keeps it is not": {
			desired(root, edited, withRoles("admin")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"who never had it is not": {
			desired(admin, edited, withRoles()), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles(), writing(user.FieldRoles))},
		},
		"who gets it is not": {
			desired(admin, edited, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"who becomes inactive loses all of them": {
			desired(admin, edited, inactive, withRoles("operator", "admin")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, toInactive, toRoles("operator", "admin"),
				writing(user.FieldActive, user.FieldPasswordHash), endangering("admin"))},
		},
		"who is inactive has none to lose": {
			desired(admin, edited, inactive), synced(asAdmin, rowInactive),
			user.Decision{Change: change(user.Update, toEdited, toInactive, writing(user.FieldRoles))},
		},
		"roles that cannot be read are none": {
			desired(admin), synced(rowMalformed),
			user.Decision{Change: change(user.Update, writing(user.FieldRoles)), Drift: []user.Field{user.FieldRoles}},
		},
		"one that another program gave is taken back, whoever else has it": {
			desired(admin), synced(asAdmin),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"who is allowed to lose the last one is not endangered": {
			desired(admin, edited, unprotected), synced(asAdmin),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles))},
		},
		"another password takes none": {
			desired(admin, withRoles("operator", "admin"), withSecret("v2")), synced(asAdmin),
			user.Decision{Change: change(user.Update, toRoles("operator", "admin")), TakePassword: true},
		},
		"Delete takes them": {
			desired(admin, deleting), synced(asAdmin), user.Decision{Change: change(user.Delete, endangering("admin"))},
		},
		"Delete takes them though the resource never named them": {
			desired(admin, deleting, withRoles()), synced(asAdmin),
			user.Decision{Change: change(user.Delete, toRoles(), endangering("admin"))},
		},
		"Delete takes none where there is no row": {
			desired(admin, deleting), synced(rowGone), user.Decision{Change: change(user.Delete)},
		},
		"Deactivate takes them": {
			desired(admin, deleting, withPolicy(deactivate)), synced(asAdmin),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate), endangering("admin"))},
		},
		"Retain leaves them": {
			desired(admin, deleting, withPolicy(retain)), synced(asAdmin),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"Retain takes them where no policy permits the resource": {
			desired(refused, admin, deleting, withPolicy(retain)), synced(asAdmin),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain), endangering("admin"))},
		},
		"a deletion that is allowed to take the last one": {
			desired(admin, deleting, unprotected), synced(asAdmin), user.Decision{Change: change(user.Delete)},
		},
		"a suspension takes them": {
			desired(refused, admin, withRoles("operator", "admin")), synced(asAdmin),
			user.Decision{
				Change: change(user.Update, suspending, toRoles("operator", "admin"), writing(user.FieldActive, user.FieldPasswordHash),
					endangering("admin")),
				Problem: notPermitted,
			},
		},
		"a suspension that is allowed to take the last one": {
			desired(refused, admin, unprotected), synced(asAdmin),
			user.Decision{Change: change(user.Update, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted},
		},
		"an adopted row loses those that the spec does not name": {
			desired(root, adopting, withoutPassword, withRoles("root")), synced(neverNoted, rowRoles("root", "admin")),
			user.Decision{Change: change(user.Adopt, onNothing, toRoles("root"), endangering("admin"))},
		},
		"an adopted row loses all of them where the spec is inactive": {
			desired(admin, adopting, withoutPassword, inactive, withRoles("admin")), synced(neverNoted, asAdmin),
			user.Decision{Change: change(user.Adopt, onNothing, toInactive, writing(user.FieldPasswordHash), toRoles("admin"), endangering("admin"))},
		},
		"the row of a former resource that has to go loses them": {
			desired(admin), synced(ownedBy(predecessor), asAdmin),
			user.Decision{Change: change(user.Delete, forPredecessor, endangering("admin")), Confirm: true, Again: true},
		},
		"it does not lose those that come back with the new one": {
			desired(admin, withRoles("admin")), synced(ownedBy(predecessor), asAdmin),
			user.Decision{Change: change(user.Delete, forPredecessor, toRoles("admin")), Confirm: true, Again: true},
		},
		"it loses those that would come back with one that no policy permits": {
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
		"a role that would be taken": {
			desired(admin, edited), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"one of two roles that would be taken": {
			desired(protecting("admin", "root"), edited), synced(rowRoles("root", "admin")), v1alpha1.ReasonLastAdministrator,
			strings.Replace(last, `"admin"`, `"admin" or "root"`, 1) + "keeps the role" + giveIt,
		},
		"a user that would become inactive": {
			desired(admin, edited, inactive), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "is not deactivated" + giveIt,
		},
		"a row that would be deleted": {
			desired(admin, deleting), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "is not deleted" + giveIt,
		},
		"a row that would be deactivated": {
			desired(admin, deleting, withPolicy(v1alpha1.DeletionDeactivate)), synced(asAdmin),
			v1alpha1.ReasonLastAdministrator, last + "is not deactivated" + giveIt,
		},
		"an adopted row that would lose it": {
			desired(admin, adopting), synced(neverNoted, asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"a problem of the Secret is the lesser one": {
			desired(admin, edited, secretMissing), synced(asAdmin), v1alpha1.ReasonLastAdministrator, last + "keeps the role" + giveIt,
		},
		"a user that no policy permits stays active, and is not permitted all the same": {
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
				t.Errorf("the problem is another one (-want +got):\n%s", diff)
			}
			if after := image(t, decision); before != after {
				t.Errorf("the decision changed:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

// What takes no role is done at once. The noted generation stays: with another one, the roles would be drift at the next plan.
func TestWhatDoesNotWaitForAnotherHolder(t *testing.T) {
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
		"an adoption":      {desired(admin, adopting), synced(neverNoted, asAdmin), &passwordV2, user.Decision{}, true},
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
		"a demotion and a request to unlock": {
			desired(admin, edited, requestUnlock("monday")), synced(asAdmin), nil,
			user.Decision{Change: change(user.Update, asItIs, func(c *user.Change) { c.Unlock, c.ClearLockout = "monday", true })},
			false,
		},
		"a demotion and a password that is given up": {
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
			if diff := cmp.Diff(tt.want, got); diff != "" || ok == tt.nothing {
				t.Errorf("something else is left, %t (-want +got):\n%s", ok, diff)
			}
			if after := image(t, decision, tt.observed); before != after {
				t.Errorf("the decision changed:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}
