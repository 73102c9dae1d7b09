// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"context"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// abandonAfter is how long a call to the database may continue once the fallback has begun.
const abandonAfter = 500 * time.Millisecond

// call is a call to the database that can be abandoned. A login keeps its hashing slot until its call returns, so a few calls
// that hang would block every login that the fallback can decide.
type call struct{ cancel context.CancelFunc }

func (c *call) abandonSoon() { time.AfterFunc(abandonAfter, c.cancel) }

// untilOffline returns a context for one call to the database. It ends with ctx, or shortly after the fallback begins. The caller
// calls done with the error of the call when it has returned, and uses the error that done returns.
func (s *Store) untilOffline(ctx context.Context) (limited context.Context, done func(error) error) {
	limited, cancel := context.WithCancel(ctx)
	c := &call{cancel}
	s.mu.Lock()
	s.calls[c] = struct{}{}
	if s.offline != nil { // the call settles what the database charged before
		c.abandonSoon()
	}
	s.mu.Unlock()
	return limited, func(err error) error {
		isAbandoned := limited.Err() != nil && ctx.Err() == nil
		cancel()
		s.mu.Lock()
		delete(s.calls, c)
		s.mu.Unlock()
		if err == nil || !isAbandoned {
			return err
		}
		return &store.UnavailableError{Sentence: "The database did not answer before it became unavailable; log in again.", Err: err}
	}
}
