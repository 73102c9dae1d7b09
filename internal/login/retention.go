// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

const (
	purgeEvery = 10 * time.Minute
	purgeBatch = 1000
	purgePause = 100 * time.Millisecond // between batches: whoever logs in comes first
)

// Trail is the record of attempts.
type Trail interface {
	// PurgeAttempts deletes attempts that are older than this, at most a batch of them, and tells how many.
	PurgeAttempts(ctx context.Context, olderThan time.Duration, batch int) (int, error)
}

// Retention keeps the record of attempts from growing for ever.
type Retention struct {
	Trail Trail
	Keep  time.Duration
	Log   *slog.Logger
}

// Run deletes what is older than Keep, every now and then, until ctx ends.
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
		case errors.Is(err, store.ErrUnavailable): // which others tell of
		case err != nil && ctx.Err() == nil:
			r.Log.Error("Old log-in attempts could not be deleted", "error", err.Error())
		}
	}
}
