// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func endsIn(left time.Duration) desiredOption {
	return func(d *user.Desired) { d.ValidUntil = ptrTo(now.Add(left)) }
}

// lockedBy is a standing lock that ends after this time; 0 is for good.
func lockedBy(left time.Duration) desiredOption {
	return func(d *user.Desired) {
		d.Lock = &user.StandingLock{Reason: "a stolen laptop"}
		if left != 0 {
			d.Lock.Until = ptrTo(now.Add(left))
		}
	}
}

// withEnd is a record with the end of the resource.
func withEnd(left time.Duration) func(*user.Observed) {
	return func(o *user.Observed) { o.Ownership.ValidUntil = ptrTo(now.Add(left)) }
}

// keptOut is an account that the operator made inactive.
func keptOut(why user.Withholding) func(*user.Observed) {
	return func(o *user.Observed) {
		o.Ownership.Withheld = why
		o.Row.Active, o.Row.PasswordHash = false, user.DisabledHash(o.Row.PasswordHash)
	}
}

func activated(o *user.Observed) { o.Row.Active = true }

func TestTimeDecidesWhetherAnAccountIsActive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		verb     user.Verb
		active   bool
		withheld user.Withholding
		drift    bool
	}{
		"long before its end":              {desired(endsIn(time.Hour)), synced(withEnd(time.Hour)), user.Nothing, true, "", false},
		"at its end":                       {desired(endsIn(0)), synced(withEnd(0)), user.Update, false, user.WithheldExpired, false},
		"an end that is not recorded yet":  {desired(endsIn(time.Hour)), synced(), user.Update, true, "", false},
		"an end in the past, just set":     {desired(endsIn(-time.Hour), edited), synced(), user.Update, false, user.WithheldExpired, false},
		"ended and inactive":               {desired(endsIn(-time.Hour)), synced(withEnd(-time.Hour), keptOut(user.WithheldExpired)), user.Nothing, false, user.WithheldExpired, false},
		"ended, and activated by another":  {desired(endsIn(-time.Hour)), synced(withEnd(-time.Hour), keptOut(user.WithheldExpired), activated), user.Update, false, user.WithheldExpired, true},
		"moved forward":                    {desired(endsIn(time.Hour), edited), synced(withEnd(-time.Hour), keptOut(user.WithheldExpired)), user.Update, true, "", false},
		"ended and inactive by its spec":   {desired(endsIn(-time.Hour), inactive), synced(withEnd(-time.Hour), keptOut("")), user.Nothing, false, "", false},
		"a standing lock":                  {desired(lockedBy(0), edited), synced(), user.Update, false, user.WithheldLocked, false},
		"a standing lock in force":         {desired(lockedBy(time.Hour)), synced(keptOut(user.WithheldLocked)), user.Nothing, false, user.WithheldLocked, false},
		"a standing lock that just ended":  {desired(lockedBy(-time.Second)), synced(keptOut(user.WithheldLocked)), user.Update, true, "", false},
		"a standing lock that ended":       {desired(lockedBy(-time.Hour)), synced(), user.Nothing, true, "", false},
		"a standing lock that was removed": {desired(edited), synced(keptOut(user.WithheldLocked)), user.Update, true, "", false},
		"an end during a standing lock":    {desired(lockedBy(0), endsIn(-1)), synced(withEnd(-1), keptOut(user.WithheldLocked)), user.Update, false, user.WithheldExpired, false},
		"activated by another while locked": {
			desired(lockedBy(0)), synced(keptOut(user.WithheldLocked), activated), user.Update, false, user.WithheldLocked, true,
		},
		"an unlock request while locked": {
			desired(lockedBy(0), requestUnlock("t1")), synced(keptOut(user.WithheldLocked)), user.Update, false, user.WithheldLocked, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := user.Plan(tt.desired, tt.observed)
			if got.Change.Verb != tt.verb || got.Problem != nil {
				t.Fatalf("plan %s (%v), want %s", got.Change.Verb, got.Problem, tt.verb)
			}
			if got.Change.Active != tt.active || got.Change.Withheld != tt.withheld {
				t.Errorf("active is %t and withheld %q, want %t and %q", got.Change.Active, got.Change.Withheld, tt.active, tt.withheld)
			}
			if isDrift := len(got.Drift) > 0; isDrift != tt.drift {
				t.Errorf("drift is %v, want %t", got.Drift, tt.drift)
			}
		})
	}
}

func TestANewAccountWhoseEndHasPassedIsInactive(t *testing.T) {
	t.Parallel()
	c := user.Plan(desired(endsIn(-time.Hour), withoutPassword), user.Observed{Now: now}).Change
	if c.Verb != user.Create || c.Active || c.Withheld != user.WithheldExpired {
		t.Errorf("the plan is %s, active %t, withheld %q", c.Verb, c.Active, c.Withheld)
	}
}

func TestTheLastHolderOfARoleDoesNotEnd(t *testing.T) {
	t.Parallel()
	d := desired(endsIn(-time.Second))
	d.Protected = []string{"operator"}
	o := synced(withEnd(-time.Second))
	decision := user.Plan(d, o)
	if diff := cmp.Diff([]string{"operator"}, decision.Change.Endangered); diff != "" {
		t.Fatalf("endangered roles (-want +got):\n%s", diff)
	}
	rest, ok := decision.WithoutRoleLoss(o)
	if !ok || rest.Change.ValidUntil != nil || !rest.Change.Active || len(rest.Change.Write) > 0 {
		t.Errorf("the rest is %t %+v, want only a record without an end", ok, rest.Change)
	}
	o.Ownership.ValidUntil = nil
	if _, ok := user.Plan(d, o).WithoutRoleLoss(o); ok {
		t.Error("there is a rest although nothing is left to record")
	}
}

func TestEndsInTheStatus(t *testing.T) {
	t.Parallel()
	ended := user.Status(v1alpha1.ShardingUserStatus{}, desired(endsIn(-time.Hour)), ptrTo(synced(keptOut(user.WithheldExpired))), nil, now)
	if !ended.Expired || !meta.IsStatusConditionTrue(ended.Conditions, v1alpha1.ConditionExpired) {
		t.Errorf("an ended account: %+v", ended)
	}
	moved := user.Status(ended, desired(endsIn(time.Hour)), ptrTo(synced()), nil, now)
	if moved.Expired || meta.FindStatusCondition(moved.Conditions, v1alpha1.ConditionExpired) != nil {
		t.Errorf("an account that works again: %+v", moved)
	}
	if events := user.StatusEvents(moved, ended); len(events) != 1 || events[0].Reason != v1alpha1.EventExpired || events[0].Warning {
		t.Errorf("the Events are %v", events)
	}
	locked := user.Status(v1alpha1.ShardingUserStatus{}, desired(lockedBy(time.Hour)), ptrTo(synced(keptOut(user.WithheldLocked))), nil, now)
	c := meta.FindStatusCondition(locked.Conditions, v1alpha1.ConditionLocked)
	if !locked.Locked || locked.LockedUntil == nil || c.Reason != v1alpha1.ReasonLockedByRequest || user.ReportedLock(locked) != nil {
		t.Errorf("a standing lock: %+v", locked)
	}
	stays := user.Status(v1alpha1.ShardingUserStatus{}, desired(lockedBy(0)), ptrTo(synced()), problem(v1alpha1.ReasonLastAdministrator), now)
	if stays.Locked {
		t.Error("the status reports a lock of an account that stays active")
	}
	account := user.ClusterAccount(desired(lockedBy(time.Hour)), locked, user.PasswordChange{Hash: hashV1, Version: "v1"}, now)
	if account.Row.LockedUntil != nil || account.Row.Active {
		t.Errorf("the cluster account of a standing lock: %+v", account.Row)
	}
}
