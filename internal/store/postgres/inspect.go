// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/findings"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/session"
)

// InspectTable reads the catalog and returns what about the table users, its database and the role's sessions keeps
// statements from working, or changes what they do, in a fixed order. It reads no row, and it changes nothing about what is
// known of the database's health. Its errors are Observe's.
func (s *Store) InspectTable(ctx context.Context) ([]store.Finding, error) {
	limited, cancel := context.WithTimeout(ctx, s.settings.StatementTimeout)
	defer cancel()
	found, err := s.inspect(limited)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, s.classify(err, asks, s.settings.StatementTimeout).unavailable(err)
	}
	for i := range found {
		found[i] = found[i].Clean()
	}
	return store.SortFindings(found), nil
}

func (s *Store) inspect(ctx context.Context) ([]store.Finding, error) {
	tables, columns, privileges := s.settings.Role.needs()
	var facts []findings.Fact
	err := s.borrow(ctx, func(c *conn) error {
		schemas, err := namedSchemas(ctx, c)
		if err != nil {
			return err
		}
		rows, err := c.Query(ctx, findings.Query, tables, columns, privileges, schemas)
		if err != nil {
			return err
		}
		facts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f findings.Fact, err error) {
			err = row.Scan(&f.Topic, &f.Name, &f.Details)
			return f, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	version, err := s.schemaVersion(ctx)
	if err != nil && !isMissingRight(err) { // the missing right is a finding
		return nil, err
	}
	latest, err := latestMigration()
	if err != nil {
		return nil, err
	}
	return findings.Describe(facts, findings.Options{
		CreatesSchema: s.settings.Role.makesSchema(), NoNotifications: s.settings.NoNotifications,
		StatementTimeout: s.settings.StatementTimeout, Version: version, LatestVersion: latest,
	}), nil
}

// namedSchemas lists the schemas that the search path of a session names, but for the temporary one.
func namedSchemas(ctx context.Context, c *conn) ([]string, error) {
	var path, role string
	err := c.QueryRow(ctx, "SELECT pg_catalog.current_setting('search_path'), CURRENT_USER::text").Scan(&path, &role)
	if err != nil {
		return nil, err
	}
	schemas, _ := session.SplitPath(path)
	named := []string{}
	for _, name := range schemas {
		switch name {
		case session.Temporary:
		case "$user":
			named = append(named, role)
		default:
			named = append(named, name)
		}
	}
	return named, nil
}

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
