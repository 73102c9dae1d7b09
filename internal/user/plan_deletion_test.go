// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfADeletion(t *testing.T) {
	runPlan(t, map[string]planCase{
		"Delete removes the row": {
			desired(deleting), synced(),
			user.Decision{Change: change(user.Delete)},
		},
		"an empty policy means Delete": {
			desired(deleting, withPolicy("")), synced(),
			user.Decision{Change: change(user.Delete, toPolicy(""))},
		},
		"Deactivate keeps the row": {
			desired(deleting, withPolicy(deactivate)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate))},
		},
		"Retain releases the row": {
			desired(deleting, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"the policy of the resource counts, not the recorded one": {
			desired(deleting, withPolicy(retain)), synced(recordedPolicy(v1alpha1.DeletionDelete)),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"drift is not corrected before the deletion": {
			desired(deleting), synced(rowRoles("x"), rowHash(alien)),
			user.Decision{Change: change(user.Delete)},
		},
		"without a row only the record is deleted": {
			desired(deleting), synced(rowGone),
			user.Decision{Change: change(user.Delete)},
		},
		"a Secret that is missing does not matter": {
			desired(deleting, secretMissing), synced(),
			user.Decision{Change: change(user.Delete)},
		},
		"an older generation than the applied one is confirmed first": {
			desired(deleting), synced(recordedGeneration(4)),
			user.Decision{Change: change(user.Delete), Confirm: true},
		},
		"a newer generation than the applied one is not confirmed": {
			desired(deleting, edited, withPolicy(deactivate)), synced(),
			user.Decision{Change: change(user.Deactivate, toEdited, toPolicy(deactivate))},
		},
	})
}

func TestPlanOfADeletionWithoutARow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"an unused username gets a tombstone": {
			desired(deleting), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"another resource's tombstone is replaced": {
			desired(deleting), synced(ownedBy(neighbour), inState(user.Deleted), rowGone),
			user.Decision{Change: change(user.Bury)},
		},
		"a predecessor's tombstone is replaced": {
			desired(deleting), synced(ownedBy(predecessor), inState(user.Deleted), rowGone),
			user.Decision{Change: change(user.Bury)},
		},
		"a row that another resource released gets a tombstone": {
			desired(deleting, adopting), synced(ownedBy(neighbour), inState(user.Released)),
			user.Decision{Change: change(user.Bury)},
		},
		"a row that a predecessor released gets a tombstone": {
			desired(deleting), synced(ownedBy(predecessor), inState(user.Released)),
			user.Decision{Change: change(user.Bury)},
		},
		"policy, Secret and unlock request do not matter": {
			desired(deleting, withPolicy(retain), secretMissing, requestUnlock("t1")), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing, toPolicy(retain))},
		},
		"a paused resource gets a tombstone at once": {
			desired(deleting, paused), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"another resource's row stays": {
			desired(deleting), synced(ownedBy(neighbour)),
			leave(),
		},
		"the row of the same name in another cluster stays": {
			desired(deleting), synced(ownedBy(twin)),
			leave(),
		},
		"a predecessor's row stays": {
			desired(deleting), synced(ownedBy(predecessor)),
			leave(),
		},
		"an unowned row stays, even with adoption": {
			desired(deleting, adopting), synced(noRecord),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"a row that the resource released stays": {
			desired(deleting), synced(inState(user.Released)),
			leave(),
		},
		"a row created after the deletion stays": {
			desired(deleting), synced(inState(user.Deleted), rowHash(alien)),
			leave(),
		},
		"an existing tombstone stays": {
			desired(deleting), synced(inState(user.Deleted), rowGone),
			leave(),
		},
	})
}

func TestPlanOfADeletionThatIsPausedOrUnlocks(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a paused resource waits before it deletes": {
			desired(deleting, paused), synced(),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a paused resource waits before it deactivates": {
			desired(deleting, paused, withPolicy(deactivate)), synced(),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a paused resource releases at once": {
			desired(deleting, paused, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"a paused resource without a row does not wait": {
			desired(deleting, paused), synced(ownedBy(neighbour)),
			leave(),
		},
		"an unlock request is ignored before a deletion": {
			desired(deleting, requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Delete)},
		},
		"an unlock request is ignored before a deactivation": {
			desired(deleting, withPolicy(deactivate), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate))},
		},
		"an unlock request is ignored before a release": {
			desired(deleting, withPolicy(retain), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
	})
}

func TestPlanAfterAPredecessor(t *testing.T) {
	runPlan(t, map[string]planCase{
		"its released row is reclaimed without adoption": {
			desired(), synced(ownedBy(predecessor), inState(user.Released)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"its released row is created again if it is gone": {
			desired(), synced(ownedBy(predecessor), inState(user.Released), rowGone),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, Confirm: true},
		},
		"a paused resource reclaims nothing": {
			desired(paused), synced(ownedBy(predecessor), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"without its finalizer, a retained row is reclaimed": {
			desired(), synced(ownedBy(predecessor), recordedPolicy(retain)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"without its finalizer, a deactivated row is reclaimed": {
			desired(), synced(ownedBy(predecessor), recordedPolicy(deactivate)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"without its finalizer, a row is reclaimed by adoption": {
			desired(adopting), synced(ownedBy(predecessor)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"without its finalizer, a missing row is created by adoption": {
			desired(adopting), synced(ownedBy(predecessor), rowGone),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, Confirm: true},
		},
		"its generation does not limit the new one's": {
			desired(adopting, func(d *user.Desired) { d.Generation = 1 }), synced(ownedBy(predecessor), recordedGeneration(5)),
			user.Decision{
				Change:       change(user.Adopt, func(c *user.Change) { c.Generation = 1 }),
				TakePassword: true, Confirm: true,
			},
		},
		"without its finalizer, its row is deleted first": {
			desired(), synced(ownedBy(predecessor)),
			user.Decision{
				Change:  change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				Confirm: true, Again: true,
			},
		},
		"a deletion for it has its generation": {
			desired(func(d *user.Desired) { d.Generation = 1 }), synced(ownedBy(predecessor), recordedGeneration(5)),
			user.Decision{
				Change: change(user.Delete, func(c *user.Change) {
					c.Owner, c.Generation = predecessor, 5
				}),
				Confirm: true, Again: true,
			},
		},
		"an unlock request waits for the new row": {
			desired(requestUnlock("t1")), synced(ownedBy(predecessor)),
			user.Decision{
				Change:  change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				Confirm: true, Again: true,
			},
		},
		"the same name in another cluster is not a predecessor": {
			desired(), synced(ownedBy(twin), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
	})
}
