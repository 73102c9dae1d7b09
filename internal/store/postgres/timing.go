// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strconv"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store/postgres/backoff"
)

// timing holds the limits and intervals that are not settings.
type timing struct {
	firstRetry time.Duration // of the delays after failures
	lastRetry  time.Duration
	sweep      time.Duration // that one sweep may take
	lookPool   time.Duration // that a check may take, by the pool
	look       time.Duration // and by a connection of its own
	compare    time.Duration // between looks at whether two stores lead to the same tables
	catalogue  time.Duration // that reading the catalog may take, to explain a refusal
	shortage   time.Duration // without any connection, until a server that has no room for one counts as away
	lock       time.Duration // that a write waits for a row which another transaction has locked, each time it tries
	blocked    time.Duration // that a change waits for such a row in all
	slowWrite  time.Duration // after which a write that has not returned is reason to probe
	proof      time.Duration // that the result of a probe may be old
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

// milliseconds is a length of time as a setting of Postgres.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
}

func (s *Store) newDelay() *backoff.Delay {
	return backoff.New(s.timing.firstRetry, s.timing.lastRetry)
}
