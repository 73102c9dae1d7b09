// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// planCase is one case of Plan. If the change is Nothing, its other fields and the confirmation have no meaning and are
// not compared.
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
			got.Change.Origin = user.Origin{} // TestChangesAreRecordedAsWhatTheyAre compares what follows from it
			if got.Change.Verb == user.Nothing {
				got.Change, got.Confirm = user.Change{Verb: user.Nothing}, false
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the decision differs (-want +got):\n%s", diff)
			}
		})
	}
}

type changeOption func(*user.Change)

// change is a change of alice's account, planned on the record of synced.
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
func toOld(c *user.Change)       { c.Generation = 2 }
func toInactive(c *user.Change)  { c.Active = false }
func clearsLock(c *user.Change)  { c.ClearLockout = true }
func unmanaging(c *user.Change)  { c.Password = &user.PasswordChange{} }
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

// recordingUnlock is an unlock request that was already handled and is recorded again.
func recordingUnlock(request string) changeOption {
	return func(c *user.Change) { c.Unlock = request }
}

// suspending is the change of a resource that no policy permits.
func suspending(c *user.Change) { c.Suspended, c.Active = true, false }

func onTerms(terms user.Lockout) changeOption {
	return func(c *user.Change) { c.Lockout = terms }
}

func endangering(roles ...string) changeOption {
	return func(c *user.Change) { c.Endangered = roles }
}

// leave is the decision to do nothing.
func leave() user.Decision { return user.Decision{Change: user.Change{Verb: user.Nothing}} }

func leaveBecause(reason, message string) user.Decision {
	d := leave()
	d.Problem = &user.Problem{Reason: reason, Message: message}
	return d
}

const (
	rowExists = `The table already has a row for username "alice" that no ShardingUser owns; ` +
		`to adopt it, set spec.adoptionPolicy to IfUnowned.`
	takenByNeighbour = `Username "alice" belongs to ShardingUser team-b/alice; ` +
		`choose another username, or delete that resource. ` + toKeepTheAccount
	takenByTwin = `Username "alice" belongs to ShardingUser team-a/alice of the cluster whose kube-system namespace has ` +
		`the UID cluster-2; choose another username, or delete that resource. ` + toKeepTheAccount
	takenByOrdered   = `Username "alice" belongs to ShardingUser team-a/alice of the system "orders"; choose another username, or delete that resource. ` + toKeepTheAccount
	takenInDefault   = `Username "alice" belongs to ShardingUser team-b/alice of the default system; choose another username, or delete that resource. ` + toKeepTheAccount
	toKeepTheAccount = `To keep the account when you rename or move a resource, set spec.deletionPolicy of the old one to Retain ` +
		`before you delete it, and spec.adoptionPolicy of this one to IfUnowned.`
	isPaused      = `The operator changes nothing in the database while the annotation sharding.io/paused is "true"; remove the annotation to resume.`
	deletionWaits = `The deletion is paused while the annotation sharding.io/paused is "true"; remove the annotation to resume.`
)

func TestPlanOfANewUsername(t *testing.T) {
	runPlan(t, map[string]planCase{
		"an unused username is created with the Secret's password": {
			desired(), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable), TakePassword: true},
		},
		"an inactive user without roles is created": {
			desired(inactive, withRoles()), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, toInactive, toRoles()), TakePassword: true},
		},
		"without a password in the spec the new row is unusable": {
			desired(withoutPassword), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable)},
		},
		"without its Secret the row is created with a problem": {
			desired(secretMissing), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable), Problem: noSecret},
		},
		"an unlock request of a new resource is recorded": {
			desired(requestUnlock("t1")), nothingThere(),
			user.Decision{Change: change(user.Create, onNothing, unusable, unlocking("t1")), TakePassword: true},
		},
		"the deletion policy is recorded": {
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
		"another resource's tombstone does not matter": {
			desired(), synced(rowGone, ownedBy(neighbour), inState(user.Deleted)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
		"a predecessor's tombstone does not matter": {
			desired(), synced(rowGone, ownedBy(predecessor), inState(user.Deleted)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
		"the resource's own tombstone is confirmed first": {
			desired(), synced(rowGone, inState(user.Deleted)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true, Confirm: true},
		},
		"its own tombstone is confirmed before an adoption": {
			desired(adopting, withRoles("admin")), synced(rowHash(alien), inState(user.Deleted)),
			user.Decision{Change: change(user.Adopt, toRoles("admin")), TakePassword: true, Confirm: true},
		},
		"a row after its own tombstone is not adopted without policy": {
			desired(), synced(rowHash(alien), inState(user.Deleted)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"a request recorded in a tombstone is not handled": {
			desired(requestUnlock("t1")), synced(rowGone, inState(user.Deleted), unlockHandled("t1")),
			user.Decision{Change: change(user.Create, unusable, unlocking("t1")), TakePassword: true, Confirm: true},
		},
		"a username released elsewhere without a row is free": {
			desired(), synced(rowGone, ownedBy(neighbour), inState(user.Released)),
			user.Decision{Change: change(user.Create, unusable), TakePassword: true},
		},
	})
}

func TestPlanOfAnUnownedRow(t *testing.T) {
	runPlan(t, map[string]planCase{
		"it is not adopted without IfUnowned": {
			desired(), synced(noRecord),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"it is not adopted even if it matches the spec": {
			desired(withoutPassword), synced(noRecord),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"an empty adoption policy means Never": {
			desired(func(d *user.Desired) { d.Adoption = "" }), synced(noRecord),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"it is adopted with the Secret's password": {
			desired(adopting), synced(noRecord, rowHash(alien), rowRoles("admin")),
			user.Decision{Change: change(user.Adopt, onNothing), TakePassword: true},
		},
		"without a password in the spec it keeps its own": {
			desired(adopting, withoutPassword), synced(noRecord, rowHash(alien)),
			user.Decision{Change: change(user.Adopt, onNothing)},
		},
		"without the Secret it keeps its own password": {
			desired(adopting, secretMissing), synced(noRecord, rowHash(alien)),
			user.Decision{Change: change(user.Adopt, onNothing), Problem: noSecret},
		},
		"it is adopted and unlocked in one step": {
			desired(adopting, requestUnlock("t1")), synced(noRecord, lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, onNothing, unlocking("t1")), TakePassword: true},
		},
		"a request that another resource handled is handled again": {
			desired(adopting, requestUnlock("t1")),
			synced(ownedBy(neighbour), inState(user.Released), unlockHandled("t1"), lockedFor(time.Minute)),
			user.Decision{Change: change(user.Adopt, unlocking("t1")), TakePassword: true},
		},
		"a paused resource adopts nothing": {
			desired(adopting, paused), synced(noRecord),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
		"a row after a tombstone is not adopted without IfUnowned": {
			desired(), synced(ownedBy(neighbour), inState(user.Deleted), rowHash(alien)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"a row that another resource released is not adopted": {
			desired(), synced(ownedBy(neighbour), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
		"a row that another cluster released is not adopted": {
			desired(), synced(ownedBy(twin), inState(user.Released)),
			leaveBecause(v1alpha1.ReasonRowExists, rowExists),
		},
	})
}

func TestPlanOfATakenUsername(t *testing.T) {
	runPlan(t, map[string]planCase{
		"it is refused, and the message names the owner": {
			desired(), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused, and the message names another cluster": {
			desired(), synced(ownedBy(twin)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByTwin),
		},
		"it is refused to a resource of another system that took the name": {
			desired(adopting), synced(ownedBy(ordered), recordedPolicy(v1alpha1.DeletionRetain)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByOrdered),
		},
		"it is refused, and the message names the default system": {
			desired(inSystem("orders")), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenInDefault),
		},
		"it is refused whatever the adoption policy": {
			desired(adopting), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused while the owner's row is missing": {
			desired(adopting), synced(ownedBy(neighbour), rowGone),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused even if the owner will release the row": {
			desired(adopting), synced(ownedBy(neighbour), recordedPolicy(v1alpha1.DeletionRetain)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"it is refused whatever the Secret and the unlock request": {
			desired(secretMissing, requestUnlock("t1")), synced(ownedBy(neighbour), lockedFor(time.Minute)),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"an unknown state of a later version counts as taken": {
			desired(adopting), synced(ownedBy(neighbour), inState("leased")),
			leaveBecause(v1alpha1.ReasonUsernameTaken, takenByNeighbour),
		},
		"a paused resource says that it is paused": {
			desired(paused), synced(ownedBy(neighbour)),
			leaveBecause(v1alpha1.ReasonPaused, isPaused),
		},
	})
}
