// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
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

	// HeldOrphans are those among them that wait for a confirmation; nil where none do.
	HeldOrphans *HeldOrphans `json:"heldOrphans,omitempty"`

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

// annotationDeactivateOrphans confirms, on the ConfigMap of the report, that the held orphans of the default system are to be
// deactivated. Its value is their token.
const annotationDeactivateOrphans = "sharding.io/deactivate-orphans"

// AnnotationDeactivateOrphansOf returns the annotation that confirms the deactivation of a system's held orphans.
func AnnotationDeactivateOrphansOf(system string) string {
	if system == "" {
		return annotationDeactivateOrphans
	}
	return system + "." + annotationDeactivateOrphans
}

// OrphansCommand returns the command that lists a system's orphans and, with --deactivate, sets that annotation.
func OrphansCommand(system string, flags ...string) string {
	words := append([]string{"kubectl shardinguser orphans"}, flags...)
	if system != "" {
		words = append(words, "--system="+system)
	}
	return strings.Join(words, " ")
}

// HeldOrphans are orphans that are not deactivated before an administrator confirms it.
type HeldOrphans struct {
	Count int          `json:"count"`
	Token OrphansToken `json:"token"`
}

// OrphansToken stands for a set of orphans, so that a confirmation is about exactly these.
type OrphansToken string

// NewOrphansToken returns the token of these orphans in any order; empty for none.
func NewOrphansToken(orphans []Owned) OrphansToken {
	if len(orphans) == 0 {
		return ""
	}
	lines := make([]string, 0, len(orphans))
	for _, o := range orphans {
		lines = append(lines, strings.Join([]string{o.Username, o.Owner.Cluster, o.Owner.System, o.Owner.Namespace, o.Owner.Name, o.Owner.UID}, "\x00"))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return OrphansToken(hex.EncodeToString(sum[:8]))
}
