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

// world is as small a store as can be: one name, and changes made as user.Change tells.
type world struct {
	user.Observed
	alone bool // no other active user holds any role
}

// apply makes a change, or reports that the plan behind it no longer holds.
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

// holds reports whether a change may be made.
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

// noteSynced notes what a change made of an owned row.
func noteSynced(note *user.Ownership, c user.Change) {
	note.Owner, note.State, note.Generation, note.Deletion = c.Owner, user.Owned, c.Generation, c.Deletion
	if p := c.Password; p != nil {
		note.PasswordVersion, note.PasswordHash, note.PasswordWeak = p.Version, p.Hash, p.Weak
		note.PasswordSuspicion, note.PasswordUnjudged = p.Suspicion, p.Unjudged
		if p.Version == "" {
			note.PasswordHash = ""
		}
	}
	if c.Unlock != "" {
		note.UnlockHandled = c.Unlock
	}
	note.Suspended, note.Lockout = c.Suspended, c.Lockout
}

// write is the row after the change.
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

// step plans and applies once, as the controller does, with a copy of the resource that is up to date. It reports what
// was decided; nothing, where the change would take a protected role from the last one who holds it.
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

// withPassword is the change with the password that it asks for.
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

// settled reports whether the controller was done after such a decision: a resource that is buried is done with, and
// nobody looks again.
func settled(decision user.Decision) bool {
	return decision.Change.Verb == user.Nothing || decision.Change.Verb == user.Bury
}

// settle does what is to be done for a resource.
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
		if owner != alice { // who counts generations of his own
			w.Ownership.Generation += 10
		}
		if version := rapid.SampledFrom([]string{"", "v1", "v2"}).Draw(t, "noted version"); version != "" {
			w.Ownership.PasswordVersion = version
			w.Ownership.PasswordHash = map[string]string{"v1": hashV1, "v2": hashV2}[version]
			w.Ownership.PasswordWeak = rapid.Bool().Draw(t, "weak")
			w.Ownership.PasswordUnjudged = rapid.Bool().Draw(t, "unjudged")
		}
	}
	return w
}

// The longest way: the row of a predecessor goes, the own one comes.
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

// checkRow checks what came of a row: what it must be, and what it must not have lost.
func checkRow(t *rapid.T, d user.Desired, before, after user.Observed, last user.Decision) {
	mine := before.OwnedBy(d.Owner)
	switch {
	case before.Ownership != nil && before.Ownership.State == user.Owned &&
		!mine && (d.Deleting || !d.Owner.Succeeds(before.Ownership.Owner)):
		unchanged(t, "a row that another resource owns", before, after)
	case d.Deleting:
		checkDeleted(t, d, before, after)
	case d.Permission.Refusal != nil:
		checkRefused(t, d, before, after, last)
	case d.Paused:
		unchanged(t, "a row of a paused resource", withTerms(before, d), after)
	case last.Problem != nil && last.Problem.Reason == v1alpha1.ReasonRowExists:
		if before.Row == nil || d.Adoption != v1alpha1.AdoptionNever {
			t.Error("RowExists, though no row does or it may be adopted")
		}
		unchanged(t, "a row that may not be adopted", before, after)
	default:
		checkSynced(t, d, before, after, last)
	}
}

func unchanged(t *rapid.T, what string, before, after user.Observed) {
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s was changed (-before +after):\n%s", what, diff)
	}
}

func checkDeleted(t *rapid.T, d user.Desired, before, after user.Observed) {
	if !before.OwnedBy(d.Owner) {
		checkBuried(t, d, before, after)
		return
	}
	if d.Paused && d.Deletion != v1alpha1.DeletionRetain {
		if d.Permission.Refusal != nil && before.Row != nil && before.Row.Active {
			before = suspendedBy(before, d)
		}
		unchanged(t, "a row that is not yet to be dealt with", before, after)
		return
	}
	if after.OwnedBy(d.Owner) {
		t.Error("the row still has the owner that was deleted")
	}
	var want *user.Row
	if before.Row != nil && d.Deletion != v1alpha1.DeletionDelete && d.Deletion != "" {
		row := *before.Row
		if d.Deletion == v1alpha1.DeletionDeactivate || d.Permission.Refusal != nil {
			row.Active, row.PasswordHash = false, user.DisabledHash(row.PasswordHash)
		}
		want = &row
	}
	if diff := cmp.Diff(want, after.Row); diff != "" {
		t.Errorf("the policy %s left the row in another way (-want +got):\n%s", d.Deletion, diff)
	}
}

// checkBuried checks what came of a name that nobody owns when a resource of it went.
func checkBuried(t *rapid.T, d user.Desired, before, after user.Observed) {
	want := before
	switch note := before.Ownership; {
	case note == nil:
		want.Ownership = &user.Ownership{
			Owner: d.Owner, State: user.Deleted, Generation: d.Generation, Revision: 1, Deletion: d.Deletion,
		}
	case note.Owner == d.Owner:
	case note.State == user.Deleted:
		want.Ownership = &user.Ownership{
			Owner: d.Owner, State: user.Deleted, Generation: d.Generation, Revision: note.Revision + 1, Deletion: d.Deletion,
		}
	default:
		want.Ownership = ptrTo(*note)
		want.Ownership.Revision++
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("the burial left something else (-want +got):\n%s", diff)
	}
}

func checkSynced(t *rapid.T, d user.Desired, before, after user.Observed, last user.Decision) {
	if !after.OwnedBy(d.Owner) || after.Row == nil {
		t.Fatalf("the row is not there, or not ours: %s", image(t, after))
	}
	row, note := after.Row, after.Ownership
	want := slices.Compact(slices.Sorted(slices.Values(d.Roles)))
	got := slices.Compact(slices.Sorted(slices.Values(row.Roles)))
	if !slices.Equal(want, got) || row.RolesMalformed || row.Active != d.Active ||
		note.Generation != d.Generation || note.Deletion != d.Deletion ||
		note.Suspended || note.Lockout != wantTerms(d, before, after) {
		t.Errorf("the row or the note says something else than the spec: %s", image(t, after))
	}
	if (last.Problem != nil) != (d.Password.Problem != nil) {
		t.Errorf("the problem is %v, want %v", last.Problem, d.Password.Problem)
	}

	// The row to start from: none where the predecessor's had to go first.
	start := before.Row
	if before.OwnedBy(predecessor) && note.Owner == alice &&
		before.Ownership.Deletion == v1alpha1.DeletionDelete && d.Adoption == v1alpha1.AdoptionNever {
		start = nil
	}
	wantHash := user.UnusablePassword
	if start != nil {
		wantHash = start.PasswordHash
		if !start.Active {
			wantHash = user.EnabledHash(wantHash)
		}
	}
	if d.Password.Managed && before.OwnedBy(d.Owner) && before.Ownership.PasswordHash != "" {
		wantHash = before.Ownership.PasswordHash
	}
	if d.Password.Version != "" {
		wantHash = hashOf(d)
	}
	if !d.Active {
		wantHash = user.DisabledHash(wantHash)
	}
	if row.PasswordHash != wantHash {
		t.Errorf("the row has the password %q, want %q", row.PasswordHash, wantHash)
	}
	if note.PasswordVersion != d.Password.Version && (d.Password.Problem == nil || !before.OwnedBy(d.Owner)) {
		t.Errorf("the note has version %q, want %q", note.PasswordVersion, d.Password.Version)
	}

	if d.Unlock != "" && note.UnlockHandled != d.Unlock {
		t.Errorf("the request %q is not noted as handled, but %q", d.Unlock, note.UnlockHandled)
	}
	if start == nil {
		return
	}
	handled := ""
	if own := before.Ownership; own != nil && own.State != user.Deleted && (own.Owner == d.Owner || d.Owner.Succeeds(own.Owner)) {
		handled = own.UnlockHandled
	}
	requested := d.Unlock != "" && d.Unlock != handled
	renewed := d.Password.Version != "" && before.PasswordInForce(d.Owner) != hashOf(d)
	if requested || renewed {
		if row.LockedUntil != nil || row.FailedLoginAttempts != 0 {
			t.Errorf("the lock was to be cleared: %s", image(t, row))
		}
		return
	}
	if diff := cmp.Diff(start.LockedUntil, row.LockedUntil); diff != "" || start.FailedLoginAttempts != row.FailedLoginAttempts {
		t.Errorf("the log-in columns were changed: %s", image(t, row))
	}
}
