// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
	"time"
)

func first(n int, seed uint64) (steps []step) {
	for s := range (&stage{set: settings{seed: seed}}).steps() {
		if steps = append(steps, s); len(steps) == n {
			break
		}
	}
	return steps
}

func TestASeedGivesOnePlan(t *testing.T) {
	t.Parallel()
	if !slices.Equal(first(100, 7), first(100, 7)) {
		t.Error("the same seed made two plans")
	}
	if slices.Equal(first(100, 7), first(100, 8)) {
		t.Error("two seeds made the same plan")
	}
}

func TestAPlanStartsWithTheFaultsOfEveryRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		seen := map[string]bool{}
		for i, s := range first(len(faults), seed) {
			if seen[s.kind] {
				t.Errorf("seed %d: %q comes twice", seed, s.kind)
			}
			seen[s.kind] = true
			if i < len(always) && !slices.Contains(always, s.kind) {
				t.Errorf("seed %d: step %d is %q", seed, i, s.kind)
			}
			if s.lasts < 2*time.Second || s.lasts > 6*time.Second || s.gap <= 0 {
				t.Errorf("seed %d: %+v", seed, s)
			}
		}
		if len(seen) != len(faults) {
			t.Errorf("seed %d: %d faults of %d", seed, len(seen), len(faults))
		}
	}
}
