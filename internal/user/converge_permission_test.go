// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var (
	lockouts    = rapid.SampledFrom([]user.Lockout{{}, strict, lax})
	protections = rapid.SampledFrom([][]string{nil, {"admin"}, {"viewer", "admin"}})
	permissions = rapid.OneOf(
		rapid.Just(user.Permission{}),
		rapid.Just(user.Permission{Refusal: notPermitted}),
		rapid.Map(lockouts, func(terms user.Lockout) user.Permission {
			return user.Permission{By: "team-a", Terms: user.Terms{Lockout: terms}}
		}),
	)
)

// held returns the protected roles of the row's user.
func held(d user.Desired, o user.Observed) []string {
	var roles []string
	for _, role := range d.Protected {
		if o.Row != nil && o.Row.Active && slices.Contains(o.Row.Roles, role) {
			roles = append(roles, role)
		}
	}
	return roles
}

// checkEndangered checks that a change names exactly the protected roles that it takes. A first step takes none that
// the next one returns, and a correction takes none that was intended.
func checkEndangered(t *rapid.T, d user.Desired, before, after user.Observed, decision user.Decision) {
	t.Helper()
	stays := held(d, after)
	if decision.Again && d.Active && d.Permission.Refusal == nil && decision.Change.Verb != user.Release {
		stays = append(stays, d.Roles...)
	}
	putsBack := slices.Contains(decision.Drift, user.FieldRoles) || slices.Contains(decision.Drift, user.FieldActive)
	want := slices.DeleteFunc(held(d, before), func(role string) bool {
		return d.Unprotected || putsBack || slices.Contains(stays, role)
	})
	if got := decision.Change.Endangered; !slices.Equal(got, want) {
		t.Errorf("the change of %s\nto      %s\ntakes %q, and names %q", image(t, before), image(t, after), want, got)
	}
}

// isKept reports whether the next change waits for another holder of a protected role.
func isKept(d user.Desired, w *world) bool {
	return w.alone && len(user.Plan(d, w.Observed).Change.Endangered) > 0
}

// checkKept checks the row of the last user with a protected role, after a change that would take it away.
func checkKept(t *rapid.T, d user.Desired, before, after user.Observed, last user.Decision) {
	if d.Unprotected {
		t.Error("the resource may take the last administrator away, and did not")
	}
	if len(held(d, after)) == 0 {
		t.Errorf("the last administrator is gone: %s", image(t, after))
	}
	unchanged(t, "the row of a last administrator", before, after)
	reason := v1alpha1.ReasonLastAdministrator
	if d.Permission.Refusal != nil && before.OwnedBy(d.Owner) && (!d.Deleting || (d.Paused && d.Deletion != v1alpha1.DeletionRetain)) {
		reason = v1alpha1.ReasonNotPermitted
	}
	if last.Problem == nil || last.Problem.Reason != reason {
		t.Errorf("the problem is %v, want %s", last.Problem, reason)
	}
}

// checkSuspension checks a change without permission: in an owned row only active becomes false, and only the matching
// fields of the record change. No other row changes its owner.
func checkSuspension(t *rapid.T, d user.Desired, before, after user.Observed, decision user.Decision) {
	t.Helper()
	if !before.OwnedBy(d.Owner) {
		if !decision.Again || after.OwnedBy(d.Owner) || (after.Row != nil && before.Row == nil) {
			t.Errorf("what no policy permits was done: %+v", decision)
		}
		return
	}
	want := suspendedBy(before, d)
	unchanged(t, "a row that is suspended", want, after)
	if len(decision.Drift) > 0 && !before.Ownership.Suspended {
		t.Errorf("a suspension is taken for drift: %v", decision.Drift)
	}
}

// suspendedBy returns the account after a suspension.
func suspendedBy(before user.Observed, d user.Desired) user.Observed {
	after, note := before, *before.Ownership
	if before.Row != nil {
		row := *before.Row
		row.Active, row.PasswordHash = false, user.DisabledHash(row.PasswordHash)
		after.Row = &row
	}
	note.Suspended, note.Generation, note.Deletion = true, d.Generation, d.Deletion
	note.Revision++
	after.Ownership = &note
	return after
}

// withTerms returns the account after a change of a paused resource.
func withTerms(before user.Observed, d user.Desired) user.Observed {
	if !before.OwnedBy(d.Owner) || before.Ownership.Lockout == wantTerms(d, before, before) {
		return before
	}
	after, note := before, *before.Ownership
	note.Lockout = wantTerms(d, before, before)
	note.Revision++
	after.Ownership = &note
	return after
}

// wantTerms returns the policy's terms, with an exemption only for a checked password: the recorded one after the
// change, or one that was exempt before.
func wantTerms(d user.Desired, before, after user.Observed) user.Lockout {
	applied := after.PasswordVersion(d.Owner)
	exemptBefore := before.PasswordVersion(d.Owner) != "" && before.Ownership.Lockout.Exempt
	if !d.Password.Managed || applied == "" || (applied != d.Password.Version && !exemptBefore) {
		terms := d.Permission.Lockout
		terms.Exempt = false
		return terms
	}
	return d.Permission.Lockout
}

// checkRefused checks the account of a resource that no policy permits.
func checkRefused(t *rapid.T, d user.Desired, before, after user.Observed, last user.Decision) {
	if diff := cmp.Diff(d.Permission.Refusal, last.Problem); diff != "" {
		t.Errorf("the problem is not the refusal (-want +got):\n%s", diff)
	}
	if after.OwnedBy(d.Owner) != before.OwnedBy(d.Owner) {
		t.Errorf("it became another owner than it was: %s", image(t, after))
	}
	if after.OwnedBy(d.Owner) && (!after.Ownership.Suspended || (after.Row != nil && after.Row.Active)) {
		t.Errorf("its row is not suspended: %s", image(t, after))
	}
	if after.OwnedBy(predecessor) {
		t.Errorf("the former resource was not handled: %s", image(t, after))
	}
	if before.OwnedBy(predecessor) && after.Row != nil && after.Row.Active {
		t.Errorf("the former resource left an active row: %s", image(t, after))
	}
	if !before.OwnedBy(d.Owner) && !before.OwnedBy(predecessor) {
		unchanged(t, "a row that is not its own", before, after)
	}
}

// TestASuspensionLeavesNoTrace suspends an account, edits or pauses its resource, and permits it again. The account is
// as without a suspension, and no drift is reported.
func TestASuspensionLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, w := anyDesired(t), anyWorld(t)
		d.Deleting, d.Paused, d.Permission = false, false, user.Permission{}
		w.settle(t, d)
		if !w.OwnedBy(d.Owner) {
			return // another owner's, or not to be adopted
		}
		if w.Row.Active {
			w.Row.PasswordHash = user.EnabledHash(w.Row.PasswordHash) // one that another program disabled is lost
		}
		control := &world{Observed: w.Observed}

		refuse := func() {
			suspended := d
			suspended.Permission, suspended.Paused = user.Permission{Refusal: notPermitted}, rapid.Bool().Draw(t, "paused")
			w.settle(t, suspended)
			if w.Row.Active {
				t.Fatalf("the row is active: %s", image(t, w.Observed))
			}
		}
		if rapid.Bool().Draw(t, "refused before the edit") {
			refuse()
		}
		if rapid.Bool().Draw(t, "edit") {
			d.Generation++
			d.Roles, d.Active = roleSets.Draw(t, "new roles"), rapid.Bool().Draw(t, "new active")
			d.Deletion, d.Password = policies.Draw(t, "new policy"), passwords.Draw(t, "new password")
			d.Unlock = requests.Draw(t, "new request")
		}
		if rapid.Bool().Draw(t, "refused after the edit") {
			refuse()
		}
		d.Permission = rapid.SampledFrom([]user.Permission{{}, {By: "team-a", Terms: user.Terms{Lockout: strict}}}).Draw(t, "permission")
		control.settle(t, d)
		for range mostSteps {
			if drift := w.step(t, d).Drift; len(drift) > 0 {
				t.Errorf("the way back is taken for drift of %v", drift)
			}
		}
		control.Ownership.Revision = w.Ownership.Revision // which only counts
		if diff := cmp.Diff(control.Observed, w.Observed); diff != "" {
			t.Errorf("the suspension left a trace (-without +with):\n%s", diff)
		}
	})
}
