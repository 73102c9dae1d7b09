// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func askedBy(d *user.Desired) {
	d.Managers = user.Managers{Spec: "argocd", Unlock: "kubectl-shardinguser", SignOut: "curl"}
	d.UnlockReason = "called the help desk"
}

func TestChangesAreRecordedAsWhatTheyAre(t *testing.T) {
	t.Parallel()
	refused := func(d *user.Desired) { d.Permission.Refusal = &user.Problem{Reason: "NotPermitted", Message: "No."} }
	unlockedOnce := func(d *user.Desired) { d.Unlock = "t1" }
	generation := func(g int64) func(*user.Observed) { return recordedGeneration(g) }
	spec := func(action user.Action) user.Entry { return user.Entry{Action: action, Manager: "argocd"} }
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		password *user.PasswordChange
		want     user.Entry
	}{
		"a new account":                        {desired(), nothingThere(), &user.PasswordChange{Hash: hashV1, Version: "v1", New: true}, spec(user.ActionCreated)},
		"a row that is adopted":                {desired(adopting), synced(noRecord), &user.PasswordChange{Hash: hashV1, Version: "v1"}, spec(user.ActionAdopted)},
		"a row that another program deleted":   {desired(), synced(rowGone), nil, user.Entry{Action: user.ActionDrift}},
		"roles of a new generation":            {desired(edited, withRoles("admin")), synced(), nil, spec(user.ActionRoles)},
		"roles of another program":             {desired(), synced(rowRoles("admin")), nil, user.Entry{Action: user.ActionDrift}},
		"a deactivation":                       {desired(edited, inactive), synced(), nil, spec(user.ActionDeactivated)},
		"an activation":                        {desired(edited), synced(generation(3), rowInactive), nil, spec(user.ActionActivated)},
		"an activation by another program":     {desired(inactive), synced(), nil, user.Entry{Action: user.ActionDrift}},
		"roles and a deactivation":             {desired(edited, inactive, withRoles("admin")), synced(), nil, spec(user.ActionUpdated)},
		"drift and an edit":                    {desired(edited, inactive), synced(rowHash(alien)), nil, spec(user.ActionUpdated)},
		"an end that came":                     {desired(endsIn(0)), synced(withEnd(0)), nil, spec(user.ActionExpired)},
		"an end that was moved forward":        {desired(edited, endsIn(time.Hour)), synced(withEnd(-time.Hour), keptOut(user.WithheldExpired)), nil, spec(user.ActionActivated)},
		"a standing lock":                      {desired(edited, lockedBy(0)), synced(), nil, user.Entry{Action: user.ActionLocked, Manager: "argocd", Reason: "a stolen laptop"}},
		"a standing lock that was removed":     {desired(edited), synced(keptOut(user.WithheldLocked)), nil, spec(user.ActionUnlocked)},
		"a standing lock that ended":           {desired(lockedBy(-time.Hour)), synced(keptOut(user.WithheldLocked)), nil, spec(user.ActionUnlocked)},
		"a suspension":                         {desired(refused), synced(), nil, user.Entry{Action: user.ActionSuspended}},
		"a suspension that ends":               {desired(), synced(suspended), nil, user.Entry{Action: user.ActionActivated}},
		"a suspended row that was activated":   {desired(refused), synced(suspended, activated), nil, user.Entry{Action: user.ActionDrift}},
		"a request to unlock":                  {desired(unlockedOnce), synced(), nil, user.Entry{Action: user.ActionUnlocked, Manager: "kubectl-shardinguser", Reason: "called the help desk"}},
		"a request to sign out":                {desired(func(d *user.Desired) { d.SignOut = "t1" }), synced(), nil, user.Entry{Action: user.ActionSignedOut, Manager: "curl"}},
		"another password of the Secret":       {desired(withSecret("v2")), synced(), &user.PasswordChange{Hash: hashV2, Version: "v2", New: true}, user.Entry{Action: user.ActionPassword}},
		"a Secret that a new generation names": {desired(edited, withSecret("v2")), synced(), &user.PasswordChange{Hash: hashV2, Version: "v2", New: true}, spec(user.ActionPassword)},
		"a hash of another program":            {desired(), synced(rowHash(alien)), nil, user.Entry{Action: user.ActionDrift}},
		"the same password in another version": {desired(withSecret("v2")), synced(), &user.PasswordChange{Hash: hashV1, Version: "v2"}, user.Entry{}},
		"other terms of lockout":               {desired(func(d *user.Desired) { d.Permission.Lockout.Attempts = 3 }), synced(), nil, user.Entry{}},
		"a new generation without an effect":   {desired(edited), synced(), nil, user.Entry{}},
		"a hash that is only disabled":         {desired(inactive), synced(func(o *user.Observed) { o.Row.Active = false }), nil, user.Entry{}},
		"a deletion":                           {desired(deleting), synced(), nil, user.Entry{Action: user.ActionDeleted}},
		"a deletion that keeps the row":        {desired(deleting, func(d *user.Desired) { d.Deletion = v1alpha1.DeletionRetain }), synced(), nil, user.Entry{Action: user.ActionReleased}},
		"a deletion that deactivates":          {desired(deleting, func(d *user.Desired) { d.Deletion = v1alpha1.DeletionDeactivate }), synced(), nil, user.Entry{Action: user.ActionDeactivated}},
		"the deletion of a former resource":    {desired(), synced(ownedBy(predecessor)), nil, user.Entry{Action: user.ActionDeleted}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			askedBy(&tt.desired)
			decision := plan(t, tt.desired, tt.observed)
			change := decision.Change
			if tt.password != nil {
				if !decision.TakePassword {
					t.Fatal("the plan does not ask for the password")
				}
				change = decision.WithPassword(*tt.password, tt.observed)
			}
			if change.Verb == user.Nothing {
				t.Fatal("the plan changes nothing")
			}
			if diff := cmp.Diff(tt.want, change.Entry()); diff != "" {
				t.Errorf("the entry differs (-want +got):\n%s", diff)
			}
		})
	}
	leaver := user.Suspension("alice", synced(), nil)
	if got := leaver.Entry(); got != (user.Entry{Action: user.ActionSuspended}) {
		t.Errorf("the suspension of a leaver is recorded as %+v", got)
	}
}
