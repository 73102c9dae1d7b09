// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// suspects are the findings about the table users, as they explain why a row was refused or not kept.
type suspects []store.Finding

// findSuspects inspects the table, unless it was inspected just now. Where the catalogue does not answer, nothing is suspected.
func (s *Store) findSuspects(ctx context.Context) suspects {
	return s.suspected.get(s.timing.proof, func() suspects {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timing.catalogue)
		defer cancel()
		found, err := s.InspectTable(limited)
		if err != nil {
			return nil
		}
		s.followRowSecurity(found)
		return found
	})
}

// of returns the findings of these kinds.
func (f suspects) of(kinds ...string) suspects {
	return slices.DeleteFunc(slices.Clone(f), func(finding store.Finding) bool { return !slices.Contains(kinds, finding.Kind) })
}

// names lists what can change, skip or refuse a write, as far as there is anything.
func (f suspects) names() string {
	what := map[string]string{
		store.FindingForeignTrigger: "trigger", store.FindingRule: "rule", store.FindingRowLevelSecurity: "row-level security policy",
	}
	var list []string
	for _, finding := range f.of(store.FindingForeignTrigger, store.FindingRule, store.FindingRowLevelSecurity) {
		name := what[finding.Kind] + " " + finding.Object
		if finding.Object == ident(usersTable) {
			name = "row-level security"
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

// isRowSecurity tells whether row-level security applies to the role.
func (f suspects) isRowSecurity() bool { return len(f.of(store.FindingRowLevelSecurity)) > 0 }

// followRowSecurity replaces the pool's connections where row-level security begins or ceases to apply to the role: after an
// ALTER ROLE the server still uses the plans of statements that are prepared.
func (s *Store) followRowSecurity(found suspects) {
	if applies := found.isRowSecurity(); s.rowSecurity.Swap(applies) != applies {
		s.pool.Reset()
	}
}

// columns says of columns that do not keep what is written why that is so: of this one, or of all where the name is "".
func (f suspects) columns(name string) string {
	var list []string
	for _, finding := range f.of(store.FindingColumnType, store.FindingGeneratedColumn, store.FindingDomain) {
		if name == "" || finding.Object == ident(name) {
			list = append(list, fmt.Sprintf("Column %s: %s", finding.Object, finding.Consequence))
		}
	}
	return strings.Join(list, " ")
}

// Explain names what in the database may keep these fields of a row from being written, in a sentence for operators. It is
// asked after a write that the database took and did not keep. It returns "" where the catalogue names nothing: then another
// program wrote the row.
func (s *Store) Explain(ctx context.Context, fields []user.Field) string {
	found := s.findSuspects(ctx)
	var reasons []string
	for _, field := range fields {
		if columns := found.columns(string(field)); columns != "" && field != user.FieldRow {
			reasons = append(reasons, columns)
		}
	}
	if names := found.names(); names != "" {
		reasons = append(reasons, fmt.Sprintf("On the table users there is %s, which may skip or change the write: change it, or drop it.", names))
	}
	return strings.Join(reasons, " ")
}

// lacksRight tells whether the role lacks a right that it needs, or cannot find the table at all.
func (s *Store) lacksRight(ctx context.Context) bool {
	return len(s.findSuspects(ctx).of(store.FindingMissingRight, store.FindingMissingTable)) > 0
}
