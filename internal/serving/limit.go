// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"container/list"
	"net"
	"net/netip"
	"slices"
	"sync"
)

const (
	// usualBytes is what a client may send, of handshake and request, before its connection counts as a large one.
	usualBytes = 8 << 10

	// maxLarge is how many large ones there may be: up to a megabyte each.
	maxLarge = 64
)

// Limits say what clients may take.
type Limits struct {
	// Connections is how many there may be at once, 4 or more.
	Connections int

	// Trusted are proxies, each of which has many clients.
	Trusted []netip.Prefix

	// Dropped, which may be nil, is called for each connection that is dropped, an old or a new one.
	Dropped func()
}

// share is how many connections one address may have, unless it is a trusted proxy's.
func (l Limits) share() int { return l.Connections / 2 }

// strangers is how many connections all clients other than trusted proxies may have together.
func (l Limits) strangers() int {
	if len(l.Trusted) == 0 {
		return l.Connections
	}
	return l.Connections - l.Connections/4
}

// listener is a net.Listener with limits.
type listener struct {
	net.Listener
	limits Limits

	mu        sync.Mutex
	open      int
	strangers int                      // of those that are open
	sources   map[netip.Prefix]*source // of strangers
	waiting   list.List                // of *conn, in the order in which the waiting began
	large     int                      // of those that wait
}

// source is one address and what its connections take. Each connection of a trusted proxy is a source of its own, since
// it may be another client's.
type source struct {
	open, waiting, large int
}

// Limit returns a listener with limits, for a server of [NewServer].
func Limit(l net.Listener, limits Limits) net.Listener {
	return &listener{Listener: l, limits: limits, sources: map[netip.Prefix]*source{}}
}

// Accept waits for a connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: accepted, l: l, gone: make(chan struct{})}
		c.network, c.trusted = l.origin(accepted.RemoteAddr())
		if l.admit(c) {
			return c, nil
		}
		l.drop(c)
	}
}

// origin returns the address of a connection or, of IPv6, the network that one client usually has to itself.
func (l *listener) origin(remote net.Addr) (network netip.Prefix, trusted bool) {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Prefix{}, false
	}
	address := at.Addr().Unmap().WithZone("")
	trusted = slices.ContainsFunc(l.limits.Trusted, func(p netip.Prefix) bool { return p.Contains(address) })
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	network, _ = address.Prefix(bits)
	return network, trusted
}

// admit counts a connection in, in place of another one when the limits are reached. It returns whether there is room.
func (l *listener) admit(c *conn) bool {
	l.mu.Lock()
	out, admitted := l.room(c)
	if out != nil {
		l.remove(out)
	}
	if admitted {
		l.add(c)
	}
	l.mu.Unlock()
	if out != nil {
		l.drop(out)
	}
	return admitted
}

// room returns the connection that a new one replaces, which is nil below the limits, and whether there is room at all.
func (l *listener) room(c *conn) (out *conn, admitted bool) {
	c.source = &source{}
	if !c.trusted {
		if known := l.sources[c.network]; known != nil {
			c.source = known
		}
	}
	switch {
	case c.source.open >= l.limits.share():
		out = l.first(func(other *conn) bool { return other.source == c.source })
	case !c.trusted && l.strangers >= l.limits.strangers():
		out = l.costliest(func(other *conn) bool { return !other.trusted })
	case l.open >= l.limits.Connections:
		out = l.costliest(func(*conn) bool { return true })
	default:
		return nil, true
	}
	return out, out != nil
}

// first returns the connection that has waited longest, of those that match.
func (l *listener) first(matches func(*conn) bool) *conn {
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); matches(c) {
			return c
		}
	}
	return nil
}

// costliest returns, of those that match, a connection of the source with the most waiting connections: the one that
// has waited longest. So a few addresses, however fast they connect, only replace connections of their own.
func (l *listener) costliest(matches func(*conn) bool) (out *conn) {
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); matches(c) && (out == nil || c.source.waiting > out.source.waiting) {
			out = c
		}
	}
	return out
}

// drop closes a connection that is no longer counted: at once, and so that nothing of it stays with the kernel.
func (l *listener) drop(c *conn) {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Conn.Close() // also where it is being read
	if l.limits.Dropped != nil {
		l.limits.Dropped()
	}
}

// add counts a connection in. It waits for its client from the beginning.
func (l *listener) add(c *conn) {
	c.counted = true
	l.open++
	c.source.open++
	if !c.trusted {
		l.strangers++
		l.sources[c.network] = c.source
	}
	l.wait(c)
}

// remove takes a connection out of the count.
func (l *listener) remove(c *conn) {
	if !c.counted {
		return
	}
	l.endWait(c)
	c.counted = false
	close(c.gone)
	l.open--
	c.source.open--
	if !c.trusted {
		l.strangers--
		if c.source.open == 0 {
			delete(l.sources, c.network)
		}
	}
}

// wait puts a connection last in the order of those that wait for their clients.
func (l *listener) wait(c *conn) {
	if c.counted && c.waits == nil {
		c.waits = l.waiting.PushBack(c)
		c.source.waiting++
	}
}

// endWait takes a connection out of that order.
func (l *listener) endWait(c *conn) {
	if c.waits != nil {
		l.waiting.Remove(c.waits)
		c.waits = nil
		c.source.waiting--
	}
	l.shrink(c)
}

// shrink makes a large connection a usual one: what it held is released.
func (l *listener) shrink(c *conn) {
	if c.large {
		c.large = false
		l.large--
		c.source.large--
	}
}

// grow makes a connection a large one. It returns the one that has to go for it, if any: of the source that has most of
// them the one that has waited longest.
func (l *listener) grow(c *conn) (out *conn) {
	c.large = true
	l.large++
	c.source.large++
	if l.large <= maxLarge {
		return nil
	}
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); c.large && (out == nil || c.source.large > out.source.large) {
			out = c
		}
	}
	l.remove(out)
	return out
}
