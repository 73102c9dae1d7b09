// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// planCase is one case of Plan. Where the change is Nothing, the rest of it has no meaning and is not compared.
type planCase struct {
	desired  user.Desired
	observed user.Observed
	want     user.Decision
}

func runPlan(t *testing.T, cases map[string]planCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			got := plan(t, tt.desired, tt.observed)
			if got.Change.Verb == user.Nothing {
				got.Change = user.Change{Verb: user.Nothing}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the decision is another one (-want +got):\n%s", diff)
			}
		})
	}
}

type changeOption func(*user.Change)

// change is a change of alice's account that rests on her note as synced has it.
func change(verb user.Verb, options ...changeOption) user.Change {
	c := user.Change{
		Verb:       verb,
		Username:   "alice",
		Owner:      alice,
		Generation: 3,
		Revision:   7,
		Deletion:   v1alpha1.DeletionDelete,
		Roles:      []string{"operator"},
		Active:     true,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

func onNothing(c *user.Change)   { c.Revision = 0 }
func toEdited(c *user.Change)    { c.Generation = 4 }
func toInactive(c *user.Change)  { c.Active = false }
func clearsLock(c *user.Change)  { c.ClearLockout = true }
func lettingGo(c *user.Change)   { c.Password = &user.PasswordChange{} }
func unusable(c *user.Change)    { c.Password = &user.PasswordChange{Hash: user.UnusablePassword} }
func puttingBack(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v1"} }

func toRoles(roles ...string) changeOption {
	return func(c *user.Change) { c.Roles = roles }
}

func toPolicy(policy v1alpha1.DeletionPolicy) changeOption {
	return func(c *user.Change) { c.Deletion = policy }
}

func writing(fields ...user.Field) changeOption {
	return func(c *user.Change) { c.Write = fields }
}

func unlocking(request string) changeOption {
	return func(c *user.Change) { c.Unlock, c.ClearLockout = request, true }
}

// leave is the decision to do nothing.
func leave() user.Decision { return user.Decision{Change: user.Change{Verb: user.Nothing}} }

func leaveBecause(reason, message string) user.Decision {
	d := leave()
	d.Problem = &user.Problem{Reason: reason, Message: message}
	return d
}

const (
	rowExists = `The table already has a row of username "alice" that no ShardingUser owns; ` +
		`set spec.adoptionPolicy to IfUnowned to take it over.`
	takenByNeighbour = `Username "alice" belongs to ShardingUser team-b/alice; ` +
		`choose another username, or delete that resource.`
	takenByTwin = `Username "alice" belongs to ShardingUser team-a/alice of the cluster whose kube-system namespace has ` +
		`the UID cluster-2; choose another username, or delete that resource.`
	isPaused      = `Nothing is changed in the database while the annotation sharding.io/paused is "true"; remove it to go on.`
	deletionWaits = `The deletion waits while the annotation sharding.io/paused is "true"; remove it to go on.`
)

func TestPlanOfANewName(t *testing.T) {
	runPlan(t, map[string]planCase{
		"a name that nobody has is created with the Secret's password": {
			desired(), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable), TakePassword: true},
		},
		"an inactive user with no roles is created as such": {
			desired(inactive, withRoles()), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, toInactive, toRoles()), TakePassword: true},
		},
		"without a password in the spec the new row has one that nothing matches": {
			desired(withoutPassword), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable)},
		},
		"without its Secret the row is created all the same, and the problem is told": {
			desired(secretMissing), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable), Problem: noSecret},
		},
		"a request to unlock on a new resource is noted with the row": {
			desired(requestUnlock("t1")), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, unlocking("t1")), TakePassword: true},
		},
		"the policies are noted as they are asked for": {
			desired(withPolicy(v1alpha1.DeletionRetain), adopting), nothingThere(),
			user.Decision{
				Change:       change(user.Create, onNothing, unusable, toPolicy(v1alpha1.DeletionRetain)),
				TakePassword: true,
			},
		},
		"a paused resource creates nothing": {
			desired(paused), nothingThere(),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"the tombstone of another resource is no obstacle": {
			desired(), synced(rowGone, ownedBy(neighbour), inState(user.Deleted)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
		"the tombstone of the place's former resource is no obstacle": {
			desired(), synced(rowGone, ownedBy(predecessor), inState(user.Deleted)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
		"the tombstone of the very resource stops a copy that is out of date": {
			desired(), synced(rowGone, inState(user.Deleted)),
			leave(),
		},
		"the tombstone of the very resource keeps its hands off a row that came after it": {
			desired(adopting, withRoles("admin")), synced(rowHash(alien), inState(user.Deleted)),
			leave(),
		},
		"a name released elsewhere without a row is free": {
			desired(), synced(rowGone, ownedBy(neighbour), inState(user.Released)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
	})
}

func TestPlanOfARowThatNobodyOwns(t *testing.T) {
	runPlan(t, map[string]planCase{
		"it is not adopted without being asked": {
			desired(), synced(neverNoted),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"it is not adopted without being asked even where it says what the spec says": {
			desired(withoutPassword), synced(neverNoted),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"an adoption policy that was never defaulted means Never": {
			desired(func(d *user.Desired) { d.Adoption = "" }), synced(neverNoted),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"it is adopted with the Secret's password": {
			desired(adopting), synced(neverNoted, rowHash(alien), rowRoles("admin")),
			user.Decision{Change: change(user.Adopt, onNothing), TakePassword: true},
		},
		"it is adopted with the password that it has where the spec names none": {
			desired(adopting, withoutPassword), synced(neverNoted, rowHash(alien)),
			user.Decision{Change: change(user.Adopt, onNothing)},
		},
		"it is adopted with the password that it has where the Secret is missing": {
			desired(adopting, secretMissing), synced(neverNoted, rowHash(alien)),
			user.Decision{Change: change(user.Adopt, onNothing), Problem: noSecret},
		},
		"it is adopted and unlocked in one step": {
			desired(adopting, requestUnlock("t1")), synced(neverNoted, lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, onNothing, unlocking("t1")), TakePassword: true},
		},
		"a paused resource adopts nothing": {
			desired(adopting, paused), synced(neverNoted),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a row that came after another resource's deletion is not adopted without being asked": {
			desired(), synced(ownedBy(neighbour), inState(user.Deleted), rowHash(alien)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"a row that another resource released is not adopted without being asked": {
			desired(), synced(ownedBy(neighbour), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"a row that another cluster released is not adopted without being asked": {
			desired(), synced(ownedBy(twin), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
	})
}

func TestPlanOfANameThatAnotherResourceOwns(t *testing.T) {
	runPlan(t, map[string]planCase{
		"it is refused, and the message names the owner": {
			desired(), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused where the owner is of another cluster, and the message says of which": {
			desired(), synced(ownedBy(twin)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByTwin),
		},
		"it is refused whatever the adoption policy": {
			desired(adopting), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused while the owner's row is missing": {
			desired(adopting), synced(ownedBy(neighbour), rowGone),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused where the owner would leave the row behind": {
			desired(adopting), synced(ownedBy(neighbour), notedPolicy(v1alpha1.DeletionRetain)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused without a look at the Secret or the request to unlock": {
			desired(secretMissing, requestUnlock("t1")), synced(ownedBy(neighbour), lockedFor(time.Minute)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"a note in a state that a later version may know counts as taken": {
			desired(adopting), synced(ownedBy(neighbour), inState("leased")),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"a paused resource says that it is paused": {
			desired(paused), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
	})
}

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
			user.Decision{Change: change(user.Update, toEdited, toInactive, writing(user.FieldActive))},
		},
		"two edits are one change": {
			desired(edited, inactive, withRoles("admin")), synced(),
			user.Decision{Change: change(user.Update, toEdited, toInactive, toRoles("admin"),
				writing(user.FieldRoles, user.FieldActive))},
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
		"a copy that is out of date blames nobody for drift": {
			// The store refuses this change for its generation.
			desired(outOfDate), synced(rowRoles("admin")),
			user.Decision{Change: change(user.Update, writing(user.FieldRoles),
				func(c *user.Change) { c.Generation = 2 })},
		},
	})
}

func TestPlanOfAPassword(t *testing.T) {
	runPlan(t, map[string]planCase{
		"another version of the Secret asks for its password": {
			desired(withSecret("v2")), synced(),
			user.Decision{Change: change(user.Update), TakePassword: true},
		},
		"the first password of an owned row is asked for": {
			desired(edited), synced(nothingOfOurs, rowHash(user.UnusablePassword)),
			user.Decision{Change: change(user.Update, toEdited), TakePassword: true},
		},
		"a Secret that is missing leaves the password in force": {
			desired(secretMissing), synced(),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"a Secret that is missing keeps nothing else from being written": {
			desired(edited, secretMissing, withRoles("admin")), synced(),
			user.Decision{
				Change:  change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles)),
				Problem: noSecret,
			},
		},
		"a Secret that is missing does not keep a changed hash from being put back": {
			desired(secretMissing), synced(rowHash(alien)),
			user.Decision{
				Change:  change(user.Update, puttingBack, writing(user.FieldPasswordHash)),
				Problem: noSecret,
				Drift:   []user.Field{user.FieldPasswordHash},
			},
		},
		"a Secret that was always missing leaves whatever password the row has": {
			desired(secretMissing), synced(nothingOfOurs, rowHash(alien)),
			user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: noSecret},
		},
		"a password that is not ours may change at will": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(alien)),
			leave(),
		},
		"a password that is no longer ours is let go of, and stays in the row": {
			desired(edited, withoutPassword), synced(),
			user.Decision{Change: change(user.Update, toEdited, lettingGo)},
		},
		"a password that is no longer ours and was changed meanwhile is not put back": {
			desired(edited, withoutPassword), synced(rowHash(alien)),
			user.Decision{Change: change(user.Update, toEdited, lettingGo)},
		},
		"password and request to unlock together are one change": {
			desired(withSecret("v2"), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t1")), TakePassword: true},
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
				Change: change(user.Update, writing(user.FieldActive)),
				Drift:  []user.Field{user.FieldActive},
			},
		},
		"a user that another program activated is put back": {
			desired(inactive), synced(),
			user.Decision{
				Change: change(user.Update, toInactive, writing(user.FieldActive)),
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
			user.Decision{Change: change(user.Update, toEdited, writing(user.FieldRoles, user.FieldActive))},
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
			user.Decision{Change: change(user.Update, unlocking("t1"))},
		},
		"another request is acted upon": {
			desired(requestUnlock("t2")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, unlocking("t2"))},
		},
		"a request is acted upon where there is no lock, since it clears the counter": {
			desired(requestUnlock("t1")), synced(failed(4)),
			user.Decision{Change: change(user.Update, unlocking("t1"))},
		},
		"a request that was handled does not lift a later lock": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a request that was taken back is nothing to act upon": {
			desired(), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			leave(),
		},
		"a request of the place's former resource is not taken for handled": {
			desired(requestUnlock("t1")),
			synced(ownedBy(predecessor), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, unlocking("t1")), TakePassword: true, TakesOver: true},
		},
		"a handled request is no part of an update for another reason": {
			desired(edited, requestUnlock("t1"), withRoles("admin")), synced(unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Update, toEdited, toRoles("admin"), writing(user.FieldRoles))},
		},
	})
}

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
		"nothing is there to be deleted": {
			desired(deleting), nothingThere(),
			leave(),
		},
		"somebody else's row stays": {
			desired(deleting), synced(ownedBy(neighbour)),
			leave(),
		},
		"the row of the same place in another cluster stays": {
			desired(deleting), synced(ownedBy(twin)),
			leave(),
		},
		"a row that nobody owns stays, also where it might have been adopted": {
			desired(deleting, adopting), synced(neverNoted),
			leave(),
		},
		"a row that was let go of stays": {
			desired(deleting), synced(inState(user.Released)),
			leave(),
		},
		"a row that came after the deletion stays": {
			desired(deleting), synced(inState(user.Deleted), rowHash(alien)),
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
			user.Decision{Change: change(user.Adopt), TakePassword: true, TakesOver: true},
		},
		"the row that it released and that is gone since is created anew": {
			desired(), synced(ownedBy(predecessor), inState(user.Released), rowGone),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, TakesOver: true},
		},
		"a paused resource takes up nothing": {
			desired(paused), synced(ownedBy(predecessor), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"where it went without its finalizer and would have retained the row, the row is taken up": {
			desired(), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionRetain)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, TakesOver: true},
		},
		"where it went without its finalizer and would have deactivated the row, the row is taken up": {
			desired(), synced(ownedBy(predecessor), notedPolicy(v1alpha1.DeletionDeactivate)),
			user.Decision{Change: change(user.Adopt), TakePassword: true, TakesOver: true},
		},
		"where it went without its finalizer and would have deleted the row, that comes first": {
			desired(), synced(ownedBy(predecessor)),
			user.Decision{
				Change:    change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				TakesOver: true, Again: true,
			},
		},
		"a deletion in its stead is as of its generation, which counts on from another start": {
			desired(func(d *user.Desired) { d.Generation = 1 }), synced(ownedBy(predecessor), notedGeneration(5)),
			user.Decision{
				Change: change(user.Delete, func(c *user.Change) {
					c.Owner, c.Generation = predecessor, 5
				}),
				TakesOver: true, Again: true,
			},
		},
		"a request to unlock waits until there is a row to unlock": {
			desired(requestUnlock("t1")), synced(ownedBy(predecessor)),
			user.Decision{
				Change:    change(user.Delete, func(c *user.Change) { c.Owner = predecessor }),
				TakesOver: true, Again: true,
			},
		},
		"the same place in another cluster is another place": {
			desired(), synced(ownedBy(twin), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
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
		"a new row gets it, with nothing to clear": {
			desired(), nothingThere(),
			user.PasswordChange{Hash: hashV1, Version: "v1", New: true},
			change(user.Create, onNothing, puttingNew(hashV1, "v1")),
		},
		"another password is written and starts from a clean counter": {
			desired(withSecret("v2")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldPasswordHash), clearsLock),
		},
		"another version of the same password is only noted": {
			desired(withSecret("v2")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"the same password in a new version is put back where another program changed the hash": {
			desired(withSecret("v2")), synced(rowHash(alien), lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, writing(user.FieldPasswordHash),
				func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"a hash that the row has already is not written again": {
			desired(withSecret("v2")), synced(rowHash(hashV2)),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, puttingNew(hashV2, "v2"), clearsLock),
		},
		"it comes on top of what else is to be written": {
			desired(edited, withSecret("v2"), withRoles("admin"), inactive), synced(),
			user.PasswordChange{Hash: hashV2, Version: "v2", New: true},
			change(user.Update, toEdited, toRoles("admin"), toInactive, puttingNew(hashV2, "v2"),
				writing(user.FieldRoles, user.FieldActive, user.FieldPasswordHash), clearsLock),
		},
		"an adopted row that has it already keeps its counter": {
			desired(adopting), synced(neverNoted, lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v1"},
			change(user.Adopt, onNothing, puttingBack),
		},
		"an adopted row that gets another one starts from a clean counter": {
			desired(adopting), synced(neverNoted, lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV2, Version: "v1", New: true},
			change(user.Adopt, onNothing, puttingNew(hashV2, "v1"), clearsLock),
		},
		"an unlock that comes with the same password is kept": {
			desired(withSecret("v2"), requestUnlock("t1")), synced(lockedFor(time.Minute)),
			user.PasswordChange{Hash: hashV1, Version: "v2"},
			change(user.Update, unlocking("t1"),
				func(c *user.Change) { c.Password = &user.PasswordChange{Hash: hashV1, Version: "v2"} }),
		},
		"a deleted row comes back with it": {
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
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the change is another one (-want +got):\n%s", diff)
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
