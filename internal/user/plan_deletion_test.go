// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestPlanOfADeletion(t *testing.T) {
	const (
		deactivate = v1alpha1.DeletionDeactivate
		retain     = v1alpha1.DeletionRetain
	)
	runPlan(t, map[string]planCase{
		"Delete removes the row": {
			desired(deleting), synced(),
			user.Decision{Change: change(user.Delete)},
		},
		"a policy that was never defaulted means Delete": {
			desired(deleting, withPolicy("")), synced(),
			user.Decision{Change: change(user.Delete, toPolicy(""))},
		},
		"Deactivate leaves the row": {
			desired(deleting, withPolicy(deactivate)), synced(),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate))},
		},
		"Retain lets go of the row": {
			desired(deleting, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"the policy of the resource counts and not the one that was noted": {
			desired(deleting, withPolicy(retain)), synced(notedPolicy(v1alpha1.DeletionDelete)),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"a row that drifted goes without being put back": {
			desired(deleting), synced(rowRoles("x"), rowHash(alien)),
			user.Decision{Change: change(user.Delete)},
		},
		"a row that is gone already leaves the note to be dealt with": {
			desired(deleting), synced(rowGone),
			user.Decision{Change: change(user.Delete)},
		},
		"a Secret that is missing does not matter": {
			desired(deleting, secretMissing), synced(),
			user.Decision{Change: change(user.Delete)},
		},
		"a deletion of an older generation than was applied asks whether the copy is out of date": {
			desired(deleting), synced(notedGeneration(4)),
			user.Decision{Change: change(user.Delete), Confirm: true},
		},
		"a deletion of a newer generation than was applied goes on": {
			desired(deleting, edited, withPolicy(deactivate)), synced(),
			user.Decision{Change: change(user.Deactivate, toEdited, toPolicy(deactivate))},
		},
		"a resource of a name that was never noted is buried": {
			desired(deleting), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"a resource that came after another one's deletion is buried": {
			desired(deleting), synced(ownedBy(neighbour), inState(user.Deleted), rowGone),
			user.Decision{Change: change(user.Bury)},
		},
		"a resource that came after its place's former one, which was deleted, is buried": {
			desired(deleting), synced(ownedBy(predecessor), inState(user.Deleted), rowGone),
			user.Decision{Change: change(user.Bury)},
		},
		"a resource is buried beside a row that another one released": {
			desired(deleting, adopting), synced(ownedBy(neighbour), inState(user.Released)),
			user.Decision{Change: change(user.Bury)},
		},
		"a resource is buried beside a row that its place's former one released": {
			desired(deleting), synced(ownedBy(predecessor), inState(user.Released)),
			user.Decision{Change: change(user.Bury)},
		},
		"a resource is buried whatever its policy, without a look at the Secret or the request to unlock": {
			desired(deleting, withPolicy(retain), secretMissing, requestUnlock("t1")), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing, toPolicy(retain))},
		},
		"a paused resource does not wait to be buried": {
			desired(deleting, paused), nothingThere(),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"somebody else's row stays": {
			desired(deleting), synced(ownedBy(neighbour)),
			leave(),
		},
		"the row of the same place in another cluster stays": {
			desired(deleting), synced(ownedBy(twin)),
			leave(),
		},
		"the row of the place's former resource stays": {
			desired(deleting), synced(ownedBy(predecessor)),
			leave(),
		},
		"a row that nobody owns stays, also where it might have been adopted": {
			desired(deleting, adopting), synced(neverNoted),
			user.Decision{Change: change(user.Bury, onNothing)},
		},
		"a row that was let go of stays, and there is nothing left to note": {
			desired(deleting), synced(inState(user.Released)),
			leave(),
		},
		"a row that came after the deletion stays, and there is nothing left to note": {
			desired(deleting), synced(inState(user.Deleted), rowHash(alien)),
			leave(),
		},
		"a name that was dealt with needs nothing": {
			desired(deleting), synced(inState(user.Deleted), rowGone),
			leave(),
		},
		"a paused resource waits before it deletes": {
			desired(deleting, paused), synced(),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a paused resource waits before it deactivates": {
			desired(deleting, paused, withPolicy(deactivate)), synced(),
			leaveBecause(v1alpha1.ReasonPaused, deletionWaits),
		},
		"a paused resource does not wait to let go": {
			desired(deleting, paused, withPolicy(retain)), synced(),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
		"a paused resource does not wait where nothing is its own": {
			desired(deleting, paused), synced(ownedBy(neighbour)),
			leave(),
		},
		"a request to unlock is void once the row is to be deleted": {
			desired(deleting, requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Delete)},
		},
		"a request to unlock is void once the row is to be deactivated": {
			desired(deleting, withPolicy(deactivate), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Deactivate, toPolicy(deactivate))},
		},
		"a request to unlock is void once the row is to stay as it is": {
			desired(deleting, withPolicy(retain), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Release, toPolicy(retain))},
		},
	})
}

func TestPlanAfterAPredecessorOfTheSamePlace(t *testing.T) {
	runPlan(t, map[string]planCase{
		"the row that it released is taken up again without adoption": {
			desired(), synced(ownedBy(predecessor), inState(user.Released)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"the row that it released and that is gone since is created anew": {
			desired(), synced(ownedBy(predecessor), inState(user.Released), rowGone),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, Confirm: true},
		},
		"a paused resource takes up nothing": {
			desired(paused), synced(ownedBy(predecessor), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"where it went without its finalizer and would have retained the row, the row is taken up": {
			desired(), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionRetain)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"where it went without its finalizer and would have deactivated the row, the row is taken up": {
			desired(), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionDeactivate)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"where it went without its finalizer and the new one adopts, the row is taken up": {
			desired(adopting), synced(ownedBy(predecessor)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, Confirm: true},
		},
		"where it went without its finalizer and the row too, the one that adopts creates it anew": {
			desired(adopting), synced(ownedBy(predecessor), rowGone),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, Confirm: true},
		},
		"a generation that it had says nothing of the new one's": {
			desired(adopting, func(d *user.Desired) { d.Generation = 1 }), synced(ownedBy(predecessor), notedGeneration(5)),
			user.Decision{
				Change:       change(user.Adopt, func(c *user.Change) { c.Generation = 1 }),
				TakePassword: true, Confirm: true,
			},
		},
		"where it went without its finalizer and would have deleted the row, that comes first": {
			desired(), synced(ownedBy(predecessor)),
			user.Decision{
				Change:  change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				Confirm: true, Again: true,
			},
		},
		"a deletion in its stead is as of its generation, which counts on from another start": {
			desired(func(d *user.Desired) { d.Generation = 1 }), synced(ownedBy(predecessor), notedGeneration(5)),
			user.Decision{
				Change: change(user.Delete, func(c *user.Change) {
					c.Owner, c.Generation = predecessor, 5
				}),
				Confirm: true, Again: true,
			},
		},
		"a request to unlock waits until there is a row to unlock": {
			desired(requestUnlock("t1")), synced(ownedBy(predecessor)),
			user.Decision{
				Change:  change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				Confirm: true, Again: true,
			},
		},
		"the same place in another cluster is another place": {
			desired(), synced(ownedBy(twin), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
	})
}
