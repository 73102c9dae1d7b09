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
		"a row that matches the spec stays": {
			desired(), synced(),
			leave(),
		},
		"roles in another order are the same roles": {
			desired(withRoles("a", "b", "c")), synced(rowRoles("c", "a", "b")),
			leave(),
		},
		"a duplicate role is no difference": {
			desired(), synced(rowRoles("operator", "operator")),
			leave(),
		},
		"failed attempts, locks and logins are left alone": {
			desired(), synced(lockedFor(time.Hour), loggedIn(time.Minute)),
			leave(),
		},
		"other roles in the spec are written": {
			desired(edited, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
		"the last role is removed": {
			desired(edited, withRoles()), synced(),
			user.Decision{Change: change(user.Update, toEdited, toRoles(), writing(user.FieldRoles))},
		},
		"a deactivation is written": {
			desired(edited, inactive), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, writing(user.FieldActive, user.FieldPasswordHash))},
		},
		"two edits are one change": {
			desired(edited, inactive, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, toRoles("admin"),
				writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
		"an edit without effect on the row is only recorded": {
			desired(edited, withPolicy(v1alpha1.DeletionRetain)), synced(),
			user.Decision{Change: change(user.Update, toEdited, toPolicy(v1alpha1.DeletionRetain))},
		},
		"an edit that the row already matches is only recorded": {
			desired(edited, withRoles("admin")), synced(rowRoles("admin")),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"))},
		},
		"a paused resource writes no edit": {
			desired(paused, edited, withRoles("admin")), synced(),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a paused resource ignores drift, password and request": {
			desired(paused, withSecret("v2"), requestUnlock("t1")), synced(rowRoles("x"), lockedFor(time.Minute)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a newer recorded generation is confirmed, without drift": {
			desired(outOfDate), synced(rowRoles("admin")),
			user.Decision{Change: change(user.Update, toOld, writing(user.FieldRoles)), Confirm: true},
		},
		"a newer recorded generation is confirmed without a write": {
			desired(outOfDate), synced(),
			user.Decision{Change: change(user.Update, toOld), Confirm: true},
		},
		"another policy of the same generation is recorded": {
			desired(withPolicy(v1alpha1.DeletionRetain)), synced(),
			user.Decision{Change: change(user.Update, toPolicy(v1alpha1.DeletionRetain))},
		},
		"a newer recorded generation is confirmed before a restore": {
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
		"roles that another program changed are corrected": {
			desired(), synced(rowRoles("operator", "admin")),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"malformed roles are corrected": {
			desired(), synced(rowMalformed),
			user.Decision{
				Change: change(user.Update, writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"malformed roles are corrected to no roles": {
			desired(withRoles()), synced(rowMalformed),
			user.Decision{
				Change: change(user.Update, toRoles(), writing(user.FieldRoles)),
				Drift:  []user.Field{user.FieldRoles},
			},
		},
		"a deactivation by another program is corrected": {
			desired(), synced(rowInactive),
			user.Decision{
				Change: change(user.Update, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldActive},
			},
		},
		"an activation by another program is corrected": {
			desired(inactive), synced(),
			user.Decision{
				Change: change(user.Update, toInactive, writing(user.FieldActive, user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldActive},
			},
		},
	})
}

func TestPlanOfDriftOfThePassword(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a changed hash is restored from the record": {
			desired(), synced(rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a hash that became NULL is restored": {
			desired(), synced(rowHash("")),
			user.Decision{
				Change: change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Drift:  []user.Field{user.FieldPasswordHash},
			},
		},
		"a weak password is restored as weak": {
			desired(), synced(weak, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, writing(user.FieldPasswordHash), func(c *user.Change) {
					c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1", Weak: true}
				}),
				Drift: []user.Field{user.FieldPasswordHash},
			},
		},
		"a suspicious, unchecked password is restored as such": {
			desired(secretMissing), synced(suspected("edge"), unjudged, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, writing(user.FieldPasswordHash), func(c *user.Change) {
					c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1", Suspicion: "edge", Unchecked: true}
				}),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldPasswordHash},
			},
		},
		"a changed hash is replaced if the Secret changed too": {
			desired(withSecret("v2")), synced(rowHash(alien)),
			user.Decision{
				Change:       change(user.Update),
				TakePassword: true,
				Drift:        []user.Field{user.FieldPasswordHash},
			},
		},
		"all drift is one change": {
			desired(), synced(rowRoles("x"), rowInactive, rowHash(alien)),
			user.Decision{
				Change: change(user.Update, puttingBack,
					writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash)),
				Drift: []user.Field{user.FieldRoles, user.FieldActive, user.FieldPasswordHash},
			},
		},
		"an edit is no drift": {
			desired(edited), synced(rowRoles("x"), rowInactive),
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash))},
		},
	})
}

func TestPlanOfADeletedRow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a deleted row is restored with its recorded password": {
			desired(), synced(rowGone),
			user.Decision{Change: change(user.Create, puttingBack), Drift: []user.Field{user.FieldRow}},
		},
		"a deleted row is restored without its Secret": {
			desired(secretMissing), synced(rowGone),
			user.Decision{
				Change:  change(user.Create, puttingBack),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldRow},
			},
		},
		"a deleted row is restored with the Secret's new password": {
			desired(withSecret("v2")), synced(rowGone),
			user.Decision{
				Change:       change(user.Create, puttingBack),
				TakePassword: true,
				Drift:        []user.Field{user.FieldRow},
			},
		},
		"without a managed password it is restored unusable": {
			desired(withoutPassword), synced(rowGone, nothingOfOurs),
			user.Decision{Change: change(user.Create, unusable), Drift: []user.Field{user.FieldRow}},
		},
		"without a password in the spec it is restored unusable": {
			desired(edited, withoutPassword), synced(rowGone),
			user.Decision{Change: change(user.Create, toEdited, unusable), Drift: []user.Field{user.FieldRow}},
		},
	})
}

func TestPlanOfASignOutRequest(t *testing.T) {
	asks := func(request string) desiredOption { return func(d *user.Desired) { d.SignOut = request } }
	handled := func(request string) observedOption {
		return func(o *user.Observed) { o.Ownership.SignOutHandled = request }
	}
	signsOut := func(c *user.Change) { c.SignOut = "t1" }
	runPlan(t, map[string]planCase{
		"a first request is handled, and keeps the lock": {
			desired(asks("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, signsOut), Confirm: true},
		},
		"another request is handled": {
			desired(asks("t1")), synced(handled("t2")),
			user.Decision{Change: change(user.Update, signsOut), Confirm: true},
		},
		"a handled request is not handled again": {desired(asks("t1")), synced(handled("t1")), leave()},
		"a removed request is not handled":       {desired(), synced(handled("t1")), leave()},
	})
}

func TestPlanOfAnUnlockRequest(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a first request is handled": {
			desired(requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t1")), Confirm: true},
		},
		"another request is handled": {
			desired(requestUnlock("t2")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t2")), Confirm: true},
		},
		"a request without a lock clears the counter": {
			desired(requestUnlock("t1")), synced(failed(4)),
			user.Decision{Change: change(user.Update, unlocking("t1")), Confirm: true},
		},
		"a handled request does not clear a later lock": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a removed request is not handled": {
			desired(), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a request that a predecessor handled stays handled": {
			desired(requestUnlock("t1")),
			synced(ownedBy(predecessor), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, recordingUnlock("t1")), TakePassword: true, Confirm: true},
		},
		"it stays handled without the predecessor's finalizer": {
			desired(adopting, requestUnlock("t1")),
			synced(ownedBy(predecessor), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, recordingUnlock("t1")), TakePassword: true, Confirm: true},
		},
		"another request than the predecessor's is handled": {
			desired(requestUnlock("t2")),
			synced(ownedBy(predecessor), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, unlocking("t2")), TakePassword: true, Confirm: true},
		},
		"a handled request stays handled in a restored row": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), rowGone),
			user.Decision{
				Change: change(user.Create, puttingBack, recordingUnlock("t1")),
				Drift:  []user.Field{user.FieldRow},
			},
		},
		"a new request with a restored row is confirmed first": {
			desired(requestUnlock("t2")), synced(unlockHandled("t1"), rowGone),
			user.Decision{
				Change:  change(user.Create, puttingBack, unlocking("t2")),
				Drift:   []user.Field{user.FieldRow},
				Confirm: true,
			},
		},
		"a handled request is not part of another update": {
			desired(edited, requestUnlock("t1"), withRoles("admin")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
	})
}
