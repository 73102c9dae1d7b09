// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

type unkeptCase struct {
	desired user.Desired
	before  user.Observed
	after   user.Observed
	want    []user.Field
}

func runUnkept(t *testing.T, cases map[string]unkeptCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			decision := plan(t, tt.desired, tt.before)
			before := image(t, tt.desired, decision, tt.after)
			got := user.Unkept(tt.desired, decision, tt.after)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("of %s (-want +got):\n%s", decision.Change.Verb, diff)
			}
			if image(t, tt.desired, decision, tt.after) != before {
				t.Error("it changed its input")
			}
		})
	}
}

func TestUnkept(t *testing.T) {
	runUnkept(t, map[string]unkeptCase{
		"an account that was kept":    {desired(edited, withRoles("viewer")), synced(), synced(recordedGeneration(4), rowRoles("viewer")), nil},
		"a row that was not inserted": {desired(), nothingThere(), nothingThere(), []user.Field{user.FieldRow}},
		"a row that was inserted and is gone": {
			desired(), nothingThere(), synced(rowGone), []user.Field{user.FieldRow},
		},
		"roles that were changed": {
			desired(withRoles("Viewer")), synced(), synced(rowRoles("viewer")), []user.Field{user.FieldRoles},
		},
		"an account that stays active": {
			desired(edited, inactive), synced(), synced(recordedGeneration(4)), []user.Field{user.FieldActive},
		},
		"a hash that was changed": {
			desired(withSecret("v2")), synced(), synced(recordingPassword("v2", hashV2), rowHash(alien)), []user.Field{user.FieldPasswordHash},
		},
		"a hash of an inactive row that is not disabled": {
			desired(edited, inactive), synced(), synced(recordedGeneration(4), rowEnabled), []user.Field{user.FieldPasswordHash},
		},
		"a hash of a suspended row that is not disabled": {
			desired(refused), synced(), synced(suspended, rowHash(hashV1)), []user.Field{user.FieldPasswordHash},
		},
		"an inactive row with a disabled hash": {desired(edited, inactive), synced(), synced(recordedGeneration(4), rowInactive), nil},
		"an inactive row that was not adopted": {
			desired(inactive, adopting, withoutPassword), synced(noRecord, rowEnabled), synced(noRecord, rowEnabled), []user.Field{user.FieldRow},
		},
		"a row that was deactivated and whose hash is not disabled": {
			desired(deleting, withPolicy(deactivate)), synced(), synced(inState(user.Released), rowEnabled), nil,
		},
		"several columns": {
			desired(edited, inactive, withRoles("viewer")), synced(), synced(recordedGeneration(4)),
			[]user.Field{user.FieldRoles, user.FieldActive},
		},
		"a lock that is still there": {
			desired(requestUnlock("now")), synced(failed(5)), synced(failed(5)), []user.Field{user.FieldLockout},
		},
	})
}

func TestUnkeptEndOfAnAccount(t *testing.T) {
	tombstone := inState(user.Deleted)
	runUnkept(t, map[string]unkeptCase{
		"a row that was not deleted": {
			desired(deleting), synced(), synced(), []user.Field{user.FieldRow},
		},
		"a row that was deleted and exists again": {
			desired(deleting), synced(), synced(tombstone), []user.Field{user.FieldRow},
		},
		"a row that was deleted": {
			desired(deleting), synced(), synced(tombstone, rowGone), nil,
		},
		"a deleted row whose username another resource took": {
			desired(deleting), synced(), synced(ownedBy(neighbour)), nil,
		},
		"a deactivated row that another resource adopted": {
			desired(deleting, withPolicy(deactivate)), synced(), synced(ownedBy(neighbour)), nil,
		},
		"a former resource's row whose username another one took": {
			desired(), synced(ownedBy(predecessor)), synced(ownedBy(neighbour)), nil,
		},
		"a row that was not deactivated": {
			desired(deleting, withPolicy(deactivate)), synced(), synced(), []user.Field{user.FieldActive},
		},
		"a row that was deactivated": {
			desired(deleting, withPolicy(deactivate)), synced(), synced(inState(user.Released), rowInactive), nil,
		},
		"a row that was released": {
			desired(deleting, withPolicy(retain)), synced(), synced(inState(user.Released)), nil,
		},
		"an account that no policy permits and that stays active": {
			desired(refused), synced(), synced(markedSuspended), []user.Field{user.FieldActive},
		},
		"an account that no policy permits and that is inactive": {
			desired(refused), synced(), synced(suspended), nil,
		},
		"the deleted row of a former resource": {
			desired(), synced(ownedBy(predecessor)), synced(ownedBy(predecessor), tombstone, rowGone), nil,
		},
		"the remaining row of a former resource": {
			desired(), synced(ownedBy(predecessor)), synced(ownedBy(predecessor)), []user.Field{user.FieldRow},
		},
		"a Secret that is missing beside a change that was kept": {
			desired(secretMissing, edited, inactive), synced(), synced(recordedGeneration(4), rowInactive), nil,
		},
		"a tombstone beside a row that another resource released": {
			desired(deleting), synced(ownedBy(neighbour), inState(user.Released)), synced(ownedBy(neighbour), inState(user.Released)), nil,
		},
		"a tombstone of a resource that never owned a row": {
			desired(deleting), nothingThere(), synced(tombstone, rowGone), nil,
		},
	})
}

// markedSuspended is an active row whose record says that it is suspended.
func markedSuspended(o *user.Observed) { o.Ownership.Suspended = true }

func recordingPassword(version, hash string) observedOption {
	return func(o *user.Observed) { o.Ownership.PasswordVersion, o.Ownership.PasswordHash = version, hash }
}

func TestProblemsOfTheDatabaseNameTheirSubject(t *testing.T) {
	made := func(verb user.Verb, drift ...user.Field) user.Decision {
		return user.Decision{Change: user.Change{Verb: verb, Username: "alice"}, Drift: drift}
	}
	suspension := made(user.Update)
	suspension.Problem = notPermitted
	for name, tt := range map[string]struct {
		problem *user.Problem
		reason  string
		says    []string
	}{
		"a row that was not kept": {
			user.NotKept(made(user.Create), nothingThere(), []user.Field{user.FieldRow}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{`username "alice"`, "did not keep it", "A trigger."},
		},
		"a row that was not deleted": {
			user.NotKept(made(user.Delete), synced(), []user.Field{user.FieldRow}, ""), v1alpha1.ReasonDatabaseRejected,
			[]string{"The deletion is blocked", "still exists"},
		},
		"an account that stays active": {
			user.NotKept(made(user.Update), synced(), []user.Field{user.FieldActive}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"column active is still true", "can log in"},
		},
		"an account that stays active with a disabled hash": {
			user.NotKept(made(user.Update), synced(rowHash(disabledV1)), []user.Field{user.FieldActive}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"column active is still true", "no password matches it"},
		},
		"an account that stays inactive": {
			user.NotKept(made(user.Update), synced(rowInactive), []user.Field{user.FieldActive}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"change of column active"},
		},
		"a hash that cannot be disabled": {
			user.NotKept(made(user.Update), synced(rowEnabled), []user.Field{user.FieldPasswordHash}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"is inactive", "cannot disable its password hash", "A trigger."},
		},
		"a hash that another program enables repeatedly": {
			user.Contended(plan(t, desired(inactive), synced(rowEnabled)), ""), v1alpha1.ReasonDatabaseRejected,
			[]string{"Contended", "column password_hash"},
		},
		"a hash of an account that no policy permits": {
			user.HashNotDisabled(suspension, "A constraint."), v1alpha1.ReasonNotPermitted, []string{notPermitted.Message, "A constraint."},
		},
		"a lock": {
			user.NotKept(made(user.Update), synced(), []user.Field{user.FieldLockout}, "A trigger."), v1alpha1.ReasonDatabaseRejected, []string{"lock"},
		},
		"several columns": {
			user.NotKept(made(user.Update), synced(), []user.Field{user.FieldRoles, user.FieldPasswordHash}, "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"columns roles, password_hash"},
		},
		"an account that no policy permits keeps that reason": {
			user.NotKept(suspension, synced(), []user.Field{user.FieldActive}, "A trigger."), v1alpha1.ReasonNotPermitted,
			[]string{notPermitted.Message, "can log in"},
		},
		"a row that another program changes before it is read back": {
			user.NotKept(made(user.Update), synced(), []user.Field{user.FieldRoles}, ""), v1alpha1.ReasonDatabaseRejected,
			[]string{"Contended", "column roles"},
		},
		"a row that another program changes repeatedly": {
			user.Contended(made(user.Update, user.FieldRoles), "A trigger."), v1alpha1.ReasonDatabaseRejected,
			[]string{"Contended", "column roles", "A trigger."},
		},
		"a row that another program deletes repeatedly": {
			user.Contended(made(user.Create, user.FieldRow), ""), v1alpha1.ReasonDatabaseRejected, []string{"Contended", "the row"},
		},
		"a rejected change": {user.Rejected("No.", false), v1alpha1.ReasonDatabaseRejected, []string{"No."}},
		"a rejected deletion": {
			user.Rejected("No.", true), v1alpha1.ReasonDatabaseRejected, []string{"The deletion is blocked: No."},
		},
		"repeated conflicts": {user.Unsettled(false), v1alpha1.ReasonDatabaseRejected, []string{"40001"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.problem.Reason != tt.reason {
				t.Errorf("the reason is %s, want %s", tt.problem.Reason, tt.reason)
			}
			for _, words := range tt.says {
				if !strings.Contains(tt.problem.Message, words) {
					t.Errorf("it says %q, want %q", tt.problem.Message, words)
				}
			}
		})
	}
}

func TestAskedChangesWithAnEdit(t *testing.T) {
	asked := user.Asked(desired(), now)
	for name, edit := range map[string]desiredOption{
		"of the spec": edited, "of the Secret": withSecret("v2"), "by a deletion": deleting, "by a pause": paused,
		"of an unlock request": requestUnlock("now"), "of an override": unprotected, "of a policy": refused, "of a policy's terms": permitted(strict),
	} {
		if user.Asked(desired(edit), now) == asked {
			t.Errorf("an edit %s is none", name)
		}
	}
	if user.Asked(desired(withRoles("operator")), now) != asked {
		t.Error("the same is another thing")
	}
}
