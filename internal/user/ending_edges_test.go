// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A released record has no end, so an active row would accept logins again.
func TestADeletionRetainsNoActiveRowWhoseEndHasPassed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		want     user.Verb
	}{
		"before its end":       {desired(deleting, withPolicy(retain), endsIn(time.Hour)), synced(withEnd(time.Hour)), user.Release},
		"after its end":        {desired(deleting, withPolicy(retain), endsIn(-1)), synced(withEnd(-1)), user.Deactivate},
		"after it, and paused": {desired(deleting, paused, withPolicy(retain), endsIn(-1)), synced(withEnd(-1)), user.Deactivate},
		"an inactive row":      {desired(deleting, withPolicy(retain), endsIn(-1)), synced(withEnd(-1), keptOut(user.WithheldExpired)), user.Release},
		"another resource's row": {
			desired(deleting, withPolicy(retain), endsIn(-1)), synced(withEnd(-1), ownedBy(neighbour)), user.Nothing,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := user.Plan(tt.desired, tt.observed).Change.Verb; got != tt.want {
				t.Errorf("plan %s, want %s", got, tt.want)
			}
		})
	}
}

// Its row stays active, so its logins must not be refused by the record.
func TestTheLastHolderThatCannotBeDeletedDoesNotEnd(t *testing.T) {
	t.Parallel()
	d := desired(endsIn(-time.Second), deleting)
	d.Protected = []string{"operator"}
	o := synced(withEnd(-time.Second))
	rest, ok := user.Plan(d, o).WithoutRoleLoss(o)
	if !ok || rest.Change.Verb != user.Update || rest.Change.ValidUntil != nil || len(rest.Change.Write) > 0 {
		t.Errorf("the rest is %t %+v, want only a record without an end", ok, rest.Change)
	}
	for name, o := range map[string]user.Observed{"before its end": synced(withEnd(time.Hour)), "without an end": synced()} {
		if rest, ok := user.Plan(d, o).WithoutRoleLoss(o); ok {
			t.Errorf("%s there is a rest: %+v", name, rest.Change)
		}
	}
}

func TestThePauseKeepsTheRecordedEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		holds    bool
	}{
		"the same end":         {desired(paused, endsIn(time.Hour)), synced(withEnd(time.Hour)), false},
		"no end":               {desired(paused), synced(), false},
		"an end not recorded":  {desired(paused, endsIn(time.Hour)), synced(), true},
		"an end moved forward": {desired(paused, endsIn(time.Hour)), synced(withEnd(time.Minute)), true},
		"an end that passed":   {desired(paused, endsIn(-1)), synced(withEnd(-1)), true},
		"an inactive row":      {desired(paused, endsIn(-1)), synced(withEnd(-1), keptOut(user.WithheldExpired)), false},
		"a resource that runs": {desired(endsIn(time.Hour)), synced(), false},
	} {
		if got := tt.desired.HoldsRow(tt.observed); got != tt.holds {
			t.Errorf("%s: holds %t, want %t", name, got, tt.holds)
		}
	}
	if got := synced(withEnd(time.Minute)).NextEnd(desired(paused, endsIn(time.Hour))); got != time.Minute {
		t.Errorf("the next end comes in %s, want that of the record", got)
	}
	if end := synced(withEnd(-time.Minute)).HeldEnd(); end != nil {
		t.Errorf("a row that stays active after its end ends at %s", end)
	}
}

func TestTheTimesOfAResourceAreThoseOfEveryDatabase(t *testing.T) {
	t.Parallel()
	far := time.Date(9999, time.December, 31, 23, 59, 59, 0, time.FixedZone("", -23*60*60))
	old := time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{far, old, now.Add(123 * time.Millisecond)} {
		u := &v1alpha1.ShardingUser{}
		u.Spec.ValidUntil = &metav1.Time{Time: at}
		u.Spec.Lock = &v1alpha1.StandingLock{Until: &metav1.Time{Time: at}}
		d := user.FromResource("cluster-1", u)
		for _, got := range []*time.Time{d.ValidUntil, d.Lock.Until} {
			if got.Year() < 1 || got.Year() > 9999 || got.Nanosecond() != 0 {
				t.Errorf("%s becomes %s", at, got)
			}
		}
		if left := (user.Observed{Now: now}).NextEnd(d); left < 0 {
			t.Errorf("%s comes in %s", at, left)
		}
	}
}

// A rejected write is held for minutes. The change at an end, or after a lock, is another one.
func TestAskedChangesAtAnEnd(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]user.Desired{"an end": desired(endsIn(time.Second)), "a lock": desired(lockedBy(time.Second))} {
		if user.Asked(d, now) == user.Asked(d, now.Add(time.Second)) {
			t.Errorf("%s changes nothing", name)
		}
		if user.Asked(d, now) != user.Asked(d, now.Add(time.Millisecond)) {
			t.Errorf("the time before %s changes what is asked for", name)
		}
	}
}

// Without the database's clock a policy that requires an end permits any end.
func TestAnOutageReportsNoPolicyThatTheClockMayRefuse(t *testing.T) {
	t.Parallel()
	d := desired(endsIn(time.Hour), permitted(strict))
	if by := user.Status(v1alpha1.ShardingUserStatus{}, d, nil, nil, now).PermittedBy; by != "team-a" {
		t.Errorf("permitted by %q whatever the time", by)
	}
	d.Permission.Changes = now
	if by := user.Status(v1alpha1.ShardingUserStatus{}, d, nil, nil, now).PermittedBy; by != "" {
		t.Errorf("permitted by %q before the time is known", by)
	}
}
