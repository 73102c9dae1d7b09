// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// trail returns these numbers in order and then always 0; -1 is an error.
type trail struct {
	answers []int
	asked   []time.Duration // since begin
	begin   time.Time
	changes *trail
}

func (a *trail) PurgeAttempts(_ context.Context, olderThan time.Duration, batch int) (int, error) {
	a.asked = append(a.asked, time.Since(a.begin))
	if olderThan != time.Hour || batch != purgeBatch || len(a.answers) == 0 {
		return 0, nil
	}
	answer := a.answers[0]
	a.answers = a.answers[1:]
	if answer < 0 {
		return 0, errors.New("a defect")
	}
	return answer, nil
}

func (a *trail) PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error) {
	return a.changes.PurgeAttempts(ctx, olderThan, batch)
}

func TestOldAttemptsAreDeletedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &trail{answers: []int{purgeBatch, 2, 7, -1}, begin: time.Now()}
		a.changes = &trail{answers: []int{0, purgeBatch, 7}, begin: a.begin}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- Retention{Trail: a, Changes: a, Keep: time.Hour, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
		}()
		<-time.After(3*purgeEvery - time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, purgePause, 2 * purgePause, 2*purgePause + purgeEvery, 2*purgePause + 2*purgeEvery}
		if !slices.Equal(a.asked, want) {
			t.Errorf("asked after %v, want %v", a.asked, want)
		}
		if want := append(want[:3:3], want[4]); !slices.Equal(a.changes.asked, want) {
			t.Errorf("asked for changes after %v, want %v", a.changes.asked, want)
		}
	})
}

// disk is a record of attempts with 100 bytes each.
type disk struct {
	rows    map[store.Outcome]int64
	changes int64
	stays   store.Outcome // whose rows cannot be deleted
	failed  error
}

func (d *disk) PurgeAttempts(context.Context, time.Duration, int) (int, error) { return 0, nil }
func (d *disk) PurgeChanges(context.Context, time.Duration, int) (int, error)  { return 0, nil }

func (d *disk) ChangesSize(context.Context) (store.TrailPart, error) {
	return store.TrailPart{Rows: d.changes, Bytes: 100 * d.changes}, d.failed
}

func (d *disk) TrimChanges(_ context.Context, batch int) (int, error) {
	n := min(int64(batch), d.changes)
	d.changes -= n
	return int(n), nil
}

func (d *disk) TrailSize(context.Context) (store.TrailSize, error) {
	size := store.TrailSize{}
	for outcome, rows := range d.rows {
		size[outcome] = store.TrailPart{Rows: rows, Bytes: 100 * rows}
	}
	return size, d.failed
}

func (d *disk) TrimAttempts(_ context.Context, outcome store.Outcome, batch int) (int, error) {
	if outcome == d.stays {
		return 0, nil
	}
	n := min(int64(batch), d.rows[outcome])
	d.rows[outcome] -= n
	return int(n), nil
}

func TestTheLeastUsefulAttemptsAreTrimmedFirst(t *testing.T) {
	const most = 10_000_000 // 100,000 rows
	for name, tt := range map[string]struct {
		disk disk
		want map[store.Outcome]int64
	}{
		"below the limit": {
			disk{rows: map[store.Outcome]int64{store.RefusedUnknown: 100_000}},
			map[store.Outcome]int64{store.RefusedUnknown: 100_000},
		},
		"above the limit": {
			disk{rows: map[store.Outcome]int64{store.RefusedUnknown: 50_000, store.Failed: 50_000, store.Succeeded: 1}},
			map[store.Outcome]int64{store.RefusedUnknown: 39_998, store.Failed: 50_000, store.Succeeded: 1},
		},
		"a flood of unknown names": {
			disk{rows: map[store.Outcome]int64{store.RefusedUnknown: 300_000, store.RefusedLocked: 20_000, store.Succeeded: 10_000}},
			map[store.Outcome]int64{store.RefusedUnknown: 59_998, store.RefusedLocked: 20_000, store.Succeeded: 10_000},
		},
		"an outcome that cannot be deleted": {
			disk{rows: map[store.Outcome]int64{store.RefusedLocked: 50_000, store.Failed: 60_000}, stays: store.RefusedLocked},
			map[store.Outcome]int64{store.RefusedLocked: 50_000, store.Failed: 39_998},
		},
		"attempts before changes": {
			disk{rows: map[store.Outcome]int64{store.Succeeded: 40_000}, changes: 80_000},
			map[store.Outcome]int64{store.Succeeded: 9_999, changes: 80_000},
		},
		"only changes": {
			disk{rows: map[store.Outcome]int64{}, changes: 120_000},
			map[store.Outcome]int64{changes: 89_999},
		},
		"only successes": {
			disk{rows: map[store.Outcome]int64{store.Succeeded: 120_000}},
			map[store.Outcome]int64{store.Succeeded: 89_999},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, registry := &record{}, prometheus.NewRegistry()
				before := tt.disk.rows[store.RefusedUnknown] + tt.disk.rows[store.Failed]
				r, err := NewRetention(Retention{
					Trail: &tt.disk, Changes: &tt.disk, Keep: time.Hour, Sized: &tt.disk, SizedChanges: &tt.disk, MaxSize: most, Registry: registry,
					Log: slog.New(slog.NewJSONHandler(log, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- r.Run(ctx) }()
				<-time.After(purgeEvery - time.Second)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if off := tt.disk.changes - tt.want[changes]; off < -2 || off > 2 {
					t.Errorf("%d changes are left, want %d", tt.disk.changes, tt.want[changes])
				}
				for outcome, rows := range tt.disk.rows {
					if off := rows - tt.want[outcome]; off < -2 || off > 2 {
						t.Errorf("%d rows of %s are left, want %d", rows, outcome, tt.want[outcome])
					}
				}
				gone := before - tt.disk.rows[store.RefusedUnknown] - tt.disk.rows[store.Failed]
				if counted := trimmed(t, registry, store.RefusedUnknown) + trimmed(t, registry, store.Failed); counted != gone {
					t.Errorf("%v rows are counted, %d were deleted", counted, gone)
				}
			})
		})
	}
}

// trimmed returns the metric of an outcome.
func trimmed(t *testing.T, registry *prometheus.Registry, outcome store.Outcome) int64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "shardinguser_audit_trimmed_total" && m.GetLabel()[0].GetValue() == string(outcome) {
				return int64(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("there is no metric of %s", outcome)
	return 0
}
