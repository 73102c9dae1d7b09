// SPDX-License-Identifier: Apache-2.0

package login

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestTheClientsAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tt := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"is that of the connection":                     {"192.0.2.1:1234", nil, "192.0.2.1"},
		"is not what a stranger reports":                {"192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		"is what a trusted proxy reports":               {"10.1.2.3:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		"is not what the client reports to the proxy":   {"10.1.2.3:1234", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		"is behind several trusted proxies":             {"10.1.2.3:1234", []string{"203.0.113.9, 198.51.100.7, 10.9.9.9"}, "198.51.100.7"},
		"is in one of several headers":                  {"10.1.2.3:1234", []string{"198.51.100.7", "10.9.9.9"}, "198.51.100.7"},
		"is that of a proxy that reports none":          {"10.1.2.3:1234", nil, "10.1.2.3"},
		"is that of a proxy that reports nonsense":      {"10.1.2.3:1234", []string{"198.51.100.7, unknown"}, "10.1.2.3"},
		"is the last trusted one":                       {"10.1.2.3:1234", []string{"nonsense, 10.9.9.9"}, "10.9.9.9"},
		"may come with a port":                          {"10.1.2.3:1234", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		"may be IPv6":                                   {"[fd00::1]:1234", []string{"2001:db8::7"}, "2001:db8::7"},
		"may be IPv6 in brackets":                       {"[fd00::1]:1234", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"may be IPv6 with a port":                       {"[fd00::1]:1234", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"is IPv4 if mapped into IPv6":                   {"[::ffff:10.1.2.3]:1234", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"has no zone, which would give one client many": {"[fe80::1%eth0]:1234", nil, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.RemoteAddr = tt.peer
			r.Header["X-Forwarded-For"] = tt.forwarded
			if got := sourceOf(r, proxies).String(); got != tt.want {
				t.Errorf("sourceOf = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTheAttemptsOfAnAddressAreLimited(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 3 })
	w.trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} // the address of httptest's requests
	from := func(source string) *httptest.ResponseRecorder {
		r := w.verifying()
		r.SetBasicAuth("bob", wrong)
		r.Header.Set("X-Forwarded-For", source)
		return w.serve(r)
	}
	for range 3 {
		if a := from("198.51.100.7"); a.Code != http.StatusUnauthorized {
			t.Errorf("within the burst: %d", a.Code)
		}
	}
	before := w.tap.charges.Load()
	if a := from("198.51.100.7"); a.Code != http.StatusTooManyRequests || a.Header().Get("Retry-After") != "1" {
		t.Errorf("beyond the burst: %d %v", a.Code, a.Header())
	}
	if w.tap.charges.Load() != before || w.Hasher.Compared() != 3 {
		t.Error("an attempt too many was charged or computed")
	}
	if a := from("198.51.100.8"); a.Code != http.StatusUnauthorized {
		t.Errorf("another address: %d", a.Code)
	}
	w.clock.passes(time.Second)
	if a := from("198.51.100.7"); a.Code != http.StatusUnauthorized {
		t.Errorf("a second later: %d", a.Code)
	}
	for i := range 3 {
		from(fmt.Sprintf("2001:db8::%d", i))
	}
	if a := from("2001:db8::ffff"); a.Code != http.StatusTooManyRequests {
		t.Errorf("the fourth address of one network: %d", a.Code)
	}
	if a := from("2001:db8:0:1::1"); a.Code != http.StatusUnauthorized {
		t.Errorf("another network: %d", a.Code)
	}
}

func TestRecognizedCredentialsAreNotThrottled(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1, 1 })
	for range 100 {
		if a := w.verifyBasic("alice", right); a.Code != http.StatusOK {
			t.Fatalf("%d", a.Code)
		}
	}
}

func TestTheNumberOfCachedAddressesIsLimited(t *testing.T) {
	th := newThrottle(Options{SourceRate: 1}.rate(), 1)
	now := time.Now()
	address := netip.MustParseAddr("10.0.0.0")
	for range 2 * maxSources {
		if _, ok := th.take(address, now); !ok {
			t.Fatal("a new address is throttled")
		}
		address = address.Next()
	}
	if n := th.sources.Len(); n != maxSources {
		t.Errorf("%d addresses are remembered, want %d", n, maxSources)
	}
}
