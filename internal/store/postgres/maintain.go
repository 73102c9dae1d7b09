// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"sync"
	"time"
)

// Maintain keeps the store usable until ctx ends, and returns nil then: it migrates as soon as the database can be
// reached, and looks whether it answers, so that an outage and its end are noticed also while nobody calls. Every replica
// runs it.
func (s *Store) Maintain(ctx context.Context) error {
	var checking sync.WaitGroup
	defer checking.Wait()
	checking.Go(func() { s.keepChecking(ctx) })
	s.keepMigrated(ctx)
	return nil
}

// keepMigrated makes the tables, and makes them again when they have gone.
func (s *Store) keepMigrated(ctx context.Context) {
	delay := s.newDelay()
	for {
		// Failures are logged where they change the database's state.
		if s.Migrate(ctx) == nil {
			select {
			case <-s.missing: // from before they were made
			default:
			}
			wake(s.doubts)
			began := time.Now()
			select {
			case <-s.missing:
			case <-ctx.Done():
			}
			if time.Since(began) > s.timing.lastRetry {
				delay.reset() // it had been fine
			}
		}
		if !delay.wait(ctx) {
			return
		}
	}
}
