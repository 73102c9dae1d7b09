// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// keepInspecting inspects the table after each migration, after the database recovers, and every InspectInterval, until ctx ends.
func (s *Store) keepInspecting(ctx context.Context) {
	recovered := make(chan struct{}, 1)
	s.health.join(recovered)
	defer s.health.leave(recovered)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.inspectable: // nothing is worth a look before the first migration
		case <-recovered:
		case <-time.After(s.settings.InspectInterval):
		}
		delay := s.newDelay()
		for err := s.inspectOnce(ctx); err != nil; err = s.inspectOnce(ctx) {
			if !delay.Wait(ctx) {
				return
			}
		}
	}
}

// inspectOnce inspects the table, keeps the result and logs what is new and what is resolved.
func (s *Store) inspectOnce(ctx context.Context) error {
	found, err := s.InspectTable(ctx)
	if err != nil {
		return err
	}
	s.followRowSecurity(found)
	if times, err := s.inspectTimes(ctx); err == nil {
		found = store.SortFindings(append(found, times...))
	} else if ctx.Err() != nil {
		return ctx.Err()
	} // a right or a column that is missing is a finding already
	s.mu.Lock()
	before := s.findings
	s.findings = found
	s.mu.Unlock()
	for _, f := range found {
		isLogged := f.Kind == store.FindingNotificationTrigger // by trigger.go, with the reason
		if !slices.Contains(before, f) && !isLogged {
			s.settings.Log.Warn("The table users has a finding", "kind", f.Kind, "object", f.Object, "consequence", f.Consequence)
		}
	}
	for _, f := range before {
		if !slices.Contains(found, f) {
			s.settings.Log.Info("A finding about the table users is resolved", "kind", f.Kind, "object", f.Object)
		}
	}
	return nil
}

// isMissingRight reports whether the server rejected a statement because of a missing right.
func isMissingRight(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == codeMissingRight
}
