// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

const (
	// usualBytes is what a client may send, of handshake and header, before its connection counts as a large one.
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

	// Dropped, which may be nil, is told of each connection that was sent away, an old or a new one.
	Dropped func()
}

// share is how many connections one address may have, unless it is a trusted proxy's.
func (l Limits) share() int { return l.Connections / 2 }

// strangers is how many connections all may have together who are no trusted proxies.
func (l Limits) strangers() int {
	if len(l.Trusted) == 0 {
		return l.Connections
	}
	return l.Connections - l.Connections/4
}

// listener is one with limits. Who waits for whom is in the order in which the waiting began.
type listener struct {
	net.Listener
	limits Limits

	mu        sync.Mutex
	open      int
	strangers int                  // of those that are open
	from      map[netip.Prefix]int // likewise, by address; of strangers only
	waiting   list.List            // of *conn whose clients keep us waiting, longest first
	large     int                  // of those
}

// Limit returns a listener by the limits, for a server of [NewServer].
func Limit(l net.Listener, limits Limits) net.Listener {
	return &listener{Listener: l, limits: limits, from: map[netip.Prefix]int{}}
}

// Accept waits for a connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: accepted, l: l}
		c.source, c.trusted = l.origin(accepted.RemoteAddr())
		if l.admit(c) {
			return c, nil
		}
		l.send(c)
	}
}

// origin is whose connection it is: an address or, of IPv6, the network that one client usually has to itself.
func (l *listener) origin(remote net.Addr) (source netip.Prefix, trusted bool) {
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
	source, _ = address.Prefix(bits)
	return source, trusted
}

// admit counts a connection in, in another one's place where there is no room. It tells whether there was a place.
func (l *listener) admit(c *conn) bool {
	l.mu.Lock()
	var out *conn
	admitted := true
	switch {
	case !c.trusted && l.from[c.source] >= l.limits.share():
		out, admitted = l.longest(func(other *conn) bool { return other.source == c.source && !other.trusted })
	case !c.trusted && l.strangers >= l.limits.strangers():
		out, admitted = l.longest(func(other *conn) bool { return !other.trusted })
	case l.open >= l.limits.Connections:
		out, admitted = l.longest(func(*conn) bool { return true })
	}
	if out != nil {
		l.forget(out)
	}
	if admitted {
		c.counted = true
		l.open++
		if !c.trusted {
			l.strangers++
			l.from[c.source]++
		}
		c.waits = l.waiting.PushBack(c)
	}
	l.mu.Unlock()
	if out != nil {
		l.send(out)
	}
	return admitted
}

// longest is who keeps us waiting for longest, of those who may.
func (l *listener) longest(of func(*conn) bool) (*conn, bool) {
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); of(c) {
			return c, true
		}
	}
	return nil, false
}

// send sends a connection away that is not counted any more: at once, and so that nothing of it stays with the kernel.
func (l *listener) send(c *conn) {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Conn.Close() // also where it is being read
	if l.limits.Dropped != nil {
		l.limits.Dropped()
	}
}

// forget takes a connection out of the count.
func (l *listener) forget(c *conn) {
	if !c.counted {
		return
	}
	c.counted = false
	l.open--
	if !c.trusted {
		l.strangers--
		if l.from[c.source]--; l.from[c.source] == 0 {
			delete(l.from, c.source)
		}
	}
	l.endWait(c)
}

// endWait takes note that a client keeps us waiting no more.
func (l *listener) endWait(c *conn) {
	if c.waits != nil {
		l.waiting.Remove(c.waits)
		c.waits = nil
	}
	if c.large {
		c.large = false
		l.large--
	}
}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	l       *listener
	source  netip.Prefix
	trusted bool

	// Under the listener's lock:
	counted  bool
	waits    *list.Element // nil while its request is served
	received int           // bytes, since it waits
	large    bool
}

// errTooManyLarge ends the reading of a connection that was sent away.
var errTooManyLarge = errors.New("too many large headers at once")

// Read counts what comes while we wait for the client. Where there are too many large headers, the one goes that takes
// longest.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if out := c.l.arrived(c, n); out != nil {
		c.l.send(out)
		if out == c {
			return 0, errTooManyLarge
		}
	}
	return n, err
}

// arrived counts bytes that a client sent, and tells who has to go for it.
func (l *listener) arrived(c *conn, n int) (out *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.waits == nil || c.large {
		return nil
	}
	if c.received += n; c.received <= usualBytes {
		return nil
	}
	c.large = true
	if l.large++; l.large <= maxLarge {
		return nil
	}
	out, _ = l.longest(func(other *conn) bool { return other.large })
	l.forget(out)
	return out
}

// serve takes note that a request has come.
func (c *conn) serve() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.endWait(c)
}

// await takes note that the next request is waited for.
func (c *conn) await() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.counted && c.waits == nil {
		c.received = 0
		c.waits = c.l.waiting.PushBack(c)
	}
}

// Close counts the connection out.
func (c *conn) Close() error {
	c.l.mu.Lock()
	c.l.forget(c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
