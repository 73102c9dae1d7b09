// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/schema"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// suspects are the findings about the table users that can explain why a row was rejected or not kept.
type suspects struct {
	findings []store.Finding
	unknown  string // why the table could not be inspected; "" where it was
}

// findSuspects inspects the table, unless it was inspected shortly before for a refusal of the same kind. A refusal of
// another kind may come from a right or an object that changed since then. A nil refusal is a write that was not kept.
func (s *Store) findSuspects(ctx context.Context, refusal *pgconn.PgError) suspects {
	return s.suspected.get(kindOf(refusal), s.timing.proof, func() suspects {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timing.catalogue)
		defer cancel()
		found, err := s.InspectTable(limited)
		switch {
		case err != nil && limited.Err() != nil:
			return suspects{unknown: fmt.Sprintf("the catalog query did not return within %v", s.timing.catalogue)}
		case err != nil:
			return suspects{unknown: "the catalog query failed"}
		}
		s.followRowSecurity(found)
		return suspects{findings: found}
	})
}

// kindOf identifies refusals that have the same cause as long as nothing changes in the database. The message of a missing
// right names the object; other messages can hold values, which differ from row to row.
func kindOf(refusal *pgconn.PgError) string {
	if refusal == nil {
		return ""
	}
	kind := fmt.Sprintf("%s %q %q %t", refusal.Code, refusal.TableName, refusal.ConstraintName, refusal.Where == "")
	if refusal.Code == codeMissingRight {
		kind += " " + refusal.Message
	}
	return kind
}

// of returns the findings of these kinds.
func (f suspects) of(kinds ...string) []store.Finding {
	return slices.DeleteFunc(slices.Clone(f.findings), func(finding store.Finding) bool { return !slices.Contains(kinds, finding.Kind) })
}

// names lists what can change, skip or reject a write; "" where there is nothing.
func (f suspects) names() string {
	what := map[string]string{
		store.FindingForeignTrigger: "trigger", store.FindingRule: "rule", store.FindingRowLevelSecurity: "row-level security policy",
	}
	var list []string
	for _, finding := range f.of(store.FindingForeignTrigger, store.FindingRule, store.FindingRowLevelSecurity) {
		name := what[finding.Kind] + " " + finding.Object
		if finding.Object == schema.Ident(schema.Users) {
			name = "row-level security"
		}
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

// isRowSecurity reports whether row-level security applies to the role.
func (f suspects) isRowSecurity() bool { return len(f.of(store.FindingRowLevelSecurity)) > 0 }

// followRowSecurity replaces the pool's connections when row-level security begins or ceases to apply to the role: after an ALTER
// ROLE the server still uses the plans of prepared statements.
func (s *Store) followRowSecurity(found []store.Finding) {
	if applies := (suspects{findings: found}).isRowSecurity(); s.rowSecurity.Swap(applies) != applies {
		s.pool.Reset()
	}
}

// columns returns why columns do not keep the written value: this one, or all where the name is "".
func (f suspects) columns(name string) string {
	var list []string
	for _, finding := range f.of(store.FindingColumnType, store.FindingGeneratedColumn, store.FindingDomain) {
		if name == "" || finding.Object == schema.Ident(name) {
			list = append(list, fmt.Sprintf("Column %s: %s", finding.Object, finding.Consequence))
		}
	}
	return strings.Join(list, " ")
}

// Explain names what in the database may prevent these fields of a row from being written, in a sentence for administrators. It is
// called after a write that the database accepted and did not keep. It returns "" where the catalog names nothing: then another
// program wrote the row.
func (s *Store) Explain(ctx context.Context, fields []user.Field) string {
	found := s.findSuspects(ctx, nil)
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

// lacksRight reports whether the role lacks a right that it needs, or cannot find the table at all.
func (f suspects) lacksRight() bool {
	return len(f.of(store.FindingMissingRight, store.FindingMissingTable)) > 0
}
