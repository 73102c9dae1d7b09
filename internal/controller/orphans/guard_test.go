// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"fmt"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func someOrphans(count int) (orphans []store.Owned) {
	for i := range count {
		username := fmt.Sprintf("user-%d", i)
		orphans = append(orphans, store.Owned{Username: username, Owner: user.Owner{Name: username, UID: "uid-" + username}, Active: true, RowExists: true})
	}
	return orphans
}

func TestTheGuardHoldsOrphansWhereAClusterProbablyLostItsUsers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		orphans, accounts int
		isHeld            bool
	}{
		"no orphan":                       {0, 100, false},
		"no account":                      {0, 0, false},
		"a leaver":                        {1, 2, false},
		"three of a small cluster":        {3, 6, false},
		"more than half":                  {3, 5, true},
		"two of three":                    {2, 3, false},
		"two of two":                      {2, 2, true},
		"four of a small cluster":         {4, 8, true},
		"the only account":                {1, 1, false},
		"all of a small cluster":          {3, 3, true},
		"a tenth of a large cluster":      {1000, 10000, false},
		"over a tenth of a large cluster": {1001, 10000, true},
		"all of a large cluster":          {10000, 10000, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuard()
			if got := g.hold(someOrphans(tt.orphans), tt.accounts); got != tt.isHeld || (g.token() != "") != tt.isHeld {
				t.Errorf("held: %v with the token %q, want %v", got, g.token(), tt.isHeld)
			}
		})
	}
}

func TestTheGuardCountsTheDeactivationsOfAnHour(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGuard()
	g.now = func() time.Time { return now }
	orphans := someOrphans(6)
	if g.hold(orphans[:3], 20) {
		t.Fatal("three are held")
	}
	for _, record := range orphans[:3] {
		g.deactivatedOne(record)
	}
	if !g.hold(orphans[3:], 17) {
		t.Error("three more of an hour are not held")
	}
	now = now.Add(guardWindow)
	if g.hold(orphans[3:], 17) {
		t.Error("three more are held an hour later")
	}
}

func TestAConfirmationIsAboutTheHeldOrphansOnly(t *testing.T) {
	t.Parallel()
	g := newGuard()
	orphans := someOrphans(10)
	if !g.hold(orphans[:5], 10) {
		t.Fatal("five of ten are not held")
	}
	token := g.token()
	g.confirm()
	if g.hold(orphans[:4], 10) {
		t.Error("confirmed orphans are held, after one of them returned")
	}
	if !g.hold(orphans, 10) || g.token() == token || len(g.held) != 6 {
		t.Errorf("the one that returned and those that were not confirmed are not held: %v", g.held)
	}
	for _, record := range orphans[:4] {
		g.deactivatedOne(record)
	}
	if g.hold(orphans[5:6], 20) {
		t.Error("confirmed deactivations count for those that follow")
	}
	if !g.hold(orphans[:5], 10) || g.token() != token {
		t.Error("a confirmation holds twice")
	}
}

func TestASearchIsDueHourlyAndSoonerWhileOrphansWait(t *testing.T) {
	t.Parallel()
	o := &Search{options: Options{Grace: usualGrace}, guard: newGuard(), known: map[store.Owned]time.Time{}}
	if got := o.next(); got != time.Hour {
		t.Errorf("without orphans the next search is due in %v", got)
	}
	o.known[store.Owned{Username: "alice"}] = time.Now()
	if got := o.next(); got != time.Hour {
		t.Errorf("with reported orphans the next search is due in %v", got)
	}
	o.options.Deactivate = true
	if got := o.next(); got != time.Minute {
		t.Errorf("with orphans to deactivate the next search is due in %v", got)
	}
}
