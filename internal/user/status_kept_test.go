// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestAnUnavailableDatabaseKeepsTheKnownStatus(t *testing.T) {
	account := synced(lockedFor(15*time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak)
	before := status(t, fresh(), desired(), &account, nil)
	got := status(t, before, desired(edited), nil, problem(v1alpha1.ReasonDatabaseUnavailable))

	want := *before.DeepCopy()
	want.ObservedGeneration = 4
	ready := meta.FindStatusCondition(want.Conditions, v1alpha1.ConditionReady)
	ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, "DatabaseUnavailable", "It is DatabaseUnavailable."
	ready.ObservedGeneration = 4
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the status differs (-want +got):\n%s", diff)
	}
}

func TestAnUnavailableDatabaseIsReportedOfANewResource(t *testing.T) {
	got := status(t, fresh(), desired(), nil, problem(v1alpha1.ReasonDatabaseUnavailable))
	const want = "alice at 3: locked=false failed=0\nReady False DatabaseUnavailable: It is DatabaseUnavailable.\n"
	if diff := cmp.Diff(want, golden(got)); diff != "" {
		t.Errorf("the status differs (-want +got):\n%s", diff)
	}
}

// While the database is unavailable, policies may be known or not.
func TestPermittedByIsReportedWithoutTheDatabase(t *testing.T) {
	account := synced()
	before := status(t, fresh(), desired(permitted(strict)), &account, nil)
	for name, tt := range map[string]struct {
		desired user.Desired
		want    string
	}{
		"a policy permits the user now":  {desired(func(d *user.Desired) { d.Permission.By = "team-b" }), "team-b"},
		"no policy permits the user now": {desired(refused), ""},
		"it was not determined":          {desired(), "team-a"},
	} {
		t.Run(name, func(t *testing.T) {
			got := status(t, before, tt.desired, nil, problem(v1alpha1.ReasonDatabaseUnavailable))
			if got.PermittedBy != tt.want {
				t.Errorf("it is permitted by %q, want %q", got.PermittedBy, tt.want)
			}
		})
	}
}

func TestStatusRemovesWhatEnded(t *testing.T) {
	account := synced(lockedFor(15*time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak)
	before := status(t, fresh(), desired(expiring(time.Hour)), &account, problem(v1alpha1.ReasonPasswordInvalid))
	strangers := synced(ownedBy(neighbour))
	for name, tt := range map[string]struct {
		observed user.Observed
		problem  *user.Problem
		want     string
	}{
		"all of it ended": {
			synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False NotLocked: The account is not locked.\nReady True Synced: The row matches the spec.\n",
		},
		"another resource owns the row": {
			strangers, problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" +
				"Locked False NotLocked: The account is not locked.\nReady False UsernameTaken: It is UsernameTaken.\n" +
				"Stalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"a stalled problem became a transient one": {
			synced(), problem(v1alpha1.ReasonSecretNotFound),
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False NotLocked: The account is not locked.\nReady False SecretNotFound: It is SecretNotFound.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := status(t, before, desired(), &tt.observed, tt.problem)
			if diff := cmp.Diff(tt.want, golden(got)); diff != "" {
				t.Errorf("the status differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStatusKeepsConditionsOfOthers(t *testing.T) {
	before := fresh()
	other := metav1.Condition{
		Type: "example.com/Audited", Status: metav1.ConditionTrue, Reason: "Yes", Message: "Seen.", LastTransitionTime: known,
	}
	before.Conditions = []metav1.Condition{other}
	account := synced()
	got := status(t, before, desired(), &account, nil)
	if diff := cmp.Diff(&other, meta.FindStatusCondition(got.Conditions, other.Type)); diff != "" {
		t.Errorf("the condition changed (-want +got):\n%s", diff)
	}
}

func TestLastTransitionTimeChangesOnlyWithTheStatus(t *testing.T) {
	lockedUntil := func(left time.Duration) user.Observed { return synced(lockedFor(left)) }
	for name, tt := range map[string]struct {
		condition   string
		from, to    user.Observed
		fromProblem *user.Problem
		toProblem   *user.Problem
		edit        bool
		moves       bool
	}{
		"Ready stays True at another generation": {
			condition: "Ready", from: synced(), to: synced(), edit: true,
		},
		"Ready turns False": {
			condition: "Ready", from: synced(), to: synced(), toProblem: problem("SecretNotFound"), moves: true,
		},
		"Ready stays False for another reason": {
			condition: "Ready", from: synced(), to: synced(),
			fromProblem: problem("SecretNotFound"), toProblem: problem("SecretKeyNotFound"),
		},
		"Ready turns from False to Unknown": {
			condition: "Ready", from: synced(), to: synced(),
			fromProblem: problem("SecretNotFound"), toProblem: problem("Paused"), moves: true,
		},
		"Ready stays False with another message": {
			condition: "Ready", from: synced(), to: synced(), fromProblem: problem("SecretNotFound"), toProblem: noSecret,
		},
		"Locked turns True":            {condition: "Locked", from: synced(), to: lockedUntil(time.Minute), moves: true},
		"Locked stays True for longer": {condition: "Locked", from: lockedUntil(time.Minute), to: lockedUntil(time.Hour)},
		"Locked turns False":           {condition: "Locked", from: lockedUntil(time.Minute), to: lockedUntil(-1), moves: true},
		"Locked stays False for another reason": {
			condition: "Locked", from: lockedUntil(-1), to: synced(unlockHandled("t1")),
		},
		"Stalled stays True for another reason": {
			condition: "Stalled", from: synced(), to: synced(),
			fromProblem: problem("PasswordInvalid"), toProblem: problem("UsernameTaken"),
		},
		"Stalled stays True without permission": {
			condition: "Stalled", from: synced(), to: synced(suspended),
			fromProblem: problem("LastAdministrator"), toProblem: notPermitted,
		},
		"WeakPassword stays True":             {condition: "WeakPassword", from: synced(weak), to: synced(weak), edit: true},
		"WeakPassword stays True by the hash": {condition: "WeakPassword", from: synced(weak), to: synced(rowHash(defaultAdmin))},
		"PasswordSuspicious stays True for another reason": {
			condition: "PasswordSuspicious", from: synced(suspected("quotes")), to: synced(suspected("edge")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := status(t, fresh(), desired(), &tt.from, tt.fromProblem)
			for i := range before.Conditions {
				before.Conditions[i].LastTransitionTime = known
			}
			d := desired()
			if tt.edit {
				d.Generation++
			}
			got := status(t, before, d, &tt.to, tt.toProblem)
			c := meta.FindStatusCondition(got.Conditions, tt.condition)
			if c == nil {
				t.Fatalf("there is no condition %s", tt.condition)
			}
			want := known
			if tt.moves {
				want = metav1.NewTime(reported)
			}
			if !c.LastTransitionTime.Equal(&want) {
				t.Errorf("%s changed at %s, want %s", tt.condition, c.LastTransitionTime, want)
			}
			if c.ObservedGeneration != d.Generation {
				t.Errorf("%s is of generation %d, want %d", tt.condition, c.ObservedGeneration, d.Generation)
			}
		})
	}
}
