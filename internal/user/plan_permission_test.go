// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfAResourceThatNoPolicyPermits(t *testing.T) {
	leaveRefused := leaveBecause(notPermitted.Reason, notPermitted.Message)
	suspension := func(options ...changeOption) user.Decision {
		return user.Decision{
			Change:  change(user.Update, append([]changeOption{suspending, writing(user.FieldActive, user.FieldPasswordHash)}, options...)...),
			Problem: notPermitted,
		}
	}
	noted := func(options ...changeOption) user.Decision {
		return user.Decision{Change: change(user.Update, append([]changeOption{suspending}, options...)...), Problem: notPermitted}
	}
	runPlan(t, map[string]planCase{
		"it creates nothing": {
			desired(refused), nothingThere(), leaveRefused,
		},
		"it adopts nothing": {
			desired(refused, adopting), synced(noRecord), leaveRefused,
		},
		"it reclaims no row that a predecessor released": {
			desired(refused, adopting), synced(ownedBy(predecessor), inState(user.Released)), leaveRefused,
		},
		"it restores no deleted row": {
			desired(refused), synced(rowGone, inState(user.Deleted)), leaveRefused,
		},
		"the refusal precedes a taken username": {
			desired(refused), synced(ownedBy(neighbour)), leaveRefused,
		},
		"its row is deactivated": {
			desired(refused), synced(), suspension(),
		},
		"its row is deactivated though it is paused": {
			desired(refused, paused), synced(), suspension(),
		},
		"its row is deactivated though its Secret is missing": {
			desired(refused, secretMissing), synced(), suspension(),
		},
		"nothing else of its row is changed": {
			desired(refused, edited, withRoles("admin"), withSecret("v2"), requestUnlock("t1")),
			synced(lockedFor(time.Minute), rowHash(alien), rowRoles("x")),
			suspension(toEdited, toRoles("admin")),
		},
		"malformed roles stay unchanged": {
			desired(refused), synced(rowMalformed), suspension(),
		},
		"the terms of its last policy stay": {
			desired(refused), synced(notedTerms(strict)), suspension(onTerms(strict)),
		},
		"an inactive row is recorded as suspended": {
			desired(refused, inactive), synced(rowInactive), noted(),
		},
		"a missing row stays missing and is recorded as suspended": {
			desired(refused), synced(rowGone), noted(),
		},
		"a suspended row stays unchanged": {
			desired(refused), synced(suspended), leaveRefused,
		},
		"a missing suspended row stays missing": {
			desired(refused), synced(suspended, rowGone), leaveRefused,
		},
		"an edit of a suspended resource is not recorded": {
			desired(refused, edited, withRoles("admin"), withSecret("v2"), requestUnlock("t1")),
			synced(rowHash(alien), suspended), leaveRefused,
		},
		"its deletion policy is recorded for a lost resource": {
			desired(refused, edited, withPolicy(retain)), synced(suspended),
			noted(toEdited, toPolicy(retain)),
		},
		"a suspended row that another program activated is drift": {
			desired(refused), synced(suspended, func(o *user.Observed) { o.Row.Active = true }),
			user.Decision{
				Change:  change(user.Update, suspending, writing(user.FieldActive)),
				Problem: notPermitted,
				Drift:   []user.Field{user.FieldActive},
			},
		},
		"a newer recorded generation is confirmed": {
			desired(refused, outOfDate), synced(),
			user.Decision{
				Change: change(user.Update, toOld, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted, Confirm: true,
			},
		},
	})
}

func TestPlanOfAFormerResourceThatNoPolicyPermits(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a former resource's row is deleted as it asked": {
			desired(refused, withPolicy(retain)), synced(ownedBy(predecessor)),
			user.Decision{Change: change(user.Delete, forPredecessor), Confirm: true, Again: true},
		},
		"a former resource's row is deactivated as it asked": {
			desired(refused, adopting), synced(ownedBy(predecessor), recordedPolicy(deactivate)),
			user.Decision{
				Change:  change(user.Deactivate, forPredecessor, toPolicy(deactivate)),
				Confirm: true, Again: true,
			},
		},
		"a former resource's retained row is deactivated": {
			desired(refused), synced(ownedBy(predecessor), recordedPolicy(retain)),
			user.Decision{
				Change:  change(user.Deactivate, forPredecessor, toPolicy(retain)),
				Confirm: true, Again: true,
			},
		},
	})
}

func forPredecessor(c *user.Change) { c.Owner = predecessor }

// applyingNothing is a change that does not depend on what the resource asks for.
func applyingNothing(c *user.Change) { c.Roles, c.Active = nil, false }

func TestPlanOfADeletionThatNoPolicyPermits(t *testing.T) {
	runPlan(t, map[string]planCase{
		"Delete removes the row": {
			desired(refused, deleting), synced(), user.Decision{Change: change(user.Delete)},
		},
		"Retain releases only an inactive row": {
			desired(refused, deleting, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain))},
		},
		"Retain of a paused resource leaves no active row": {
			desired(refused, deleting, paused, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain))},
		},
		"a paused deletion deactivates the row": {
			desired(refused, deleting, paused), synced(),
			user.Decision{Change: change(user.Update, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted},
		},
		"a paused deletion of an inactive row waits": {
			desired(refused, deleting, paused), synced(suspended),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a paused deletion of a missing row waits": {
			desired(refused, deleting, paused), synced(rowGone),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a username that it does not own gets a tombstone": {
			desired(refused, deleting), nothingThere(), user.Decision{Change: change(user.Bury, onNothing)},
		},
	})
}

func TestPlanOfAPermittedResourceAfterASuspension(t *testing.T) {
	runPlan(t, map[string]planCase{
		"its row is activated without drift": {
			desired(), synced(suspended),
			user.Decision{Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"its row matches the spec, which is no drift": {
			desired(edited, withRoles("admin")), synced(suspended, rowRoles("x")),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"roles of a recorded generation are no drift": {
			desired(withRoles("admin")), synced(suspended),
			user.Decision{Change: change(user.Update, toRoles("admin"), writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"an inactive user is only recorded": {
			desired(inactive), synced(suspended), user.Decision{Change: change(user.Update, toInactive)},
		},
		"the Secret's new password is requested": {
			desired(withSecret("v2")), synced(suspended),
			user.Decision{Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash)), TakePassword: true},
		},
		"an unlock request from the meantime is handled": {
			desired(requestUnlock("t1")), synced(suspended, lockedFor(time.Hour)),
			user.Decision{Change: change(user.Update, unlocking("t1"), writing(user.FieldActive, user.FieldPasswordHash)), Confirm: true},
		},
		"a hash changed in the meantime is drift": {
			desired(), synced(suspended, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a row deleted in the meantime is restored": {
			desired(), synced(suspended, rowGone),
			user.Decision{Change: change(user.Create, puttingBack), Drift: []user.Field{user.FieldRow}},
		},
		"its row stays unchanged while it is paused": {
			desired(paused), synced(suspended), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
	})
}

func TestPlanOfLockoutTerms(t *testing.T) {
	runPlan(t, map[string]planCase{
		"they are recorded with a new row": {
			desired(permitted(strict)), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, onTerms(strict)), TakePassword: true},
		},
		"they are recorded with an adopted row": {
			desired(permitted(strict), adopting, withoutPassword), synced(noRecord),
			user.Decision{Change: change(user.Adopt, onNothing, onTerms(strict))},
		},
		"an adopted row with an unmanaged password is not exempt": {
			desired(permitted(lax), adopting, withoutPassword), synced(noRecord),
			user.Decision{Change: change(user.Adopt, onNothing)},
		},
		"a user whose new password is refused is not exempt": {
			desired(permitted(lax), secretMissing), synced(),
			leaveBecause(noSecret.Reason, noSecret.Message),
		},
		"a user with a checked password is exempt": {
			desired(permitted(lax), withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update, onTerms(lax)), TakePassword: true},
		},
		"an exempt user stays exempt while the Secret is missing": {
			desired(permitted(lax), secretMissing), synced(notedTerms(lax)),
			leaveBecause(noSecret.Reason, noSecret.Message),
		},
		"a user without a managed password is not exempt any more": {
			desired(permitted(lax), withoutPassword), synced(notedTerms(lax)),
			user.Decision{Change: change(user.Update, func(c *user.Change) { c.Password = &user.PasswordChange{} })},
		},
		"a pending password does not exempt a paused resource": {
			desired(paused, permitted(lax), withSecret("v2")), synced(), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a checked password exempts a paused resource": {
			desired(paused, permitted(lax)), synced(),
			user.Decision{
				Change:  change(user.Update, onTerms(lax), applyingNothing),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"they are recorded for an owned row": {
			desired(permitted(strict)), synced(), user.Decision{Change: change(user.Update, onTerms(strict))},
		},
		"other terms are recorded beside an edit": {
			desired(permitted(lax), edited, inactive), synced(notedTerms(strict)),
			user.Decision{Change: change(user.Update, toEdited, toInactive, onTerms(lax), writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"recorded terms are not recorded again": {
			desired(permitted(strict)), synced(notedTerms(strict)), leave(),
		},
		"the terms of a deleted policy are removed": {
			desired(), synced(notedTerms(strict)), user.Decision{Change: change(user.Update)},
		},
		"another policy with the same terms changes nothing": {
			desired(permitted(strict), func(d *user.Desired) { d.Permission.By = "team-b" }), synced(notedTerms(strict)), leave(),
		},
		"of a paused resource only they are recorded": {
			desired(paused, permitted(strict), edited, inactive, withPolicy(retain), requestUnlock("t1")),
			synced(suspended, lockedFor(time.Minute)),
			user.Decision{
				Change:  change(user.Update, onTerms(strict), applyingNothing, suspending),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"of a paused resource without a row they are recorded": {
			desired(paused, permitted(strict)), synced(rowGone),
			user.Decision{
				Change:  change(user.Update, onTerms(strict), applyingNothing),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"of a paused resource without an account none are recorded": {
			desired(paused, permitted(strict)), synced(ownedBy(neighbour)), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"of a paused resource recorded terms stay": {
			desired(paused, permitted(strict)), synced(notedTerms(strict)), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
	})
}

func TestPasswordExpiry(t *testing.T) {
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		left     time.Duration
		known    bool
	}{
		"a password before its maximum age":     {desired(expiring(25 * time.Hour)), synced(), time.Hour, true},
		"a password of exactly the maximum age": {desired(expiring(24 * time.Hour)), synced(), 0, true},
		"an older password":                     {desired(expiring(time.Hour)), synced(), -23 * time.Hour, true},
		"a password without a row":              {desired(expiring(25 * time.Hour)), synced(rowGone), time.Hour, true},
		"a password without a maximum age":      {desired(permitted(strict)), synced(), 0, false},
		"an unmanaged password":                 {desired(expiring(time.Hour)), synced(nothingOfOurs), 0, false},
		"a password of another resource":        {desired(expiring(time.Hour)), synced(ownedBy(neighbour)), 0, false},
		"an unrecorded password":                {desired(expiring(time.Hour)), synced(noRecord), 0, false},
		"an unused username":                    {desired(expiring(time.Hour)), nothingThere(), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if left, known := tt.observed.PasswordExpiry(tt.desired); left != tt.left || known != tt.known {
				t.Errorf("PasswordExpiry = %s, %t, want %s, %t", left, known, tt.left, tt.known)
			}
		})
	}
}
