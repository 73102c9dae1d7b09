// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"testing"
	"time"
)

// A Proxy is a Link for tests, which fail where it does. It ends with its test.
type Proxy struct {
	t    testing.TB
	link *Link
}

// NewProxy starts a proxy before the server at this address (host:port). It ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	link, err := NewLink(upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Proxy{t: t, link: link}
}

// DatabaseProxy starts a proxy before the server of a DSN, and returns it with the DSN that leads through it.
func DatabaseProxy(t testing.TB, dsn string) (*Proxy, string) {
	t.Helper()
	upstream, err := addrOf(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := NewProxy(t, upstream)
	through, err := WithAddr(dsn, p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return p, through
}

// Addr is where the proxy listens; it stays the same for its life.
func (p *Proxy) Addr() string {
	return p.link.Addr()
}

// Cut is Link's.
func (p *Proxy) Cut() {
	p.link.Cut()
}

// Move is Link's.
func (p *Proxy) Move(upstream string) {
	p.t.Helper()
	p.check(p.link.Move(upstream))
}

// Stall is Link's.
func (p *Proxy) Stall() {
	p.link.Stall()
}

// Delay is Link's.
func (p *Proxy) Delay(d time.Duration) {
	p.link.Delay(d)
}

// Restore is Link's.
func (p *Proxy) Restore() {
	p.t.Helper()
	p.check(p.link.Restore())
}

func (p *Proxy) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Error(err)
	}
}
