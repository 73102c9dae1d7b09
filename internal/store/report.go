// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"
	"unicode"
)

// The leader publishes what it finds about the database in a ConfigMap of its own namespace, for people without a DSN.
const (
	ReportName = "shardinguser-database" // of the ConfigMap
	ReportKey  = "report.json"           // of the Report of the default system
)

// ReportKeyOf returns the key of a system's Report. Two releases in one namespace share the ConfigMap.
func ReportKeyOf(system string) string {
	if system == "" {
		return ReportKey
	}
	return system + "." + ReportKey
}

// Report is what the leader found about the database.
type Report struct {
	CheckedAt   time.Time `json:"checkedAt"` // when the leader first found this content
	Findings    []Finding `json:"findings"`
	Orphans     []Orphan  `json:"orphans"`
	MoreOrphans int       `json:"moreOrphans,omitempty"` // that the list has no room for

	// DefaultPasswords are the usernames of active accounts with a default password of the sharding manager.
	DefaultPasswords     []string `json:"defaultPasswords,omitempty"`
	MoreDefaultPasswords int      `json:"moreDefaultPasswords,omitempty"` // that the list has no room for
}

// Orphan is an account whose ownership record names a ShardingUser that does not exist.
type Orphan struct {
	Namespace string `json:"namespace"` // of the ShardingUser
	Name      string `json:"name"`
	Username  string `json:"username"`
	Active    bool   `json:"active"`
}

// Clean returns the orphan in printable characters: other programs may write the ownership records.
func (o Orphan) Clean() Orphan {
	for _, text := range []*string{&o.Namespace, &o.Name, &o.Username} {
		*text = printable(*text, mostText, unicode.MaxRune)
	}
	return o
}
