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
	lasts time.Duration // what else it takes (a server that starts) comes on top
	gap   time.Duration // of quiet that follows, once everything has recovered
	dice  uint64        // for what else the fault leaves to chance
}

// plan is the faults that a seed stands for, without end. First come those that no run may be without, in some order; then
// all others once; then any.
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
