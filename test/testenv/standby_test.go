// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"strings"
	"testing"
)

func TestStandbyReplicatesAndCanBePromoted(t *testing.T) {
	primary, err := StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	standby, err := primary.NewStandby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range []*Postgres{standby, primary} {
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	if err := primary.exec(t.Context(), "CREATE TABLE kept ()"); err != nil {
		t.Fatal(err)
	}
	if err := standby.CatchUp(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	if err := standby.exec(t.Context(), "DROP TABLE kept"); err == nil || !strings.Contains(err.Error(), "25006") {
		t.Errorf("writing to the standby gives %v", err)
	}
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.exec(t.Context(), "DROP TABLE kept"); err != nil {
		t.Error(err)
	}
}
