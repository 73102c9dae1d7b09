// SPDX-License-Identifier: Apache-2.0

package main

import (
	"iter"
	"math/rand/v2"
	"slices"
	"time"
)

// A step of the plan is one fault.
type step struct {
	kind  string
	lasts time.Duration // without additional time, such as for a server start
	gap   time.Duration // of quiet after the recovery
	dice  uint64        // the seed of the fault's random choices
}

// plan returns the endless faults of a seed: first those of every run, in random order; then all others once; then any.
func plan(seed uint64, always, others []string) iter.Seq[step] {
	return func(yield func(step) bool) {
		dice := rand.New(rand.NewPCG(seed, 0))
		shuffled := func(kinds []string) []string {
			kinds = slices.Clone(kinds)
			dice.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			return kinds
		}
		next := append(shuffled(always), shuffled(others)...)
		for {
			for _, kind := range next {
				s := step{
					kind: kind, dice: dice.Uint64(),
					lasts: 2*time.Second + time.Duration(dice.Int64N(int64(4*time.Second))),
					gap:   time.Second + time.Duration(dice.Int64N(int64(3*time.Second))),
				}
				if !yield(s) {
					return
				}
			}
			next = shuffled(append(slices.Clone(always), others...))
		}
	}
}
