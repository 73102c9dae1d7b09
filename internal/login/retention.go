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

// Trail is the record of attempts and of changes.
type Trail interface {
	// PurgeAttempts deletes at most a batch of the attempts that are older, and returns their number.
	PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error)
}

// ChangeTrail is the record of changes.
type ChangeTrail interface {
	// PurgeChanges deletes at most a batch of the changes that are older, and returns their number.
	PurgeChanges(ctx context.Context, olderThan time.Duration, batch int) (int, error)
}

// SizedChangeTrail is a record of changes on disk.
type SizedChangeTrail interface {
	// ChangesSize estimates the size of the record.
	ChangesSize(ctx context.Context) (store.TrailPart, error)

	// TrimChanges deletes at most a batch of the oldest changes, and returns their number.
	TrimChanges(ctx context.Context, batch int) (int, error)
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
	changes,
}

// changes stands for recorded changes among the outcomes of attempts.
const changes store.Outcome = "change"

// Retention limits the age and the size of the record of attempts and changes.
type Retention struct {
	Trail   Trail
	Changes ChangeTrail
	Keep    time.Duration

	// Sized and SizedChanges are the records on disk, nil if they are in memory. MaxSize is their largest size together in bytes, 0
	// for no limit.
	Sized        SizedTrail
	SizedChanges SizedChangeTrail
	MaxSize      int64

	Registry prometheus.Registerer
	Log      *slog.Logger

	bytes   prometheus.Gauge
	trimmed *prometheus.CounterVec
}

// NewRetention returns r with its metrics. It returns an error if they are registered already.
func NewRetention(r Retention) (Retention, error) {
	r.bytes = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "shardinguser_audit_bytes",
		Help: "Estimated size of the record of login attempts and changes in bytes, including indexes and excluding free space.",
	})
	r.trimmed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "shardinguser_audit_trimmed_total",
		Help: "Login attempts that were deleted before their retention time because the record was too large, by outcome. Changes have the outcome change.",
	}, []string{"outcome"})
	for _, outcome := range trimOrder { // export zeros from the start
		r.trimmed.WithLabelValues(string(outcome))
	}
	return r, errors.Join(r.Registry.Register(r.bytes), r.Registry.Register(r.trimmed))
}

// Run deletes attempts and changes older than Keep, and those that make the record too large, every 10 minutes until ctx ends.
func (r Retention) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		isBatch, err := r.purge(ctx)
		pause = purgeEvery
		switch {
		case err == nil && isBatch:
			pause = purgePause
			continue
		case err == nil && r.Sized != nil:
			err = r.trim(ctx)
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil { // the store logs an unavailable database
			r.Log.Error("Cannot delete old login attempts or changes", "error", err.Error())
		}
	}
}

// purge deletes a batch of old attempts and one of old changes, and reports whether there may be more.
func (r Retention) purge(ctx context.Context) (isBatch bool, err error) {
	attempts, err := r.Trail.PurgeAttempts(ctx, r.Keep, purgeBatch)
	if err != nil {
		return false, err
	}
	changes, err := r.Changes.PurgeChanges(ctx, r.Keep, purgeBatch)
	return attempts == purgeBatch || changes == purgeBatch, err
}

// size estimates the size of both records.
func (r Retention) size(ctx context.Context) (store.TrailSize, error) {
	size, err := r.Sized.TrailSize(ctx)
	if err != nil {
		return nil, err
	}
	size[changes], err = r.SizedChanges.ChangesSize(ctx)
	return size, err
}

// trimOne deletes at most a batch of the oldest rows of an outcome.
func (r Retention) trimOne(ctx context.Context, outcome store.Outcome, batch int) (int, error) {
	if outcome == changes {
		return r.SizedChanges.TrimChanges(ctx, batch)
	}
	return r.Sized.TrimAttempts(ctx, outcome, batch)
}

// trim reduces a record that is too large to nine tenths of its largest size.
func (r Retention) trim(ctx context.Context) error {
	size, err := r.size(ctx)
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
		r.Log.Warn("Deleted login attempts or changes before their retention time, because the record is too large; raise --audit-max-size, or find out where "+
			"the attempts come from", "maxSize", r.MaxSize, "deleted", deleted)
	}()
	for size.Bytes() > target {
		outcome, rows := toTrim(size, target, exhausted)
		if rows == 0 {
			return nil
		}
		n, err := r.trimOne(ctx, outcome, min(rows, trimBatch))
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
		if size, err = r.size(ctx); err != nil {
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
