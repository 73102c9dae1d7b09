// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/cli/importer"
)

func TestExitCodesOfImport(t *testing.T) {
	row := func(kind importer.RemarkKind) importer.Remark {
		return importer.Remark{Username: "alice", Kind: kind, Message: "for a reason"}
	}
	for name, tt := range map[string]struct {
		report imported
		want   int
	}{
		"all was done":                           {imported{}, ExitDone},
		"rows that are owned, or no password":    {imported{Remarks: []importer.Remark{row(importer.Owned), row(importer.WithoutPassword), row(importer.RolesDropped)}}, ExitDone},
		"rows are left out":                      {imported{LeftOut: 2}, ExitLeftOut},
		"there would be changes":                 {imported{DryRun: true, Changes: []importer.Change{{}}}, ExitFinding},
		"there would be changes, and left out":   {imported{DryRun: true, Changes: []importer.Change{{}}, LeftOut: 1}, ExitLeftOut},
		"left out, and not all could be applied": {imported{LeftOut: 1, Remarks: []importer.Remark{row(importer.NotApplied)}}, ExitFinding},
	} {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(errors.Join(nil, judge(tt.report))); got != tt.want {
				t.Errorf("the exit code is %d, want %d", got, tt.want)
			}
		})
	}
}
