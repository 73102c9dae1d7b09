// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// maxSources is the largest number of addresses in the cache, which take a few megabytes. An evicted address gets a full burst.
const maxSources = 1 << 14

// throttle limits the attempts of one address before they are queued. The accounts' locks and the shares of package fair do not
// depend on it.
type throttle struct {
	limit   func() rate.Limit
	burst   int
	sources *lru.Cache[netip.Prefix, *rate.Limiter]
}

// newThrottle returns a throttle with a rate that may change, or nil, which limits nothing, if limit is nil.
func newThrottle(limit func() rate.Limit, burst int) *throttle {
	if limit == nil {
		return nil
	}
	return &throttle{limit: limit, burst: max(1, burst), sources: newLRU[netip.Prefix, *rate.Limiter](maxSources)}
}

// take takes a token of the address. If none is left, it returns the time until there is one.
func (t *throttle) take(source netip.Addr, now time.Time) (wait time.Duration, ok bool) {
	if t == nil {
		return 0, true
	}
	limiter := t.of(fair.SourceOf(source), now)
	if limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - limiter.TokensAt(now)
	return time.Duration(missing / float64(limiter.Limit()) * float64(time.Second)), false
}

// delay takes a token of the address (of the /48 for IPv6), even a future one, and returns the time until it is valid, at most
// the longest. It takes none if the wait would be longer.
func (t *throttle) delay(source netip.Addr, now time.Time, longest time.Duration) time.Duration {
	reservation := t.of(fair.NetworkOf(source), now).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > longest {
		reservation.CancelAt(now)
	}
	return min(wait, longest)
}

// of returns the limiter of a network with the current rate.
func (t *throttle) of(key netip.Prefix, now time.Time) *rate.Limiter {
	limit := t.limit()
	limiter, found := t.sources.Get(key)
	if !found {
		limiter = rate.NewLimiter(limit, t.burst)
		if another, there, _ := t.sources.PeekOrAdd(key, limiter); there {
			limiter = another
		}
	}
	if limiter.Limit() != limit {
		limiter.SetLimitAt(now, limit)
	}
	return limiter
}

// newLRU returns an LRU cache; it panics if the size is not positive.
func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic(err)
	}
	return c
}
