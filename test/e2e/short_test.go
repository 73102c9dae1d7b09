// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

// variants returns the variants of a matrix to run: all of them, or under -short only the named ones. The named ones differ
// in kind: each tests another path through the manager.
func variants[T any](t *testing.T, all map[string]T, short ...string) map[string]T {
	t.Helper()
	some := map[string]T{}
	for _, name := range short {
		variant, found := all[name]
		if !found {
			t.Fatalf("no variant %q exists", name)
		}
		some[name] = variant
	}
	if testing.Short() {
		return some
	}
	return all
}

// orShort returns the first number, or the second under -short.
func orShort(all, short int) int {
	if testing.Short() {
		return short
	}
	return all
}
