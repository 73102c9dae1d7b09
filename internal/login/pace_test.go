// SPDX-License-Identifier: Apache-2.0

package login

import (
	"math"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// A 429 is sent at once, and the next request of the connection is read after the Retry-After. Connections of trusted proxies are
// not held, since the next request may be that of another client.
func TestAConnectionIsHeldAfterA429(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rate    int
		trusted []netip.Prefix
		held    bool
	}{
		"of a stranger":            {1, nil, true},
		"of a trusted proxy":       {1, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, false},
		"without a rate limit":     {0, nil, false},
		"with a rate of the cores": {-1, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = tt.rate, 1 })
			w.throttle = newThrottle(func() rate.Limit { return 1 }, 1)
			s := start(t, w, ServerOptions{TrustedProxies: tt.trusted})
			c := s.connect()
			c.send(posted("bob", wrong, ""))
			c.mustAnswer(http.StatusUnauthorized)
			begun := time.Now()
			for range 4 {
				c.send(posted("bob", wrong, ""))
				c.mustAnswer(http.StatusTooManyRequests)
			}
			if held := time.Since(begun) > 2*retryAfter; held != tt.held {
				t.Errorf("held: %v, want %v", held, tt.held)
			}
			if n := w.Hasher.Compared(); n != 1 {
				t.Errorf("%d computations, want 1", n)
			}
		})
	}
}

// Held connections are closed first, so they do not block other clients.
func TestHeldConnectionsDoNotBlockOtherClients(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	s := start(t, w, ServerOptions{MaxConnections: 16})
	var held []raw
	for range 8 {
		c := s.connect()
		c.send(posted("bob", wrong, ""))
		c.receive()
		held = append(held, c)
	}
	w.throttle = nil
	for range 8 {
		c := s.connect()
		c.send(posted("alice", right, ""))
		c.mustAnswer(http.StatusOK)
	}
	if w.dropped() == 0 {
		t.Errorf("none of %d connections was dropped", len(held))
	}
}

// The description of the API needs no authentication, and is larger than any other answer.
func TestRequestsForTheDescriptionAreRateLimited(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	w.refusals = newThrottle(func() rate.Limit { return 1 }, 1)
	s := start(t, w, ServerOptions{})
	c := s.connect()
	begun := time.Now()
	for range 3 { // the second one is held for a second
		c.send("GET " + documentPath + " HTTP/1.1\r\nHost: x\r\n\r\n")
		c.mustAnswer(http.StatusOK)
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("three took %v", took)
	}
}

func TestAServerThatShutsDownHoldsNoConnection(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	w.refusals = newThrottle(func() rate.Limit { return 0.01 }, 1)
	s := start(t, w, ServerOptions{})
	for range 2 {
		c := s.connect()
		c.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") // the second one is held for longestHold
		c.mustAnswer(http.StatusNotFound)
	}
	begun := time.Now()
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	close(s.ended)
	if took := time.Since(begun); took >= longestHold {
		t.Errorf("the server ended after %v", took)
	}
}

func TestRefusalsOfOneAddressAreRateLimited(t *testing.T) {
	th := newThrottle(func() rate.Limit { return 10 }, 5)
	now := time.Now()
	address, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, want := range []int{0, 0, 0, 0, 0, 100, 200, 250, 250} {
		if got := th.delay(address, now, 250*time.Millisecond); got.Round(time.Millisecond).Milliseconds() != int64(want) {
			t.Errorf("refusal %d is held for %v, want %d ms", i+1, got, want)
		}
	}
	if got := th.delay(other, now, time.Second); got != 0 {
		t.Errorf("another address is held for %v", got)
	}
	if got := th.delay(address, now.Add(time.Second), time.Second); got != 0 {
		t.Errorf("a second later one is held for %v: those beyond the longest time were owed", got)
	}
}

// One IPv6 site has 65,536 /64 networks, each of which counts as an address elsewhere.
func TestRefusalsOfOneIPv6SiteShareARateLimit(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	held := 0
	for i := range 2 * refusalBurst {
		address := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, byte(i >> 8), byte(i), 15: 1})
		if w.refusals.delay(address, w.clock.now(), longestHold) > 0 {
			held++
		}
	}
	if held != refusalBurst {
		t.Errorf("%d are held, want %d", held, refusalBurst)
	}
}

func TestTheSourceRateFollowsTheHashRate(t *testing.T) {
	h := password.NewHasher(password.MinCost, 2)
	for name, tt := range map[string]struct {
		setting int
		want    rate.Limit
	}{
		"chosen by the operator": {7, 7},
		"measured":               {-1, rate.Limit(max(1, h.PerSecond()/2))},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Options{Hasher: h, SourceRate: tt.setting}).rate()(); got != tt.want {
				t.Errorf("the rate is %v, want %v", got, tt.want)
			}
		})
	}
	if (Options{Hasher: h}).rate() != nil || newThrottle(nil, 1) != nil {
		t.Error("a rate of 0 limits something")
	}
	synctest.Test(t, func(t *testing.T) { // in a bubble no time passes, so nothing is measured
		if got := (Options{Hasher: password.NewTestHasher(2), SourceRate: -1}).rate()(); got != rate.Limit(math.Inf(1)) {
			t.Errorf("the rate is %v", got)
		}
	})
}

// A rate that was measured too low during a busy start rises also for addresses that are already cached.
func TestARisingRateAppliesToKnownAddresses(t *testing.T) {
	limit := rate.Limit(1)
	th := newThrottle(func() rate.Limit { return limit }, 1)
	now, address := time.Now(), netip.MustParseAddr("192.0.2.1")
	th.take(address, now)
	if wait, ok := th.take(address, now); ok || wait.Round(time.Millisecond) != time.Second {
		t.Errorf("take = %v, %v", wait, ok)
	}
	limit = 100
	if wait, ok := th.take(address, now); ok || wait.Round(time.Millisecond) != 10*time.Millisecond {
		t.Errorf("take = %v, %v at a higher rate", wait, ok)
	}
}
