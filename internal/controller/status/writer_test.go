// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// By what locks are taken for those of one statement.
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
		"a lock is known by its end":                             {nil, row(&soon), soon},
		"also where the status tells of another one":             {&before, row(&soon), soon},
		"one that ran out is known by its end":                   {&before, row(&over), over},
		"one that was lifted is known by what was told":          {&second, row(nil), second},
		"also where the row is gone":                             {&second, &user.Observed{Now: now}, second},
		"one that a log-in may have lifted is that user's alone": {&before, row(nil), unknown},
		"also in the moment in which it ends":                    {&now, row(nil), unknown},
		"who was never locked has none":                          {nil, row(nil), unknown},
		"nothing is known while the database is away":            {&second, nil, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			var told v1alpha1.ShardingUserStatus
			if tt.told != nil {
				told.LockedUntil = &metav1.Time{Time: *tt.told}
			}
			if got := lockOf(told, outcome{observed: tt.observed}); !got.Equal(tt.want) {
				t.Errorf("lockOf = %v, want %v", got, tt.want)
			}
		})
	}
}
