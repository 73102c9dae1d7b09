// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// A span is the time from one moment to another, which is zero while it is not over.
type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// touches tells whether it has a moment in common with the time between these two.
func (s span) touches(from, to time.Time) bool {
	return !to.Before(s.From) && (s.To.IsZero() || !from.After(s.To))
}

// holds tells whether the moment is in it.
func (s span) holds(at time.Time) bool { return s.touches(at, at) }

// anyTouches is touches for some of them.
func anyTouches(spans []span, from, to time.Time) bool {
	for _, s := range spans {
		if s.touches(from, to) {
			return true
		}
	}
	return false
}
