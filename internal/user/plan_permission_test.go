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
			desired(refused, adopting), synced(neverNoted), leaveRefused,
		},
		"it takes up nothing that a former resource of its place released": {
			desired(refused, adopting), synced(ownedBy(predecessor), inState(user.Released)), leaveRefused,
		},
		"it brings nothing back that was deleted": {
			desired(refused), synced(rowGone, inState(user.Deleted)), leaveRefused,
		},
		"it says so, and not whose the name is": {
			desired(refused), synced(ownedBy(neighbour)), leaveRefused,
		},
		"its row is deactivated": {
			desired(refused), synced(), suspension(),
		},
		"its row is deactivated though it is paused": {
			desired(refused, paused), synced(), suspension(),
		},
		"its row is deactivated though its Secret is missing, which is the lesser problem": {
			desired(refused, secretMissing), synced(), suspension(),
		},
		"nothing else of its row is changed, whatever it asks for": {
			desired(refused, edited, withRoles("admin"), withSecret("v2"), requestUnlock("t1")),
			synced(lockedFor(time.Minute), rowHash(alien), rowRoles("x")),
			suspension(toEdited, toRoles("admin")),
		},
		"roles that are no array of strings stay as they are": {
			desired(refused), synced(rowMalformed), suspension(),
		},
		"the terms of the policy that permitted it last go on": {
			desired(refused), synced(notedTerms(strict)), suspension(onTerms(strict)),
		},
		"a row that is inactive already is noted as suspended": {
			desired(refused, inactive), synced(rowInactive), noted(),
		},
		"a row that is gone does not come back, and is noted as suspended": {
			desired(refused), synced(rowGone), noted(),
		},
		"a row that was suspended stays as it is": {
			desired(refused), synced(suspended), leaveRefused,
		},
		"a row that was suspended and is gone stays gone": {
			desired(refused), synced(suspended, rowGone), leaveRefused,
		},
		"an edit of a suspended resource is not even noted": {
			desired(refused, edited, withRoles("admin"), withSecret("v2"), requestUnlock("t1")),
			synced(rowHash(alien), suspended), leaveRefused,
		},
		"what would become of the row is noted, in case the resource vanishes": {
			desired(refused, edited, withPolicy(v1alpha1.DeletionRetain)), synced(suspended),
			noted(toEdited, toPolicy(v1alpha1.DeletionRetain)),
		},
		"a suspended row that another program activated is drift": {
			desired(refused), synced(suspended, func(o *user.Observed) { o.Row.Active = true }),
			user.Decision{
				Change:  change(user.Update, suspending, writing(user.FieldActive)),
				Problem: notPermitted,
				Drift:   []user.Field{user.FieldActive},
			},
		},
		"a generation newer than the resource's asks whether the copy is out of date": {
			desired(refused, outOfDate), synced(),
			user.Decision{
				Change: change(user.Update, toOld, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted, Confirm: true,
			},
		},
		"the row of a former resource without a finalizer is deleted as that one wanted": {
			desired(refused, withPolicy(v1alpha1.DeletionRetain)), synced(ownedBy(predecessor)),
			user.Decision{Change: change(user.Delete, forPredecessor), Confirm: true, Again: true},
		},
		"the row of a former resource without a finalizer is deactivated as that one wanted": {
			desired(refused, adopting), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionDeactivate)),
			user.Decision{
				Change:  change(user.Deactivate, forPredecessor, toPolicy(v1alpha1.DeletionDeactivate)),
				Confirm: true, Again: true,
			},
		},
		"the row of a former resource without a finalizer is retained as that one wanted, but not active": {
			desired(refused), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionRetain)),
			user.Decision{
				Change:  change(user.Deactivate, forPredecessor, toPolicy(v1alpha1.DeletionRetain)),
				Confirm: true, Again: true,
			},
		},
	})
}

func forPredecessor(c *user.Change) { c.Owner = predecessor }

// applyingNothing is a change for which it has no meaning what the resource asks for.
func applyingNothing(c *user.Change) { c.Roles, c.Active = nil, false }

func TestPlanOfADeletionThatNoPolicyPermits(t *testing.T) {
	const retain = v1alpha1.DeletionRetain
	runPlan(t, map[string]planCase{
		"Delete removes the row": {
			desired(refused, deleting), synced(), user.Decision{Change: change(user.Delete)},
		},
		"Retain lets go of the row, but not of an active one": {
			desired(refused, deleting, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain))},
		},
		"Retain does not wait for a paused resource, and leaves no active row": {
			desired(refused, deleting, paused, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(retain))},
		},
		"what waits because it is paused is deactivated meanwhile": {
			desired(refused, deleting, paused), synced(),
			user.Decision{Change: change(user.Update, suspending, writing(user.FieldActive, user.FieldPasswordHash)), Problem: notPermitted},
		},
		"then it waits": {
			desired(refused, deleting, paused), synced(suspended),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"it waits where the row is gone": {
			desired(refused, deleting, paused), synced(rowGone),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a name that it does not own is buried": {
			desired(refused, deleting), nothingThere(), user.Decision{Change: change(user.Bury, onNothing)},
		},
	})
}

func TestPlanOfAResourceThatIsPermittedAgain(t *testing.T) {
	runPlan(t, map[string]planCase{
		"its row is activated, which is no drift": {
			desired(), synced(suspended),
			user.Decision{Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"its row is as the spec says by then, which is no drift": {
			desired(edited, withRoles("admin")), synced(suspended, rowRoles("x")),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"roles that were edited when the generation was noted already are no drift": {
			desired(withRoles("admin")), synced(suspended),
			user.Decision{Change: change(user.Update, toRoles("admin"), writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"a user who is to be inactive is only noted": {
			desired(inactive), synced(suspended), user.Decision{Change: change(user.Update, toInactive)},
		},
		"the Secret's new password is asked for": {
			desired(withSecret("v2")), synced(suspended),
			user.Decision{Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash)), TakePassword: true},
		},
		"a request to unlock that came meanwhile is acted upon": {
			desired(requestUnlock("t1")), synced(suspended, lockedFor(time.Hour)),
			user.Decision{Change: change(user.Update, unlocking("t1"), writing(user.FieldActive, user.FieldPasswordHash)), Confirm: true},
		},
		"a hash that another program changed meanwhile is drift": {
			desired(), synced(suspended, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a row that another program deleted meanwhile comes back": {
			desired(), synced(suspended, rowGone),
			user.Decision{Change: change(user.Create, puttingBack), Drift: []user.Field{user.FieldRow}},
		},
		"while it is paused its row stays as it is": {
			desired(paused), synced(suspended), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
	})
}

func TestPlanOfTermsOfLockout(t *testing.T) {
	runPlan(t, map[string]planCase{
		"they are noted with a new row": {
			desired(permitted(strict)), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, onTerms(strict)), TakePassword: true},
		},
		"they are noted with an adopted row": {
			desired(permitted(strict), adopting, withoutPassword), synced(neverNoted),
			user.Decision{Change: change(user.Adopt, onNothing, onTerms(strict))},
		},
		"an adopted row whose password is not ours is exempt from nothing": {
			desired(permitted(lax), adopting, withoutPassword), synced(neverNoted),
			user.Decision{Change: change(user.Adopt, onNothing)},
		},
		"nobody becomes exempt whose password is refused, and so stays the one before": {
			desired(permitted(lax), secretMissing), synced(),
			leaveBecause(noSecret.Reason, noSecret.Message),
		},
		"who gets a password that was looked at is exempt with it": {
			desired(permitted(lax), withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update, onTerms(lax)), TakePassword: true},
		},
		"who is exempt stays so while the Secret is missing": {
			desired(permitted(lax), secretMissing), synced(notedTerms(lax)),
			leaveBecause(noSecret.Reason, noSecret.Message),
		},
		"who gives up the password that was looked at is exempt no more": {
			desired(permitted(lax), withoutPassword), synced(notedTerms(lax)),
			user.Decision{Change: change(user.Update, func(c *user.Change) { c.Password = &user.PasswordChange{} })},
		},
		"a paused resource takes no password, and is not exempt by one that it would take": {
			desired(paused, permitted(lax), withSecret("v2")), synced(), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a paused resource is exempt by the password that was looked at": {
			desired(paused, permitted(lax)), synced(),
			user.Decision{
				Change:  change(user.Update, onTerms(lax), applyingNothing),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"they are noted of an owned row": {
			desired(permitted(strict)), synced(), user.Decision{Change: change(user.Update, onTerms(strict))},
		},
		"other ones are noted, beside an edit": {
			desired(permitted(lax), edited, inactive), synced(notedTerms(strict)),
			user.Decision{Change: change(user.Update, toEdited, toInactive, onTerms(lax), writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"those that are noted already are not noted again": {
			desired(permitted(strict)), synced(notedTerms(strict)), leave(),
		},
		"those of a policy that went are forgotten": {
			desired(), synced(notedTerms(strict)), user.Decision{Change: change(user.Update)},
		},
		"another policy with the same terms is nothing to note": {
			desired(permitted(strict), func(d *user.Desired) { d.Permission.By = "team-b" }), synced(notedTerms(strict)), leave(),
		},
		"a paused resource does not hold them up, and nothing else is noted": {
			desired(paused, permitted(strict), edited, inactive, withPolicy(v1alpha1.DeletionRetain), requestUnlock("t1")),
			synced(suspended, lockedFor(time.Minute)),
			user.Decision{
				Change:  change(user.Update, onTerms(strict), applyingNothing, suspending),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"a paused resource has them noted though its row is gone": {
			desired(paused, permitted(strict)), synced(rowGone),
			user.Decision{
				Change:  change(user.Update, onTerms(strict), applyingNothing),
				Problem: &user.Problem{Reason: v1alpha1.ReasonPaused, Message: isPaused},
			},
		},
		"a paused resource has none noted of what is not its own": {
			desired(paused, permitted(strict)), synced(ownedBy(neighbour)), leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a paused resource has those that are noted already not noted again": {
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
		"a password that may still be used":           {desired(expiring(25 * time.Hour)), synced(), time.Hour, true},
		"one that is as old as it may become":         {desired(expiring(24 * time.Hour)), synced(), 0, true},
		"one that is older":                           {desired(expiring(time.Hour)), synced(), -23 * time.Hour, true},
		"one whose row is gone":                       {desired(expiring(25 * time.Hour)), synced(rowGone), time.Hour, true},
		"one that may become as old as it likes":      {desired(permitted(strict)), synced(), 0, false},
		"one that is not ours":                        {desired(expiring(time.Hour)), synced(nothingOfOurs), 0, false},
		"one of somebody else":                        {desired(expiring(time.Hour)), synced(ownedBy(neighbour)), 0, false},
		"one that nobody noted":                       {desired(expiring(time.Hour)), synced(neverNoted), 0, false},
		"one of a name that the database never heard": {desired(expiring(time.Hour)), nothingThere(), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if left, known := tt.observed.PasswordExpiry(tt.desired); left != tt.left || known != tt.known {
				t.Errorf("PasswordExpiry = %s, %t, want %s, %t", left, known, tt.left, tt.known)
			}
		})
	}
}
