// SPDX-License-Identifier: Apache-2.0

package testenv

import "testing"

// The tests of test/ha use the rest of a pair.
func TestPatroniEndsWithItsPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("only the deep tests have Patroni; TestServersEndWithTheProcessThatStartedThem covers the reaper")
	}
	p, err := StartPatroni(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	if err := p.Server().exec(t.Context(), "CREATE TABLE kept ()"); err != nil {
		t.Errorf("HAProxy does not lead to the primary: %v", err)
	}
	pids := map[string]int{}
	for _, name := range []string{"db-1", "db-2", "postgres-db-1", "postgres-db-2", "haproxy"} {
		if pids[name], err = p.scope.pid(name); err != nil {
			t.Fatal(err)
		}
		if !alive(pids[name]) {
			t.Errorf("%s does not run", name)
		}
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	for name, pid := range pids {
		if alive(pid) {
			t.Errorf("%s runs after Stop", name)
		}
	}
}
