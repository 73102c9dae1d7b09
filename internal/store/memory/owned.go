// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"maps"
	"slices"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Owned reads the next ownership records of a cluster that follow a username, at most limit of them. The only error is the
// context's.
func (s *Store) Owned(ctx context.Context, cluster, after string, limit int) ([]store.Owned, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []store.Owned
	for _, username := range slices.Sorted(maps.Keys(s.notes)) {
		note := s.notes[username]
		if note.State != user.Owned || note.Owner.Cluster != cluster || username <= after {
			continue
		}
		if len(records) == limit {
			break
		}
		row, exists := s.rows[username]
		records = append(records, store.Owned{Username: username, Owner: note.Owner, RowExists: exists, Active: exists && row.Active})
	}
	return records, nil
}
