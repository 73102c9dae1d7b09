// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxSources is how many addresses are remembered, a few megabytes of them. An address that is forgotten starts anew.
const maxSources = 1 << 14

// throttle limits the attempts of one address. It is there to slow down one client; the accounts' locks and the cores'
// queue do not rest on it.
type throttle struct {
	limit   rate.Limit
	burst   int
	sources *lru.Cache[netip.Prefix, *rate.Limiter]
}

// newThrottle returns nil, which limits nothing, for a rate of 0.
func newThrottle(perSecond, burst int) *throttle {
	if perSecond == 0 {
		return nil
	}
	return &throttle{limit: rate.Limit(perSecond), burst: max(1, burst), sources: newLRU[netip.Prefix, *rate.Limiter](maxSources)}
}

// take takes one of the address's tokens or, where none is left, says when there will be one.
func (t *throttle) take(source netip.Addr, now time.Time) (wait time.Duration, ok bool) {
	if t == nil {
		return 0, true
	}
	key := bucket(source)
	limiter, found := t.sources.Get(key)
	if !found {
		limiter = rate.NewLimiter(t.limit, t.burst)
		if another, there, _ := t.sources.PeekOrAdd(key, limiter); there {
			limiter = another
		}
	}
	if limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - limiter.TokensAt(now)
	return time.Duration(missing / float64(t.limit) * float64(time.Second)), false
}

// bucket is the address or, of IPv6, the network that one client usually has to itself.
func bucket(source netip.Addr) netip.Prefix {
	bits := source.BitLen()
	if source.Is6() {
		bits = 64
	}
	prefix, _ := source.Prefix(bits) // invalid for an address that is, which is a bucket too
	return prefix
}

// newLRU is lru.New for a size that is known to be right.
func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic(err)
	}
	return c
}
