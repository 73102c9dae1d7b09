// SPDX-License-Identifier: Apache-2.0

package main

import "time"

// A span is the time between two moments; its end is zero while it lasts.
type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// touches reports whether it overlaps the time between two moments.
func (s span) touches(from, to time.Time) bool {
	return !to.Before(s.From) && (s.To.IsZero() || !from.After(s.To))
}

// holds reports whether the moment is in it.
func (s span) holds(at time.Time) bool { return s.touches(at, at) }

// anyTouches is touches for several spans.
func anyTouches(spans []span, from, to time.Time) bool {
	for _, s := range spans {
		if s.touches(from, to) {
			return true
		}
	}
	return false
}
