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
type world struct{ user.Observed }

// apply makes a change, or reports that the plan behind it no longer holds.
func (w *world) apply(c user.Change) bool {
	var note user.Ownership
	if w.Ownership != nil {
		note = *w.Ownership
	}
	newer := note.Owner == c.Owner && note.Generation > c.Generation
	if note.Revision != c.Revision || newer || (w.Row == nil) != (c.Verb == user.Create) && c.Verb != user.Delete &&
		c.Verb != user.Release && c.Verb != user.Deactivate {
		return false
	}
	next := note
	if c.Verb == user.Create || c.Verb == user.Adopt {
		next = user.Ownership{}
		if note.Owner == c.Owner {
			next.UnlockHandled = note.UnlockHandled
		}
	}
	next.Owner, next.Generation, next.Deletion, next.Revision = c.Owner, c.Generation, c.Deletion, note.Revision+1
	next.State = user.Owned
	row := w.write(c)
	if p := c.Password; p != nil {
		next.PasswordVersion, next.PasswordHash, next.PasswordWeak = p.Version, p.Hash, p.Weak
		if p.Version == "" {
			next.PasswordHash = ""
		}
	}
	if c.Unlock != "" {
		next.UnlockHandled = c.Unlock
	}
	switch c.Verb {
	case user.Delete:
		row, next.State = nil, user.Deleted
	case user.Deactivate, user.Release:
		next.State = user.Released
	default:
	}
	w.Row, w.Ownership = row, &next
	return true
}

// write is the row after the change.
func (w *world) write(c user.Change) *user.Row {
	var row user.Row
	if w.Row != nil {
		row = *w.Row
	}
	if c.Verb == user.Deactivate {
		row.Active = false
	}
	whole := c.Verb == user.Create || c.Verb == user.Adopt
	if whole || slices.Contains(c.Write, user.FieldRoles) {
		row.Roles, row.RolesMalformed = c.Roles, false
	}
	if whole || slices.Contains(c.Write, user.FieldActive) {
		row.Active = c.Active
	}
	if c.Password != nil && c.Password.Hash != "" && (whole || slices.Contains(c.Write, user.FieldPasswordHash)) {
		row.PasswordHash = c.Password.Hash
	}
	if c.ClearLockout {
		row.FailedLoginAttempts, row.LockedUntil = 0, nil
	}
	if w.Row == nil && c.Verb != user.Create {
		return nil
	}
	return &row
}

// step plans and applies once, as the controller does. It reports what was decided.
func (w *world) step(t *rapid.T, d user.Desired) user.Decision {
	decision := plan(t, d, w.Observed)
	c := decision.Change
	if c.Verb == user.Nothing {
		return decision
	}
	if decision.TakePassword {
		hash := hashOf(d)
		c = decision.WithPassword(user.PasswordChange{
			Hash: hash, Version: d.Password.Version, New: hash != w.PasswordInForce(d.Owner),
		}, w.Observed)
	}
	if !w.apply(c) {
		t.Fatalf("the store would refuse this change of %s:\n%+v", image(t, w.Observed), c)
	}
	return decision
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
	hashes    = rapid.SampledFrom([]string{"", user.UnusablePassword, hashV1, hashV2, alien})
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
	}
}

func anyWorld(t *rapid.T) *world {
	w := &world{user.Observed{Now: now}}
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
			Generation:    rapid.Int64Range(1, 3).Draw(t, "noted generation"),
			Revision:      rapid.Int64Range(1, 9).Draw(t, "revision"),
			Deletion:      policies.Draw(t, "noted policy"),
			UnlockHandled: requests.Draw(t, "handled"),
		}
		if owner != alice { // who counts generations of his own
			w.Ownership.Generation += 10
		}
		if version := rapid.SampledFrom([]string{"", "v1", "v2"}).Draw(t, "noted version"); version != "" {
			w.Ownership.PasswordVersion = version
			w.Ownership.PasswordHash = map[string]string{"v1": hashV1, "v2": hashV2}[version]
			w.Ownership.PasswordWeak = rapid.Bool().Draw(t, "weak")
		}
	}
	return w
}

// The longest way: the row of a predecessor goes, the own one comes.
const mostSteps = 2

func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, w := anyDesired(t), anyWorld(t)
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
			if last.Change.Verb == user.Nothing {
				break
			}
		}
		if steps == mostSteps && !before.OwnedBy(predecessor) {
			t.Errorf("it took %d steps where no predecessor's row had to go", steps)
		}
		if taken > 1 {
			t.Errorf("the password was hashed %d times", taken)
		}
		if diff := cmp.Diff(last, plan(t, d, w.Observed)); diff != "" {
			t.Errorf("nothing was done, and yet the plan differs (-first +second):\n%s", diff)
		}
		if after := image(t, before.Row); after != image0 {
			t.Errorf("a plan changed the row itself:\nbefore %s\nafter  %s", image0, after)
		}
		checkRow(t, d, before, w.Observed, last)
	})
}

// checkRow checks what came of a row: what it must be, and what it must not have lost.
func checkRow(t *rapid.T, d user.Desired, before, after user.Observed, last user.Decision) {
	mine := before.OwnedBy(d.Owner)
	switch {
	case before.Ownership != nil && before.Ownership.State == user.Owned &&
		!mine && !d.Owner.Succeeds(before.Ownership.Owner):
		unchanged(t, "a row that another resource owns", before, after)
	case d.Paused && (!d.Deleting || !mine):
		unchanged(t, "a row of a paused resource", before, after)
	case d.Deleting:
		checkDeleted(t, d, before, after)
	case last.Problem != nil && last.Problem.Reason == v1alpha1.ReasonRowExists:
		if before.Row == nil || d.Adoption != v1alpha1.AdoptionNever {
			t.Error("RowExists, though no row does or it may be adopted")
		}
		unchanged(t, "a row that may not be adopted", before, after)
	case before.Ownership != nil && before.Ownership.State == user.Deleted && before.Ownership.Owner == d.Owner:
		unchanged(t, "a row of a resource that was deleted", before, after)
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
	if !before.OwnedBy(d.Owner) || (d.Paused && d.Deletion != v1alpha1.DeletionRetain) {
		unchanged(t, "a row that is not, or not yet, to be dealt with", before, after)
		return
	}
	if after.OwnedBy(d.Owner) {
		t.Error("the row still has the owner that was deleted")
	}
	var want *user.Row
	if before.Row != nil && d.Deletion != v1alpha1.DeletionDelete && d.Deletion != "" {
		row := *before.Row
		row.Active = row.Active && d.Deletion == v1alpha1.DeletionRetain
		want = &row
	}
	if diff := cmp.Diff(want, after.Row); diff != "" {
		t.Errorf("the policy %s left the row in another way (-want +got):\n%s", d.Deletion, diff)
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
		note.Generation != d.Generation || note.Deletion != d.Deletion {
		t.Errorf("the row or the note says something else than the spec: %s", image(t, after))
	}
	if (last.Problem != nil) != (d.Password.Problem != nil) {
		t.Errorf("the problem is %v, want %v", last.Problem, d.Password.Problem)
	}

	// The row to start from: none where the predecessor's had to go first.
	start := before.Row
	if before.OwnedBy(predecessor) && note.Owner == alice &&
		before.Ownership.Deletion != v1alpha1.DeletionRetain && before.Ownership.Deletion != v1alpha1.DeletionDeactivate {
		start = nil
	}
	wantHash := user.UnusablePassword
	if start != nil {
		wantHash = start.PasswordHash
	}
	if d.Password.Managed && before.OwnedBy(d.Owner) && before.Ownership.PasswordHash != "" {
		wantHash = before.Ownership.PasswordHash
	}
	if d.Password.Version != "" {
		wantHash = hashOf(d)
	}
	if row.PasswordHash != wantHash {
		t.Errorf("the row has the password %q, want %q", row.PasswordHash, wantHash)
	}
	if note.PasswordVersion != d.Password.Version && (d.Password.Problem == nil || !before.OwnedBy(d.Owner)) {
		t.Errorf("the note has version %q, want %q", note.PasswordVersion, d.Password.Version)
	}

	if start == nil {
		return
	}
	requested := d.Unlock != "" && (before.Ownership == nil || before.Ownership.Owner != d.Owner ||
		before.Ownership.UnlockHandled != d.Unlock)
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

// TestPlansFollowEdits lets one resource live: edits, drift, rotations and requests in any order, each followed by
// what the controller does, and at the end its deletion.
func TestPlansFollowEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{user.Observed{Now: now}}
		d := desired()
		settle := func() {
			for range mostSteps {
				if w.step(t, d).Change.Verb == user.Nothing {
					return
				}
			}
			if c := plan(t, d, w.Observed).Change; c.Verb != user.Nothing {
				t.Fatalf("there still is something to do: %+v", c)
			}
		}
		settle()
		t.Repeat(map[string]func(*rapid.T){
			"edit": func(t *rapid.T) {
				d.Generation++
				d.Roles, d.Active = roleSets.Draw(t, "roles"), rapid.Bool().Draw(t, "active")
				d.Deletion = policies.Draw(t, "policy")
			},
			"rotate": func(t *rapid.T) {
				next := passwords.Draw(t, "password")
				if next.Managed != d.Password.Managed {
					d.Generation++
				}
				d.Password = next
			},
			"ask to unlock": func(t *rapid.T) { d.Unlock = requests.Draw(t, "unlock") },
			"fail to log in": func(*rapid.T) {
				w.Row = ptrTo(*w.Row)
				if w.Row.FailedLoginAttempts++; w.Row.FailedLoginAttempts >= 5 {
					w.Row.LockedUntil = ptrTo(w.Now.Add(15 * time.Minute))
				}
			},
			"wait": func(*rapid.T) { w.Now = w.Now.Add(10 * time.Minute) },
			"drift": func(t *rapid.T) {
				row := *w.Row
				row.Roles, row.Active = roleSets.Draw(t, "roles"), rapid.Bool().Draw(t, "active")
				row.PasswordHash = hashes.Draw(t, "hash")
				w.Row = &row
			},
			"delete the row": func(*rapid.T) { w.Row = nil },
			"be recreated": func(*rapid.T) {
				// As by kubectl delete and apply, and the finalizer done with the old one.
				old := d
				old.Deleting, old.Generation = true, old.Generation+1
				for w.step(t, old).Change.Verb != user.Nothing {
				}
				d.Owner.UID += "+"
				d.Generation = 1
			},
			"vanish": func(*rapid.T) {
				// The finalizer was taken off by force.
				d.Owner.UID += "+"
				d.Generation = 1
			},
			"": func(t *rapid.T) {
				settle()
				before := w.Observed
				checkSynced(t, d, before, w.Observed, plan(t, d, w.Observed))
				if d.Password.Version != "" && w.Row.PasswordHash != hashOf(d) {
					t.Errorf("the row has the password %q, want %q", w.Row.PasswordHash, hashOf(d))
				}
			},
		})
		d.Deleting = true
		d.Generation++
		settle()
		if w.OwnedBy(d.Owner) || (w.Row != nil) != (d.Deletion == v1alpha1.DeletionRetain || d.Deletion == v1alpha1.DeletionDeactivate) {
			t.Errorf("the policy %s left %s", d.Deletion, image(t, w.Observed))
		}
	})
}
