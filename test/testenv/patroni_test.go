// SPDX-License-Identifier: Apache-2.0

package testenv

import "testing"

func TestPatroniSwitchesOverAndReplacesAKilledPrimary(t *testing.T) {
	if testing.Short() {
		t.Skip("test/ha uses all of it; TestStandbyReplicatesAndCanBePromoted covers replication")
	}
	p, err := StartPatroni(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Tail())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	first := p.Primary(t.Context())
	if err := p.Server().exec(t.Context(), "CREATE TABLE kept ()"); err != nil {
		t.Fatal(err)
	}
	if err := p.Switchover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := p.Primary(t.Context())
	if second == first {
		t.Fatal("the primary is the same")
	}
	if err := second.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Server().exec(t.Context(), "DROP TABLE kept"); err != nil {
		t.Error(err)
	}
}
