// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"slices"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// checkRow checks the final row: its values, and what it must not lose.
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

// checkBuried checks an unowned username after a resource of it was deleted.
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
		t.Errorf("the row or the record does not match the spec: %s", image(t, after))
	}
	if (last.Problem != nil) != (d.Password.Problem != nil) {
		t.Errorf("the problem is %v, want %v", last.Problem, d.Password.Problem)
	}

	// The row to start from: none if the predecessor's row was deleted first.
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
		t.Errorf("the request %q is not recorded as handled, but %q", d.Unlock, note.UnlockHandled)
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
		t.Errorf("the login columns were changed: %s", image(t, row))
	}
}
