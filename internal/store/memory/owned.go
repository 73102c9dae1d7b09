// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Owned reads the next ownership records of a scope that follow a username, at most limit of them. The only error is the
// context's.
func (s *Store) Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return s.records(ctx, scope, after, limit, func(record user.Ownership, _ bool) bool { return record.State == user.Owned })
}

// Released reads the next released records whose rows are active, as Owned reads those that are owned.
func (s *Store) Released(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	return s.records(ctx, scope, after, limit, func(record user.Ownership, isActive bool) bool {
		return record.State == user.Released && isActive
	})
}

func (s *Store) records(
	ctx context.Context, scope store.Scope, after string, limit int, isWanted func(record user.Ownership, isActive bool) bool,
) ([]store.Owned, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []store.Owned
	for _, username := range slices.Sorted(maps.Keys(s.ownership)) {
		record := s.ownership[username]
		row, exists := s.rows[username]
		isActive := exists && row.Active
		if record.Owner.Cluster != scope.Cluster || record.Owner.System != scope.System || username <= after || !isWanted(record, isActive) {
			continue
		}
		if len(records) == limit {
			break
		}
		records = append(records, store.Owned{Username: username, Owner: record.Owner, RowExists: exists, Active: isActive})
	}
	return records, nil
}
