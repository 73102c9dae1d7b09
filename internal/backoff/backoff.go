// SPDX-License-Identifier: Apache-2.0

// Package backoff waits between attempts.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pause waits, and reports whether ctx continues.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Delay is a wait that doubles from the first to the last. Each is at random between half and whole, so that replicas do not
// retry at the same moment.
type Delay struct{ next, first, last time.Duration }

// New returns a Delay that begins with the first wait.
func New(first, last time.Duration) *Delay { return &Delay{next: first, first: first, last: last} }

// Wait waits, and reports whether ctx continues.
func (d *Delay) Wait(ctx context.Context) bool {
	now := d.next/2 + rand.N(d.next/2+1) //nolint:gosec // no secret
	d.next = min(2*d.next, d.last)
	return Pause(ctx, now)
}

// Reset begins with the first wait again.
func (d *Delay) Reset() { d.next = d.first }
