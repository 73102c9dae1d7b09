// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// A Result is one figure, as in a line of the table and in the JSON.
type Result struct {
	Row   string `json:"row"` // the name that selects it
	What  string `json:"what"`
	Users int    `json:"users"` // in place

	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Limit   float64 `json:"limit,omitempty"` // in the same unit, measured in the same run
	LimitOf string  `json:"limitOf,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"` // of value to limit
	Aim     *Aim    `json:"aim,omitempty"`

	// Counters are what happened during the measurement; counters.go has their names.
	Counters Counters `json:"counters,omitempty"`

	// Beside are other figures of interest, with their unit in the name.
	Beside map[string]float64 `json:"beside,omitempty"`

	// Broken are sentences that say which counter is wrong.
	Broken []string `json:"broken,omitempty"`
}

// An Aim is the target of a figure.
type Aim struct {
	At    float64 `json:"at"`
	Value bool    `json:"value,omitempty"` // about the value, not the ratio
	Least bool    `json:"least,omitempty"` // a minimum, not a maximum
}

func ratioAtMost(at float64) *Aim  { return &Aim{At: at} }
func ratioAtLeast(at float64) *Aim { return &Aim{At: at, Least: true} }
func valueAtMost(at float64) *Aim  { return &Aim{At: at, Value: true} }

// measured returns the figure that the aim is about.
func (r *Result) measured() float64 {
	if r.Aim != nil && r.Aim.Value {
		return r.Value
	}
	return r.Ratio
}

// reached reports whether the aim is reached. Without an aim it is.
func (r *Result) reached() bool {
	switch {
	case r.Aim == nil:
		return true
	case r.Aim.Least:
		return r.measured() >= r.Aim.At
	default:
		return r.measured() <= r.Aim.At
	}
}

// against sets the limit, in the value's unit, and with it the ratio.
func (r *Result) against(limit float64, of string) {
	r.Limit, r.LimitOf, r.Ratio = limit, of, r.Value/limit
}

// exactly requires a count, if the counter exists: not every server counts everything.
func (r *Result) exactly(counter string, want float64) { r.between(counter, want, want) }

// atMost is exactly for an upper bound.
func (r *Result) atMost(counter string, most float64) { r.between(counter, 0, most) }

func (r *Result) between(counter string, least, most float64) {
	got, counted := r.Counters[counter]
	if !counted || (got >= least && got <= most) {
		return
	}
	want := fmt.Sprintf("%v", most)
	if least != most {
		want = fmt.Sprintf("%v to %v", least, most)
	}
	r.broken("%s: %v, want %s", counter, got, want)
}

func (r *Result) broken(format string, arguments ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, arguments...))
}

// beside adds another figure.
func (r *Result) beside(name string, value float64) {
	if r.Beside == nil {
		r.Beside = map[string]float64{}
	}
	r.Beside[name] = value
}

// quantile returns the smallest value that the given share of the values does not exceed.
func quantile[T cmp.Ordered](values []T, share float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
