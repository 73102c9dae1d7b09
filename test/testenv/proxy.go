// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"testing"
	"time"
)

// A Proxy is a Link whose errors fail the test. It ends with its test.
type Proxy struct {
	t    testing.TB
	link *Link
}

// NewProxy starts a proxy for the server at this address (host:port). The proxy ends with the test.
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

// DatabaseProxy starts a proxy for the server of a DSN, and returns it with the DSN that leads through it.
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

// Addr returns the address where the proxy listens. It never changes.
func (p *Proxy) Addr() string {
	return p.link.Addr()
}

// Cut calls [Link.Cut].
func (p *Proxy) Cut() {
	p.link.Cut()
}

// Move calls [Link.Move].
func (p *Proxy) Move(upstream string) {
	p.t.Helper()
	p.check(p.link.Move(upstream))
}

// Stall calls [Link.Stall].
func (p *Proxy) Stall() {
	p.link.Stall()
}

// Delay calls [Link.Delay].
func (p *Proxy) Delay(d time.Duration) {
	p.link.Delay(d)
}

// Restore calls [Link.Restore].
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
