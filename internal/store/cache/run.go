// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"sync"
	"time"
)

// retryEvery is the time between attempts to read what the database failed to return.
const retryEvery = time.Second

// Run keeps the cache up to date until ctx ends, and returns nil.
func (c *Cache) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { c.database.Watch(ctx, c.watched, func() {}) })
	parts.Go(func() { c.keepCoherent(ctx) })
	parts.Wait()
	return nil
}

// keepCoherent reads what is stale. After a failure it is stale still; the store logs failures of the database.
func (c *Cache) keepCoherent(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if c.refresh(ctx) == nil {
			continue
		}
		c.retry()
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryEvery):
		}
	}
}

// retry has refresh called again.
func (c *Cache) retry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark()
}
