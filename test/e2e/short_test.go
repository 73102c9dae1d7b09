// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

// variants are those of a matrix that run: all of them, and under -short only those that are named here. These differ in kind:
// each takes another way through the manager.
func variants[T any](t *testing.T, all map[string]T, short ...string) map[string]T {
	t.Helper()
	some := map[string]T{}
	for _, name := range short {
		variant, found := all[name]
		if !found {
			t.Fatalf("there is no variant %q", name)
		}
		some[name] = variant
	}
	if testing.Short() {
		return some
	}
	return all
}

// orShort is how many of something a story has, and under -short.
func orShort(all, short int) int {
	if testing.Short() {
		return short
	}
	return all
}
