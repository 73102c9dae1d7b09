// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// abandonAfter is how long a call to the database goes on once an outage has begun.
const abandonAfter = 500 * time.Millisecond

// A call to the database can be abandoned. A login keeps its place to hash in until its call returns, so a few calls that
// hang would hold up every login that the outage can decide.
type call struct{ cancel context.CancelFunc }

func (c *call) abandonSoon() { time.AfterFunc(abandonAfter, c.cancel) }

// untilOutage returns a context for one call to the database. It ends with ctx, or shortly after an outage begins. The caller
// calls done with the error of the call when it has returned, and uses the error that done returns.
func (m *Mirror) untilOutage(ctx context.Context) (limited context.Context, done func(error) error) {
	limited, cancel := context.WithCancel(ctx)
	c := &call{cancel}
	m.mu.Lock()
	m.calls[c] = struct{}{}
	if m.outage != nil { // the call settles what the database charged before
		c.abandonSoon()
	}
	m.mu.Unlock()
	return limited, func(err error) error {
		isAbandoned := limited.Err() != nil && ctx.Err() == nil
		cancel()
		m.mu.Lock()
		delete(m.calls, c)
		m.mu.Unlock()
		if err == nil || !isAbandoned {
			return err
		}
		return &store.UnavailableError{Sentence: "The database did not answer before it became unavailable; log in again.", Err: err}
	}
}
