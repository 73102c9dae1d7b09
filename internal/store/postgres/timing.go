// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strconv"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// timing holds the limits and intervals that are not settings.
type timing struct {
	firstRetry time.Duration // the first delay after a failure
	lastRetry  time.Duration
	sweep      time.Duration // for one sweep
	lookPool   time.Duration // for a check by the pool
	look       time.Duration // for a check by a connection of its own
	compare    time.Duration // between comparisons of where two stores lead
	catalogue  time.Duration // for reading the catalog to explain a refusal
	shortage   time.Duration // without any connection, until a server without room for one counts as unavailable
	lock       time.Duration // for one wait of a write for a row that another transaction has locked
	blocked    time.Duration // for all waits of a change for such a row
	slowWrite  time.Duration // after which a write that has not returned causes a probe
	proof      time.Duration // how long the result of a probe is valid
}

func usualTiming() timing {
	return timing{
		firstRetry: 100 * time.Millisecond,
		lastRetry:  2 * time.Second,
		sweep:      30 * time.Second,
		lookPool:   500 * time.Millisecond,
		look:       2 * time.Second,
		compare:    10 * time.Second,
		catalogue:  2 * time.Second,
		shortage:   3 * time.Second,
		lock:       250 * time.Millisecond,
		blocked:    1500 * time.Millisecond,
		slowWrite:  time.Second,
		proof:      time.Second,
	}
}

// milliseconds formats a duration as a setting of Postgres.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
}

func (s *Store) newDelay() *backoff.Delay {
	return backoff.New(s.timing.firstRetry, s.timing.lastRetry)
}
