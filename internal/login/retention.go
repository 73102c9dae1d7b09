// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	purgeEvery = 10 * time.Minute
	purgeBatch = 1000
	purgePause = 100 * time.Millisecond // between batches: logins come first

	// trimBatch is deleted by one estimate: other replicas trim too. It is large, since each batch may have to pass over all rows of
	// other outcomes.
	trimBatch = 20_000
)

// Trail is the record of attempts.
type Trail interface {
	// PurgeAttempts deletes attempts that are older than this, at most a batch of them, and tells how many.
	PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error)
}

// SizedTrail is a record of attempts that takes up space on a disk.
type SizedTrail interface {
	// TrailSize estimates how much the record holds.
	TrailSize(ctx context.Context) (store.TrailSize, error)

	// TrimAttempts deletes the oldest attempts of an outcome, at most a batch of them, and returns how many.
	TrimAttempts(ctx context.Context, outcome store.Outcome, batch int) (int, error)
}

// trimOrder is the outcomes from the least worthy: those that strangers can cause most of, and that say least.
var trimOrder = []store.Outcome{
	store.RefusedUnknown, store.RefusedInactive, store.RefusedLocked, store.Unchecked, store.Pending, store.Failed, store.Succeeded,
}

// Retention keeps the record of attempts from growing for ever.
type Retention struct {
	Trail Trail
	Keep  time.Duration

	// Sized is the record's size, nil where it is in memory, and MaxSize what it may be, in bytes; 0 for any size.
	Sized   SizedTrail
	MaxSize int64

	Registry prometheus.Registerer
	Log      *slog.Logger

	bytes   prometheus.Gauge
	trimmed *prometheus.CounterVec
}

// NewRetention returns r with its metrics. The error is that of metrics that are there already.
func NewRetention(r Retention) (Retention, error) {
	r.bytes = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shardinguser_audit_bytes",
		Help: "Estimated size of the record of login attempts in bytes, including indexes and excluding free space.",
	})
	r.trimmed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shardinguser_audit_trimmed_total",
		Help: "Login attempts that were deleted before their retention time because the record was too large, by outcome.",
	}, []string{"outcome"})
	for _, outcome := range trimOrder { // shown from the start
		r.trimmed.WithLabelValues(string(outcome))
	}
	return r, errors.Join(r.Registry.Register(r.bytes), r.Registry.Register(r.trimmed))
}

// Run deletes what is older than Keep, and what makes the record too large, every now and then, until ctx ends.
func (r Retention) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		deleted, err := r.Trail.PurgeAttempts(ctx, r.Keep, purgeBatch)
		pause = purgeEvery
		switch {
		case err == nil && deleted == purgeBatch:
			pause = purgePause
			continue
		case err == nil && r.Sized != nil:
			err = r.trim(ctx)
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil { // an outage is logged elsewhere
			r.Log.Error("Cannot delete old login attempts", "error", err.Error())
		}
	}
}

// trim brings a record that is too large down to nine tenths of its largest size.
func (r Retention) trim(ctx context.Context) error {
	size, err := r.Sized.TrailSize(ctx)
	if err != nil {
		return err
	}
	r.bytes.Set(float64(size.Bytes()))
	if r.MaxSize == 0 || size.Bytes() <= r.MaxSize {
		return nil
	}
	target, exhausted, deleted := r.MaxSize/10*9, map[store.Outcome]bool{}, map[string]int{}
	defer func() {
		if len(deleted) == 0 {
			return
		}
		r.Log.Warn("Deleted login attempts before their retention time, because the record is too large; raise --audit-max-size, or find out where "+
			"the attempts come from", "maxSize", r.MaxSize, "deleted", deleted)
	}()
	for size.Bytes() > target {
		outcome, rows := toTrim(size, target, exhausted)
		if rows == 0 {
			return nil
		}
		n, err := r.Sized.TrimAttempts(ctx, outcome, min(rows, trimBatch))
		if n > 0 {
			deleted[string(outcome)] += n
		}
		r.trimmed.WithLabelValues(string(outcome)).Add(float64(n))
		if err != nil {
			return err
		}
		exhausted[outcome] = n == 0 // what is left of it has to stay, or was an error of the estimate
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(purgePause):
		}
		if size, err = r.Sized.TrailSize(ctx); err != nil {
			return err
		}
		r.bytes.Set(float64(size.Bytes()))
	}
	return nil
}

// toTrim is the least worthy outcome that has rows, and how many of them are to go; 0 where none has any.
func toTrim(size store.TrailSize, target int64, exhausted map[store.Outcome]bool) (outcome store.Outcome, rows int) {
	for _, outcome := range trimOrder {
		part := size[outcome]
		if part.Rows == 0 || exhausted[outcome] {
			continue
		}
		perRow := max(1, part.Bytes/part.Rows)
		return outcome, int(min(part.Rows, (size.Bytes()-target)/perRow+1))
	}
	return "", 0
}
