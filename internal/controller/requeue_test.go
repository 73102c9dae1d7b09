// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Time passes between the plan and the reading back. No event reports an end that came then.
func TestAnEndThatCameDuringTheChangeIsNoticedAtOnce(t *testing.T) {
	now := time.Now()
	owner := user.Owner{UID: "1"}
	for name, tt := range map[string]struct {
		reason string
		want   time.Duration
	}{
		"of a user that is Ready":           {"", lockMargin},
		"of a user whose Secret is missing": {v1alpha1.ReasonSecretNotFound, lockMargin},
		"not of one that is paused":         {v1alpha1.ReasonPaused, 0},
		"not of one that is not permitted":  {v1alpha1.ReasonNotPermitted, 0},
		"not of the last administrator":     {v1alpha1.ReasonLastAdministrator, 0},
	} {
		o := outcome{}
		o.Desired = user.Desired{Owner: owner, Active: true, ValidUntil: &now}
		o.Observed = &user.Observed{Now: now, Row: &user.Row{Active: true}, Ownership: &user.Ownership{Owner: owner, State: user.Owned, ValidUntil: &now}}
		if tt.reason != "" {
			o.Problem = &user.Problem{Reason: tt.reason}
		}
		if got := o.endChange(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		o.Problem, o.Observed.Ownership.Withheld = nil, user.WithheldExpired
		if got := o.endChange(); got != 0 {
			t.Errorf("an end that is recorded is noticed again in %s", got)
		}
	}
}

func TestAPermissionThatChangedDuringTheChangeIsNoticedAtOnce(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		changes time.Time
		want    time.Duration
	}{
		"none":           {time.Time{}, 0},
		"one to come":    {now.Add(time.Minute), time.Minute + lockMargin},
		"one that came":  {now.Add(-time.Millisecond), lockMargin},
		"one in a month": {now.Add(30 * 24 * time.Hour), longestWait + lockMargin},
	} {
		o := outcome{}
		o.Desired.Permission.Changes, o.Observed = tt.changes, &user.Observed{Now: now}
		if got := o.permissionChange(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
