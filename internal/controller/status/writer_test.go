// SPDX-License-Identifier: Apache-2.0

package status

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestLockOf(t *testing.T) {
	now := newClock().now()
	var (
		soon    = now.Add(time.Minute + 7*time.Microsecond)
		over    = now.Add(-time.Minute - 7*time.Microsecond)
		second  = now.Add(time.Minute)
		before  = now.Add(-time.Minute)
		unknown time.Time
	)
	row := func(until *time.Time) *user.Observed {
		return &user.Observed{Now: now, Row: &user.Row{LockedUntil: until}}
	}
	for name, tt := range map[string]struct {
		told     *time.Time
		observed *user.Observed
		want     time.Time
	}{
		"a lock is known by its end":                         {nil, row(&soon), soon},
		"also if the status reports another one":             {&before, row(&soon), soon},
		"an expired lock is known by its end":                {&before, row(&over), over},
		"a lifted lock is known by the status":               {&second, row(nil), second},
		"also if the row is gone":                            {&second, &user.Observed{Now: now}, second},
		"a lock that a login may have lifted is unknown":     {&before, row(nil), unknown},
		"also at the moment of its end":                      {&now, row(nil), unknown},
		"no lock is unknown":                                 {nil, row(nil), unknown},
		"nothing is known while the database is unavailable": {&second, nil, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			var told v1alpha1.ShardingUserStatus
			if tt.told != nil {
				told.LockedUntil = &metav1.Time{Time: *tt.told}
			}
			if got := lockOf(told, tt.observed); !got.Equal(tt.want) {
				t.Errorf("lockOf = %v, want %v", got, tt.want)
			}
		})
	}
}
