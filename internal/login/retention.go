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

	// trimBatch is the largest number of rows that are deleted before the size is estimated again, since other replicas trim too.
	// It is large because a batch may scan all rows of other outcomes.
	trimBatch = 20_000
)

// Trail is the record of attempts.
type Trail interface {
	// PurgeAttempts deletes at most a batch of the attempts that are older, and returns their number.
	PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error)
}

// SizedTrail is a record of attempts on disk.
type SizedTrail interface {
	// TrailSize estimates the size of the record.
	TrailSize(ctx context.Context) (store.TrailSize, error)

	// TrimAttempts deletes at most a batch of the oldest attempts with an outcome, and returns their number.
	TrimAttempts(ctx context.Context, outcome store.Outcome, batch int) (int, error)
}

// trimOrder lists the outcomes in the order of deletion. First are those that strangers can cause most, and that say least.
var trimOrder = []store.Outcome{
	store.RefusedUnknown, store.RefusedInactive, store.RefusedLocked, store.Unchecked, store.Pending, store.Failed, store.Succeeded,
}

// Retention limits the age and the size of the record of attempts.
type Retention struct {
	Trail Trail
	Keep  time.Duration

	// Sized is the record on disk, nil if it is in memory. MaxSize is its largest size in bytes, 0 for no limit.
	Sized   SizedTrail
	MaxSize int64

	Registry prometheus.Registerer
	Log      *slog.Logger

	bytes   prometheus.Gauge
	trimmed *prometheus.CounterVec
}

// NewRetention returns r with its metrics. It returns an error if they are registered already.
func NewRetention(r Retention) (Retention, error) {
	r.bytes = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shardinguser_audit_bytes",
		Help: "Estimated size of the record of login attempts in bytes, including indexes and excluding free space.",
	})
	r.trimmed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shardinguser_audit_trimmed_total",
		Help: "Login attempts that were deleted before their retention time because the record was too large, by outcome.",
	}, []string{"outcome"})
	for _, outcome := range trimOrder { // export zeros from the start
		r.trimmed.WithLabelValues(string(outcome))
	}
	return r, errors.Join(r.Registry.Register(r.bytes), r.Registry.Register(r.trimmed))
}

// Run deletes attempts older than Keep, and those that make the record too large, every 10 minutes until ctx ends.
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
		if err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil { // the store logs an unavailable database
			r.Log.Error("Cannot delete old login attempts", "error", err.Error())
		}
	}
}

// trim reduces a record that is too large to nine tenths of its largest size.
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
		exhausted[outcome] = n == 0 // the other rows cannot be deleted, or the estimate was wrong
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

// toTrim returns the first outcome of trimOrder that has rows, and the number of rows to delete; 0 if none has rows.
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
