// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A Proxy stands between a program and a server, Postgres or any other that speaks TCP, and plays the network's tricks
// on them. It begins as a plain passage.
type Proxy struct {
	t     testing.TB
	proxy *toxiproxy.Proxy

	mu     sync.Mutex
	toxics []string
}

// NewProxy starts a proxy before the server at this address (host:port). It ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	port, err := newPort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.close(); err != nil {
			t.Error(err)
		}
	})
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &Proxy{t: t, proxy: toxiproxy.NewProxy(server, "testenv", port.address(), upstream)}
	if err := p.proxy.Start(); err != nil {
		t.Fatalf("start a proxy: %v", err)
	}
	t.Cleanup(p.proxy.Stop)
	return p
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
	return p.proxy.Listen
}

// Cut closes every connection and refuses new ones, as where the server has gone. Its address stays its own.
func (p *Proxy) Cut() {
	p.proxy.Stop()
}

// Move closes every connection, and lets new ones lead to another server, as an address that moves does.
func (p *Proxy) Move(upstream string) {
	p.t.Helper()
	if err := p.proxy.Update(&toxiproxy.Proxy{Listen: p.proxy.Listen, Upstream: upstream, Enabled: true}); err != nil {
		p.t.Errorf("move the address: %v", err)
	}
}

// Stall lets every byte vanish, both ways, on connections that are there and on new ones, and tells nobody: TCP that is
// half open, as where a cable was pulled.
func (p *Proxy) Stall() {
	p.t.Helper()
	p.add("timeout", "upstream", map[string]any{"timeout": 0})
	p.add("timeout", "downstream", map[string]any{"timeout": 0})
}

// Delay makes every answer come that much later.
func (p *Proxy) Delay(d time.Duration) {
	p.t.Helper()
	p.add("latency", "downstream", map[string]any{"latency": d.Milliseconds()})
}

// Restore undoes what the others did. Connections that were stalled close, since what they lost is lost.
func (p *Proxy) Restore() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range p.toxics {
		if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			p.t.Errorf("restore the connection: %v", err)
		}
	}
	p.toxics = nil
	if err := p.proxy.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted { //nolint:errorlint // never wrapped
		p.t.Errorf("restore the connection: %v", err)
	}
}

func (p *Proxy) add(kind, direction string, attributes map[string]any) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	name := kind + "_" + direction
	if i := slices.Index(p.toxics, name); i >= 0 { // a second Delay replaces the first
		if err := p.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			p.t.Errorf("disturb the connection: %v", err)
			return
		}
		p.toxics = slices.Delete(p.toxics, i, i+1)
	}
	toxic, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": direction, "attributes": attributes,
	})
	if err == nil {
		_, err = p.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	}
	if err != nil {
		p.t.Errorf("disturb the connection: %v", fmt.Errorf("%s: %w", name, err))
		return
	}
	p.toxics = append(p.toxics, name)
}
