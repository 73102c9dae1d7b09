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
	checking.Go(func() { s.keepUncharging(ctx) })
	checking.Go(func() { s.keepInspecting(ctx) })
	checking.Go(func() { s.keepFindingDefaults(ctx) })
	checking.Go(func() { s.keepOneDatabase(ctx) })
	checking.Go(func() { s.keepNoticingRestores(ctx) })
	s.keepMigrated(ctx)
	return nil
}

// keepMigrated makes the tables, and makes them again when they have gone.
func (s *Store) keepMigrated(ctx context.Context) {
	delay := s.newDelay()
	for {
		// Failures are logged where they change the database's state.
		err := s.Migrate(ctx)
		s.triedOnce.Do(func() { close(s.tried) })
		if err == nil {
			select {
			case <-s.missing: // from before they were made
			default:
			}
			wake(s.doubts)
			wake(s.inspectable)
			began := time.Now()
			select {
			case <-s.missing:
			case <-ctx.Done():
			}
			if time.Since(began) > s.timing.lastRetry {
				delay.Reset() // it had been fine
			}
		}
		if !delay.Wait(ctx) {
			return
		}
	}
}

// Tried waits until the tables exist, or until the first attempt to create them has ended. After it, a missing table is not
// merely that of a new database. The only error is that of the context.
func (s *Store) Tried(ctx context.Context) error {
	select {
	case <-s.tried:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
