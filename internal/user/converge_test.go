// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// world is a minimal store: one username, and changes as user.Change describes them.
type world struct {
	user.Observed
	alone bool // no other active user holds any role
}

// apply applies a change, or reports that its plan is out of date.
func (w *world) apply(c user.Change) bool {
	if !w.holds(c) {
		return false
	}
	var note user.Ownership
	if w.Ownership != nil {
		note = *w.Ownership
	}
	row, next := w.write(c), note
	tombstone := user.Ownership{Owner: c.Owner, State: user.Deleted, Generation: c.Generation, Deletion: c.Deletion}
	switch c.Verb {
	case user.Create, user.Adopt:
		next = user.Ownership{}
		if note.Owner == c.Owner {
			next.UnlockHandled = note.UnlockHandled
		}
		noteSynced(&next, c)
	case user.Update:
		noteSynced(&next, c)
	case user.Delete:
		row, next = nil, tombstone
	case user.Suspend:
		next.Suspended = true
	case user.Deactivate, user.Release:
		next.State, next.Generation, next.PasswordHash = user.Released, c.Generation, ""
	case user.Bury:
		if note.State != user.Released {
			next = tombstone
		}
	case user.Nothing:
	}
	next.Revision = note.Revision + 1
	w.Row, w.Ownership = row, &next
	return true
}

// holds reports whether a change may be applied.
func (w *world) holds(c user.Change) bool {
	note := w.Ownership
	if note == nil {
		note = &user.Ownership{State: "none"}
	}
	current := note.Owner != c.Owner || note.Generation <= c.Generation || c.Confirmed
	mine := note.State == user.Owned && note.Owner == c.Owner
	open := note.State != user.Owned || mine || c.Owner.Succeeds(note.Owner)
	risen := note.State == user.Deleted && note.Owner == c.Owner && !c.Confirmed
	ok := false
	switch c.Verb {
	case user.Create:
		ok = w.Row == nil && open && !risen
	case user.Adopt:
		ok = w.Row != nil && open && !risen
	case user.Update:
		ok = mine && (w.Row != nil || (len(c.Write) == 0 && !c.ClearLockout))
	case user.Delete, user.Deactivate, user.Release:
		ok = mine
	case user.Suspend:
		ok = w.Row != nil && note.Owner == c.Owner && note.State != user.Deleted
	case user.Bury:
		ok = note.State != user.Owned
	case user.Nothing:
	}
	return ok && current && note.Revision == c.Revision
}

// noteSynced records a change of an owned row.
func noteSynced(note *user.Ownership, c user.Change) {
	note.Owner, note.State, note.Generation, note.Deletion = c.Owner, user.Owned, c.Generation, c.Deletion
	if p := c.Password; p != nil {
		note.PasswordVersion, note.PasswordHash, note.PasswordWeak = p.Version, p.Hash, p.Weak
		note.PasswordSuspicion, note.PasswordUnchecked = p.Suspicion, p.Unchecked
		if p.Version == "" {
			note.PasswordHash = ""
		}
	}
	if c.Unlock != "" {
		note.UnlockHandled = c.Unlock
	}
	note.Suspended, note.Lockout = c.Suspended, c.Lockout
}

// write returns the row after the change.
func (w *world) write(c user.Change) *user.Row {
	var row user.Row
	if w.Row != nil {
		row = *w.Row
	}
	before := row
	if c.Verb == user.Deactivate || c.Verb == user.Suspend {
		row.Active, row.PasswordHash = false, c.HashAfter(before)
	}
	whole := c.Verb == user.Create || c.Verb == user.Adopt
	if whole || slices.Contains(c.Write, user.FieldRoles) {
		row.Roles, row.RolesMalformed = c.Roles, false
	}
	if whole || slices.Contains(c.Write, user.FieldActive) {
		row.Active = c.Active
	}
	if c.WritesHash() {
		row.PasswordHash = c.HashAfter(before)
	}
	if c.ClearLockout {
		row.FailedLoginAttempts, row.LockedUntil = 0, nil
	}
	if w.Row == nil && c.Verb != user.Create {
		return nil
	}
	return &row
}

// step plans and applies once, as the controller does, with a current copy of the resource. It returns the decision;
// none if the change would take a protected role from its last holder.
func (w *world) step(t *rapid.T, d user.Desired) user.Decision {
	t.Helper()
	before := w.Observed
	decision := plan(t, d, before)
	if decision.Change.Verb == user.Nothing {
		return decision
	}
	if w.alone && len(decision.Change.Endangered) > 0 {
		return user.Decision{Change: user.Change{Verb: user.Nothing}, Problem: user.LastAdministrator(decision)}
	}
	decision.Change.Confirmed = decision.Confirm
	if !w.apply(withPassword(decision, d, w.Observed)) {
		t.Fatalf("the store would refuse this change of %s:\n%+v", image(t, w.Observed), decision.Change)
	}
	checkEndangered(t, d, before, w.Observed, decision)
	if !d.Deleting && d.Permission.Refusal != nil {
		checkSuspension(t, d, before, w.Observed, decision)
	}
	return decision
}

// withPassword returns the change with the requested password.
func withPassword(decision user.Decision, d user.Desired, o user.Observed) user.Change {
	c := decision.Change
	if decision.TakePassword {
		hash := hashOf(d)
		c = decision.WithPassword(user.PasswordChange{
			Hash: hash, Version: d.Password.Version, New: hash != o.PasswordInForce(d.Owner),
		}, o)
	}
	return c
}

// settled reports whether the controller is done after a decision. It is done with a tombstone.
func settled(decision user.Decision) bool {
	return decision.Change.Verb == user.Nothing || decision.Change.Verb == user.Bury
}

// settle reconciles a resource until it is done.
func (w *world) settle(t *rapid.T, d user.Desired) {
	t.Helper()
	for range mostSteps {
		if settled(w.step(t, d)) {
			return
		}
	}
	if decision := plan(t, d, w.Observed); !settled(decision) {
		t.Fatalf("there still is something to do: %+v", decision.Change)
	}
}

func hashOf(d user.Desired) string {
	return map[string]string{"v1": hashV1, "v2": hashV2}[d.Password.Version]
}

var (
	policies = rapid.SampledFrom([]v1alpha1.DeletionPolicy{
		v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate, v1alpha1.DeletionRetain, "",
	})
	adoptions = rapid.SampledFrom([]v1alpha1.AdoptionPolicy{v1alpha1.AdoptionNever, v1alpha1.AdoptionIfUnowned})
	roleSets  = rapid.SliceOfN(rapid.SampledFrom([]string{"admin", "operator", "viewer"}), 0, 4)
	requests  = rapid.SampledFrom([]string{"", "t1", "t2"})
	hashes    = rapid.SampledFrom([]string{
		"", user.UnusablePassword, hashV1, hashV2, alien, user.DisabledHash(hashV1), user.DisabledHash(hashV2), user.DisabledHash(alien),
	})
	passwords = rapid.SampledFrom([]user.Password{
		{},
		{Managed: true, Version: "v1"},
		{Managed: true, Version: "v2"},
		{Managed: true, Problem: noSecret},
	})
)

func anyDesired(t *rapid.T) user.Desired {
	return user.Desired{
		Owner:      alice,
		Generation: rapid.Int64Range(3, 4).Draw(t, "generation"),
		Username:   "alice",
		Roles:      roleSets.Draw(t, "desired roles"),
		Active:     rapid.Bool().Draw(t, "desired active"),
		Password:   passwords.Draw(t, "password"),
		Adoption:   adoptions.Draw(t, "adoption"),
		Deletion:   policies.Draw(t, "deletion"),
		Deleting:   rapid.Bool().Draw(t, "deleting"),
		Paused:     rapid.Float64().Draw(t, "paused") > 0.9,
		Unlock:     requests.Draw(t, "unlock"),
		Permission: permissions.Draw(t, "permission"),

		Protected:   protections.Draw(t, "protected"),
		Unprotected: rapid.Float64().Draw(t, "unprotected") > 0.8,
	}
}

func anyWorld(t *rapid.T) *world {
	w := &world{Observed: user.Observed{Now: now}}
	if rapid.Bool().Draw(t, "row") {
		w.Row = &user.Row{
			PasswordHash:        hashes.Draw(t, "row's hash"),
			Roles:               roleSets.Draw(t, "row's roles"),
			RolesMalformed:      rapid.Bool().Draw(t, "malformed"),
			Active:              rapid.Bool().Draw(t, "row's active"),
			FailedLoginAttempts: rapid.IntRange(0, 6).Draw(t, "failed"),
		}
		if rapid.Bool().Draw(t, "locked") {
			w.Row.LockedUntil = ptrTo(now.Add(time.Duration(rapid.Int64Range(-1000, 1000).Draw(t, "lock")) * time.Second))
		}
	}
	if rapid.Bool().Draw(t, "note") {
		owner := rapid.SampledFrom([]user.Owner{alice, predecessor, neighbour, twin}).Draw(t, "owner")
		w.Ownership = &user.Ownership{
			Owner:         owner,
			State:         rapid.SampledFrom([]user.OwnershipState{user.Owned, user.Released, user.Deleted}).Draw(t, "state"),
			Generation:    rapid.Int64Range(1, 5).Draw(t, "noted generation"),
			Revision:      rapid.Int64Range(1, 9).Draw(t, "revision"),
			Deletion:      policies.Draw(t, "noted policy"),
			UnlockHandled: requests.Draw(t, "handled"),
			Suspended:     rapid.Bool().Draw(t, "suspended"),
			Lockout:       lockouts.Draw(t, "noted terms"),
		}
		if owner != alice { // with its own generations
			w.Ownership.Generation += 10
		}
		if version := rapid.SampledFrom([]string{"", "v1", "v2"}).Draw(t, "noted version"); version != "" {
			w.Ownership.PasswordVersion = version
			w.Ownership.PasswordHash = map[string]string{"v1": hashV1, "v2": hashV2}[version]
			w.Ownership.PasswordWeak = rapid.Bool().Draw(t, "weak")
			w.Ownership.PasswordUnchecked = rapid.Bool().Draw(t, "unjudged")
		}
	}
	return w
}

// The longest sequence: delete the predecessor's row, then create the resource's own.
const mostSteps = 2

func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, w := anyDesired(t), anyWorld(t)
		w.alone = rapid.Float64().Draw(t, "alone") > 0.7
		before := w.Observed
		image0 := image(t, before.Row)
		taken, steps := 0, 0
		var last user.Decision
		for ; ; steps++ {
			if steps > mostSteps {
				t.Fatalf("after %d steps there still is something to do: %+v", steps, last)
			}
			last = w.step(t, d)
			if last.TakePassword {
				taken++
			}
			if settled(last) {
				break
			}
		}
		if steps == mostSteps && !before.OwnedBy(predecessor) {
			t.Errorf("it took %d steps where no predecessor's row had to go", steps)
		}
		if taken > 1 {
			t.Errorf("the password was hashed %d times", taken)
		}
		if after := image(t, before.Row); after != image0 {
			t.Errorf("a plan changed the row itself:\nbefore %s\nafter  %s", image0, after)
		}
		if isKept(d, w) {
			checkKept(t, d, before, w.Observed, last)
			return
		}
		if diff := cmp.Diff(last, plan(t, d, w.Observed)); diff != "" && last.Change.Verb == user.Nothing {
			t.Errorf("nothing was done, and yet the plan differs (-first +second):\n%s", diff)
		}
		checkRow(t, d, before, w.Observed, last)
	})
}
