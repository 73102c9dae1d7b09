// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A Link stands between a program and a server, Postgres or any other that speaks TCP, and plays the network's tricks on
// them. It begins as a plain passage. Tests have it as a [Proxy].
type Link struct {
	port  *port
	proxy *toxiproxy.Proxy

	mu     sync.Mutex
	toxics []string
}

// NewLink starts a link to the server at this address (host:port). It ends with Close, or with this process.
func NewLink(upstream string) (*Link, error) {
	port, err := newPort()
	if err != nil {
		return nil, err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &Link{port: port, proxy: toxiproxy.NewProxy(server, "testenv", port.address(), upstream)}
	if err := l.proxy.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a proxy: %w", err), port.close())
	}
	return l, nil
}

// DatabaseLink starts a link to the server of a DSN, and returns it with the DSN that leads through it.
func DatabaseLink(dsn string) (_ *Link, through string, err error) {
	upstream, err := addrOf(dsn)
	if err != nil {
		return nil, "", err
	}
	l, err := NewLink(upstream)
	if err != nil {
		return nil, "", err
	}
	if through, err = WithAddr(dsn, l.Addr()); err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	return l, through, nil
}

// Close ends it, with all connections.
func (l *Link) Close() error {
	l.proxy.Stop()
	return l.port.close()
}

// Addr is where it listens; it stays the same for its life.
func (l *Link) Addr() string {
	return l.proxy.Listen
}

// Cut closes every connection and refuses new ones, as where the server has gone. Its address stays its own.
func (l *Link) Cut() {
	l.proxy.Stop()
}

// Move closes every connection, and lets new ones lead to another server, as an address that moves does.
func (l *Link) Move(upstream string) error {
	if err := l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: upstream, Enabled: true}); err != nil {
		return fmt.Errorf("move the address: %w", err)
	}
	return nil
}

// Stall lets every byte vanish, both ways, on connections that are there and on new ones, and tells nobody: TCP that is
// half open, as where a cable was pulled.
func (l *Link) Stall() error {
	return errors.Join(l.add("timeout", "upstream", "timeout", 0), l.add("timeout", "downstream", "timeout", 0))
}

// Deafen lets what the server says vanish, while it goes on to hear: what is asked of it is done, and nobody learns of it.
func (l *Link) Deafen() error {
	return l.add("timeout", "downstream", "timeout", 0)
}

// Delay makes every answer come that much later.
func (l *Link) Delay(d time.Duration) error {
	return l.add("latency", "downstream", "latency", d.Milliseconds())
}

// Reset ends every connection this long after its next answer begins, by a reset (RST), and new ones alike.
func (l *Link) Reset(after time.Duration) error {
	return l.add("reset_peer", "downstream", "timeout", after.Milliseconds())
}

// Restore undoes what the others did. Connections that were stalled close, since what they lost is lost.
func (l *Link) Restore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, name := range l.toxics {
		errs = append(errs, l.proxy.Toxics.RemoveToxic(context.Background(), name))
	}
	l.toxics = nil
	if err := l.proxy.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted { //nolint:errorlint // never wrapped
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("restore the connection: %w", err)
	}
	return nil
}

func (l *Link) add(kind, direction, attribute string, value int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := kind + "_" + direction
	if i := slices.Index(l.toxics, name); i >= 0 { // a second Delay replaces the first
		if err := l.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			return fmt.Errorf("disturb the connection: %w", err)
		}
		l.toxics = slices.Delete(l.toxics, i, i+1)
	}
	toxic, err := json.Marshal(map[string]any{
		"name": name, "type": kind, "stream": direction, "attributes": map[string]any{attribute: value},
	})
	if err == nil {
		_, err = l.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	}
	if err != nil {
		return fmt.Errorf("disturb the connection: %s: %w", name, err)
	}
	l.toxics = append(l.toxics, name)
	return nil
}
