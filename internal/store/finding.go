// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"slices"
	"unicode"
)

// Finding is one property of the table users, of its database or of a session that keeps some statements from working, or
// changes what they do, or of a time that another program stored. Its texts hold names from the catalog, settings of the server and
// time zones, never a value of a row.
type Finding struct {
	Kind        string `json:"kind"`        // one of FindingKinds
	Object      string `json:"object"`      // the column, trigger, policy or setting, quoted as an SQL identifier where it is one
	Consequence string `json:"consequence"` // what does not work, and what to do, in one line
}

// The kinds of findings. They are labels of a metric and stay the same from release to release.
const (
	FindingCheckConstraint     = "check-constraint"
	FindingCollation           = "collation"
	FindingColumnType          = "column-type"
	FindingDomain              = "domain"
	FindingExclusionConstraint = "exclusion-constraint"
	FindingForeignKey          = "foreign-key"
	FindingForeignOwner        = "foreign-owner"
	FindingForeignTrigger      = "foreign-trigger"
	FindingGeneratedColumn     = "generated-column"
	FindingInheritance         = "inheritance"
	FindingLockZone            = "lock-time-zone"
	FindingLongLock            = "long-lock"
	FindingManagerRights       = "manager-rights"
	FindingMissingColumn       = "missing-column"
	FindingMissingRight        = "missing-right"
	FindingMissingTable        = "missing-table"
	FindingMissingUniqueKey    = "missing-unique-key"
	FindingNotATable           = "not-a-table"
	FindingNotNullColumn       = "not-null-column"
	FindingNotificationTrigger = "notification-trigger"
	FindingOAuthGuard          = "oauth-guard"
	FindingOpenSchema          = "open-schema"
	FindingPartitionedTable    = "partitioned-table"
	FindingReplicaIdentity     = "replica-identity"
	FindingRowLevelSecurity    = "row-level-security"
	FindingRule                = "rule"
	FindingSchemaVersion       = "schema-version"
	FindingServerVersion       = "server-version"
	FindingSessionSetting      = "session-setting"
	FindingSessionZone         = "session-time-zone"
	FindingUniqueConstraint    = "unique-constraint"
	FindingUnloggedTable       = "unlogged-table"
)

// FindingKinds returns all kinds, sorted.
func FindingKinds() []string {
	return []string{
		FindingCheckConstraint, FindingCollation, FindingColumnType, FindingDomain, FindingExclusionConstraint, FindingForeignKey,
		FindingForeignOwner, FindingForeignTrigger, FindingGeneratedColumn, FindingInheritance, FindingLockZone, FindingLongLock,
		FindingManagerRights, FindingMissingColumn, FindingMissingRight, FindingMissingTable, FindingMissingUniqueKey, FindingNotATable,
		FindingNotNullColumn, FindingNotificationTrigger, FindingOAuthGuard, FindingOpenSchema, FindingPartitionedTable, FindingReplicaIdentity,
		FindingRowLevelSecurity, FindingRule, FindingSchemaVersion, FindingServerVersion, FindingSessionSetting, FindingSessionZone,
		FindingUniqueConstraint, FindingUnloggedTable,
	}
}

// mostText is the largest number of characters of a text of a finding or an orphan.
const mostText = 1000

// Clean returns the finding in printable characters: names of the catalog can hold any.
func (f Finding) Clean() Finding {
	f.Object, f.Consequence = printable(f.Object, mostText, unicode.MaxRune), printable(f.Consequence, mostText, unicode.MaxRune)
	return f
}

// SortFindings returns the findings in a fixed order, each once.
func SortFindings(findings []Finding) []Finding {
	sorted := slices.Clone(findings)
	slices.SortFunc(sorted, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Consequence, b.Consequence))
	})
	return slices.Compact(sorted)
}
