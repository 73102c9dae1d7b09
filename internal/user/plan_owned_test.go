// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfAnOwnedRow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a row that says what the spec says is left alone": {
			desired(), synced(),
			leave(),
		},
		"roles in another order are the same roles": {
			desired(withRoles("a", "b", "c")), synced(rowRoles("c", "a", "b")),
			leave(),
		},
		"a role that the row has twice is no difference": {
			desired(), synced(rowRoles("operator", "operator")),
			leave(),
		},
		"failed attempts, a lock and a log-in are not the operator's": {
			desired(), synced(lockedFor(time.Hour), loggedIn(time.Minute)),
			leave(),
		},
		"other roles in the spec are written": {
			desired(edited, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"the last role goes from the row as well": {
			desired(edited, withRoles()), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles(), writing(user.FieldRoles))},
		},
		"a user that became inactive is written": {
			desired(edited, inactive), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"two edits are one change": {
			desired(edited, inactive, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, toRoles("admin"),
				writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"an edit that does not concern the row is only noted": {
			desired(edited, withPolicy(v1alpha1.DeletionRetain)), synced(),
			user.Decision{Change: change(user.Update, toEdited, toPolicy(v1alpha1.DeletionRetain))},
		},
		"an edit that the row happens to say already is only noted": {
			desired(edited, withRoles("admin")), synced(rowRoles("admin")),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"))},
		},
		"a paused resource leaves an edit unwritten": {
			desired(paused, edited, withRoles("admin")), synced(),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a paused resource leaves drift, password and request as they are": {
			desired(paused, withSecret("v2"), requestUnlock("t1")), synced(rowRoles("x"), lockedFor(time.Minute)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a generation newer than the resource's asks whether the copy is out of date, and blames nobody for drift": {
			desired(outOfDate), synced(rowRoles("admin")),
			user.Decision{Change: change(user.Update, toOld, writing(user.FieldRoles)), Confirm: true},
		},
		"a generation newer than the resource's asks so also where it only is to be noted": {
			desired(outOfDate), synced(),
			user.Decision{Change: change(user.Update, toOld), Confirm: true},
		},
		"a policy other than the noted one of the same generation, as after a restored backup, is noted": {
			desired(withPolicy(v1alpha1.DeletionRetain)), synced(),
			user.Decision{Change: change(user.Update, toPolicy(v1alpha1.DeletionRetain))},
		},
		"a generation newer than the resource's asks so before a row comes back": {
			desired(outOfDate), synced(rowGone),
			user.Decision{
				Change:  change(user.Create, toOld, puttingBack),
				Drift:   []user.Field{user.FieldRow},
				Confirm: true,
			},
		},
	})
}

func TestPlanOfDrift(t *testing.T) {
	runPlan(t, map[string]planCase{
		"roles that another program changed are put back": {
			desired(), synced(rowRoles("operator", "admin")),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"roles that are no array of strings are put back": {
			desired(), synced(rowMalformed),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"roles that are no array of strings are put back where there should be none": {
			desired(withRoles()), synced(rowMalformed),
			user.Decision{
				Change: change(user.Update, toRoles(), writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"a user that another program deactivated is put back": {
			desired(), synced(rowInactive),
			user.Decision{
				Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldActive},
			},
		},
		"a user that another program activated is put back": {
			desired(inactive), synced(),
			user.Decision{
				Change: change(user.Update, toInactive, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldActive},
			},
		},
		"a hash that another program changed is put back from the note, without a new hash": {
			desired(), synced(rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a hash that became NULL is put back": {
			desired(), synced(rowHash("")),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a weak password is put back as weak": {
			desired(), synced(weak, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, writing(user.FieldPasswordHash), func(c *user.Change) {
					c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1", Weak: true}
				}),
				Drift: []user.Field{user.FieldPasswordHash},
			},
		},
		"a suspicious password is put back as suspicious, and as unjudged where it was": {
			desired(secretMissing), synced(suspected("edge"), unjudged, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, writing(user.FieldPasswordHash), func(c *user.Change) {
					c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1", Suspicion: "edge", Unchecked: true}
				}),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldPasswordHash},
			},
		},
		"a hash that another program changed while the Secret did is replaced by the new one": {
			desired(withSecret("v2")), synced(rowHash(alien)),
			user.Decision{
				Change:       change(user.Update),
				TakePassword: true,
				Drift:        []user.Field{user.FieldPasswordHash},
			},
		},
		"everything at once is one change": {
			desired(), synced(rowRoles("x"), rowInactive, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack,
					writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash)),
				Drift: []user.Field{user.FieldRoles, user.FieldActive, user.FieldPasswordHash},
			},
		},
		"an edit of the resource is no drift": {
			desired(edited), synced(rowRoles("x"), rowInactive),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"a row that another program deleted comes back with its password from the note": {
			desired(), synced(rowGone),
			user.Decision{Change: change(user.Create, puttingBack), Drift: []user.Field{user.FieldRow}},
		},
		"a deleted row comes back with its password though the Secret is missing": {
			desired(secretMissing), synced(rowGone),
			user.Decision{
				Change:  change(user.Create, puttingBack),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldRow},
			},
		},
		"a deleted row comes back with the Secret's new password": {
			desired(withSecret("v2")), synced(rowGone),
			user.Decision{
				Change:       change(user.Create, puttingBack),
				TakePassword: true,
				Drift:        []user.Field{user.FieldRow},
			},
		},
		"a deleted row whose password was not ours comes back with one that nothing matches": {
			desired(withoutPassword), synced(rowGone, nothingOfOurs),
			user.Decision{Change: change(user.Create, unusable), Drift: []user.Field{user.FieldRow}},
		},
		"a deleted row whose password is no longer ours comes back with one that nothing matches": {
			desired(edited, withoutPassword), synced(rowGone),
			user.Decision{Change: change(user.Create, toEdited, unusable), Drift: []user.Field{user.FieldRow}},
		},
	})
}

func TestPlanOfARequestToUnlock(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a first request is acted upon": {
			desired(requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t1")), Confirm: true},
		},
		"another request is acted upon": {
			desired(requestUnlock("t2")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t2")), Confirm: true},
		},
		"a request is acted upon where there is no lock, since it clears the counter": {
			desired(requestUnlock("t1")), synced(failed(4)),
			user.Decision{Change: change(user.Update, unlocking("t1")), Confirm: true},
		},
		"a request that was handled does not lift a later lock": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a request that was taken back is nothing to act upon": {
			desired(), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a request that the place's former resource had handled stays handled": {
			desired(requestUnlock("t1")),
			synced(ownedBy(predecessor), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, noting("t1")), TakePassword: true, Confirm: true},
		},
		"it stays handled where the former resource went without its finalizer": {
			desired(adopting, requestUnlock("t1")),
			synced(ownedBy(predecessor), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, noting("t1")), TakePassword: true, Confirm: true},
		},
		"another request than the place's former resource had handled is acted upon": {
			desired(requestUnlock("t2")),
			synced(ownedBy(predecessor), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, unlocking("t2")), TakePassword: true, Confirm: true},
		},
		"a request that was handled stays handled when the row comes back": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), rowGone),
			user.Decision{
				Change: change(user.Create, puttingBack, noting("t1")),
				Drift:  []user.Field{user.FieldRow},
			},
		},
		"a new request when the row comes back asks whether the copy is out of date": {
			desired(requestUnlock("t2")), synced(unlockHandled("t1"), rowGone),
			user.Decision{
				Change:  change(user.Create, puttingBack, unlocking("t2")),
				Drift:   []user.Field{user.FieldRow},
				Confirm: true,
			},
		},
		"a handled request is no part of an update for another reason": {
			desired(edited, requestUnlock("t1"), withRoles("admin")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
	})
}
