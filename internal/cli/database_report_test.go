// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestDoctorListsWhatTheOperatorFoundAboutTheDatabase(t *testing.T) {
	t.Parallel()
	trigger := store.Finding{Kind: store.FindingForeignTrigger, Object: `"audit"`, Consequence: "The trigger runs at each UPDATE."}
	security := store.Finding{Kind: store.FindingRowLevelSecurity, Object: `"users"`, Consequence: "Row-level security applies."}
	schema := store.Finding{Kind: store.FindingOpenSchema, Object: `"public"`, Consequence: "PUBLIC may create objects in it."}
	gone := store.Orphan{Namespace: "team-a", Name: "alice", Username: "alice.a", Active: true}
	idle := store.Orphan{Namespace: "team-b", Name: "bob", Username: "bob"}
	for name, tt := range map[string]struct {
		report seen[store.Report]
		want   []string
	}{
		"nothing": {
			seen[store.Report]{it: &store.Report{CheckedAt: now}},
			[]string{"ok Table The operator found no problem", "ok Orphans Each account has a ShardingUser"},
		},
		"findings": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, Findings: []store.Finding{trigger, security}}},
			[]string{
				`note Table foreign-trigger "audit": The trigger runs`, `WRONG Table row-level-security "users": Row-level security`, "ok Orphans",
			},
		},
		"an open schema": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, Findings: []store.Finding{schema}}},
			[]string{`WRONG Table open-schema "public": PUBLIC may create objects in it.`, "ok Orphans"},
		},
		"locks of another time zone": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, Findings: []store.Finding{
				{Kind: store.FindingLockZone, Object: `"locked_until"`, Consequence: "A program wrote it."},
				{Kind: store.FindingLongLock, Object: `"locked_until"`, Consequence: "An administrator set it."},
				{Kind: store.FindingManagerRights, Object: "theirs", Consequence: "The role may write."},
			}}},
			[]string{`WRONG Table lock-time-zone "locked_until": A program`, "note Table long-lock", "note Table manager-rights theirs", "ok Orphans"},
		},
		"orphans": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, Orphans: []store.Orphan{gone, idle}, MoreOrphans: 7}},
			[]string{
				"ok Table", `WRONG Orphans The ShardingUser team-a/alice does not exist, and its account "alice.a" can log in.`,
				`note Orphans The ShardingUser team-b/bob does not exist, and its account "bob" is inactive.`, "note Orphans There are 7 more.",
			},
		},
		"too many orphans": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, Orphans: []store.Orphan{idle}, HeldOrphans: &store.HeldOrphans{Count: 4, Token: "a"}}},
			[]string{"ok Table", "note Orphans The ShardingUser team-b/bob", "WRONG Orphans The operator deactivates none of the 4 orphans"},
		},
		"default passwords": {
			seen[store.Report]{it: &store.Report{CheckedAt: now, DefaultPasswords: []string{"admin", "viewer"}, MoreDefaultPasswords: 7}},
			[]string{
				"ok Table", `WRONG Defaults The account "admin" has a well-known default password of the sharding manager, and can log in.`,
				`WRONG Defaults The account "viewer" has a well-known default password`, "WRONG Defaults There are 7 more.", "ok Orphans",
			},
		},
		"a report that may not be read": {
			seen[store.Report]{err: errors.New("forbidden")}, []string{"unknown Table Cannot read the ConfigMap system/shardinguser-database"},
		},
		"no report": {seen[store.Report]{}, []string{"unknown Table The ConfigMap system/shardinguser-database"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results := checkDatabase(tt.report, "system", "")
			if len(results) != len(tt.want) {
				t.Fatalf("got %v", results)
			}
			for i, want := range tt.want {
				if got := fmt.Sprintf("%s %s %s", results[i].Level, results[i].Check, results[i].Message); !strings.HasPrefix(got, want) {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestDoctorEscapesNamesOfTheDatabase(t *testing.T) {
	t.Parallel()
	report := store.Report{
		CheckedAt: now,
		Findings:  []store.Finding{{Kind: store.FindingRule, Object: "\"\x1b[31mred\n  ok  \"", Consequence: "\x1b]0;title\x07."}},
		Orphans:   []store.Orphan{{Namespace: "\x1b[2J", Name: "a", Username: "b\x1b"}},

		DefaultPasswords: []string{"\x1b[2Jadmin\n"},
	}
	var out bytes.Buffer
	d := &doctor{env: &env{Out: &stream{&out}}}
	d.results(checkDatabase(seen[store.Report]{it: &report}, "system", ""))
	if strings.ContainsAny(out.String(), "\x1b\x07") || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("it prints %q", out.String())
	}
}
