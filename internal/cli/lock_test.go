// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestFlagsOfLock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		locker locker
		until  string // "" for none
		fault  string
	}{
		"for good":                  {locker{reason: "left"}, "", ""},
		"a duration":                {locker{until: "24h"}, "2026-03-05T12:00:00Z", ""},
		"a time of another zone":    {locker{until: "2026-03-05T12:00:00+02:00"}, "2026-03-05T10:00:00Z", ""},
		"a time that has passed":    {locker{until: "2026-03-04T11:00:00Z"}, "", "not in the future"},
		"a negative duration":       {locker{until: "-1h"}, "", "not in the future"},
		"neither":                   {locker{until: "tomorrow"}, "", "neither a time"},
		"a reason of two lines":     {locker{reason: "a\nb"}, "", "printable"},
		"a reason with an escape":   {locker{reason: "\x1b[31m"}, "", "printable"},
		"a reason that is too long": {locker{reason: strings.Repeat("ü", 257)}, "", "longer than 256"},
		"undo with a reason":        {locker{undo: true, reason: "found"}, "", "cannot be combined"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lock, err := tt.locker.lock(now)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("the error is %v, want %q", err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			until := ""
			if lock.Until != nil {
				until = lock.Until.Format(time.RFC3339)
			}
			if until != tt.until || lock.Reason != tt.locker.reason {
				t.Errorf("the lock is %+v, want until %q", lock, tt.until)
			}
		})
	}
}

func TestALockThatEndedNeedsNoUnlock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	u := &v1alpha1.ShardingUser{}
	u.Spec.Lock = &v1alpha1.StandingLock{Until: &metav1.Time{Time: now.Add(time.Minute)}}
	if !hasStandingLock(u, now) || hasStandingLock(u, now.Add(time.Hour)) {
		t.Error("a lock lasts until its time")
	}
}
