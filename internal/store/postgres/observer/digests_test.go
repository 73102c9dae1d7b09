// SPDX-License-Identifier: Apache-2.0

package observer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// entries returns what digests hold, and fails where a page is empty or too large.
func entries(t *testing.T, d digests) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, p := range d.pages {
		if p.len() == 0 || p.len() > pageSize {
			t.Errorf("a page has %d entries", p.len())
		}
		for i := range p.len() {
			all[string(p.name(i))] = p.digests[i]
		}
	}
	return all
}

// swept compares digests with a table, and returns the usernames that differ and the digests of the table.
func swept(before digests, table map[string]int64) ([]string, digests) {
	c := compareWith(before)
	for username, digest := range table {
		c.add([]byte(username), digest)
	}
	after := c.after()
	return slices.Sorted(c.usernames()), after
}

// differing returns the usernames that differ between two tables.
func differing(before, after map[string]int64) (usernames []string) {
	for username, digest := range after {
		if was, ok := before[username]; !ok || was != digest {
			usernames = append(usernames, username)
		}
	}
	for username := range before {
		if _, ok := after[username]; !ok {
			usernames = append(usernames, username)
		}
	}
	slices.Sort(usernames)
	return usernames
}

func TestAComparisonFindsWhatDiffersWhateverChanges(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][]int{
		"a table that grows":        {0, 1, 10, 5_000, 20_000},
		"a table that shrinks":      {20_000, 3_000, 10, 1, 0},
		"a table of some size":      {9_000, 9_000, 9_000, 9_000},
		"a table without rows":      {0, 0},
		"a table that is refilled":  {10_000, 0, 10_000},
		"a page that becomes large": {1, 30_000, 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var known digests
			table := map[string]int64{}
			for round, size := range sizes {
				before := maps.Clone(table)
				for username := range table {
					if len(table) > size || rand.N(100) == 0 {
						delete(table, username)
					} else if rand.N(100) == 0 {
						table[username]++
					}
				}
				for n := 0; len(table) < size; n++ {
					table[fmt.Sprintf("user-%d-%d", round, n)] = rand.Int64()
				}
				var told []string
				told, known = swept(known, table)
				if want := differing(before, table); !slices.Equal(told, want) {
					t.Fatalf("round %d: %d names differ, want %d", round, len(told), len(want))
				}
				if !maps.Equal(entries(t, known), table) {
					t.Fatalf("round %d: the digests are not those of the table", round)
				}
			}
		})
	}
}

func TestSweepsShareThePagesThatAreEqual(t *testing.T) {
	t.Parallel()
	table := map[string]int64{}
	for n := range 50_000 {
		table[fmt.Sprint("user-", n)] = int64(n)
	}
	_, before := swept(digests{}, table)
	table["user-7"]++
	delete(table, "user-8")
	table["new"] = 1
	told, after := swept(before, table)
	if want := []string{"new", "user-7", "user-8"}; !slices.Equal(told, want) {
		t.Errorf("%q differ, want %q", told, want)
	}
	shared := 0
	for _, p := range after.pages {
		if slices.Contains(before.pages, p) {
			shared++
		}
	}
	if built := len(after.pages) - shared; built > 3 {
		t.Errorf("%d of %d pages were built again for three changes", built, len(after.pages))
	}
}

func TestOfTwoRowsWithOneNameTheLastCounts(t *testing.T) {
	t.Parallel()
	c := compareWith(digests{})
	c.add([]byte("alice"), 1)
	c.add([]byte("alice"), 2)
	if got := entries(t, c.after()); !maps.Equal(got, map[string]int64{"alice": 2}) {
		t.Errorf("the digests are %v", got)
	}
}
