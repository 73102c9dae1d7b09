// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// All rows run at a small size (in a short run, those of one act), and their counters are right. Times are not checked.
func TestEveryRowCountsWhatItShould(t *testing.T) {
	program, err := testenv.BuildManager(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	size := sizes{
		program: program,
		// So that sweeps are counted, too.
		arguments: []string{"--resync-interval=5s"},
		users:     200, plain: []int{16}, scale: 20, unowned: 5000, locks: 20, repeat: 2,
		rounds: 1, clients: []int{4}, window: 100 * time.Millisecond, requests: 50,
		calm: 300 * time.Millisecond, idle: 2 * time.Second, sweeps: 2 * time.Second,
	}
	for _, a := range acts(size) {
		if testing.Short() && a.name != "hashed passwords" { // it has most of the rows
			continue
		}
		if a.whole != "" {
			a.rows = a.rows[:1] // the others are those of another act
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			results, err := a.play(t.Context(), size, rowNames(), t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			for _, result := range results {
				for _, sentence := range result.Broken {
					t.Errorf("%s: %s", result.What, sentence)
				}
			}
			if len(results) < len(a.rows) {
				t.Errorf("%d results of %d rows", len(results), len(a.rows))
			}
		})
	}
}
