// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestAHeldDeactivationIsConfirmedInItsSystem(t *testing.T) {
	t.Parallel()
	for system, want := range map[string][2]string{
		"":       {"sharding.io/deactivate-orphans", "run kubectl shardinguser orphans --deactivate."},
		"orders": {"orders.sharding.io/deactivate-orphans", "run kubectl shardinguser orphans --deactivate --system=orders."},
	} {
		if got := store.AnnotationDeactivateOrphansOf(system); got != want[0] {
			t.Errorf("the annotation of the system %q is %s", system, got)
		}
		if got := adviceOnHeld(system); !strings.Contains(got, want[1]) {
			t.Errorf("the advice about the system %q is %s", system, got)
		}
	}
}

func TestOrphansAreListedForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	report := store.Report{
		CheckedAt: now,
		Orphans: []store.Orphan{
			{Namespace: "team-b", Name: "bob", Username: "bob\x1b[2J"}, {Namespace: "team-a", Name: "alice", Username: "alice.a", Active: true},
		},
		MoreOrphans: 7, HeldOrphans: &store.HeldOrphans{Count: 9, Token: "abc"},
	}
	for name, tt := range map[string]struct {
		format, namespace string
		out, errOut       []string
		not               string
	}{
		"a table": {
			"", "",
			[]string{"NAMESPACE   NAME    USERNAME", "team-a      alice   alice.a", "Can log in\nteam-b      bob ", "Inactive"},
			[]string{"There are 7 more", "none of the 9 orphans", "kubectl shardinguser orphans --deactivate"},
			"\x1b",
		},
		"one namespace": {"", "team-b", []string{"team-b "}, nil, "alice"},
		"none":          {"", "team-c", nil, []string{`No orphaned accounts in the namespace "team-c"`}, "NAMESPACE"},
		"names":         {asName, "", []string{"shardinguser.sharding.io/alice\nshardinguser.sharding.io/bob\n"}, nil, "more"},
		"JSON":          {asJSON, "", []string{`"username": "alice.a"`, `"active": true`, `"more": 7`, `"token": "abc"`, `"count": 9`}, nil, "\x1b"},
		"YAML":          {asYAML, "", []string{"username: alice.a", "more: 7"}, nil, "\x1b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut bytes.Buffer
			l := &orphanLister{env: &env{Out: &stream{&out}, ErrOut: &stream{&errOut}}, output: output{format: tt.format}}
			if err := l.print(listOrphans(report, tt.namespace), tt.namespace); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output has no %q:\n%s", want, out.String())
				}
			}
			for _, want := range tt.errOut {
				if !strings.Contains(errOut.String(), want) {
					t.Errorf("the standard error has no %q:\n%s", want, errOut.String())
				}
			}
			if strings.Contains(out.String(), tt.not) {
				t.Errorf("the output has %q:\n%s", tt.not, out.String())
			}
		})
	}
}
