// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"cmp"
	"container/list"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

const (
	// usualBytes is what a client may send, of handshake and request, before its connection counts as a large one.
	usualBytes = 8 << 10

	// maxLarge is the maximum number of large connections, of up to a megabyte each.
	maxLarge = 64
)

// Limits are the limits for clients.
type Limits struct {
	// Connections is the maximum number of connections, 4 or more.
	Connections int

	// Trusted are proxies, each with many clients.
	Trusted []netip.Prefix

	// Dropped, which may be nil, is called for each dropped connection, old or new.
	Dropped func()
}

// share is the maximum number of connections of one address that is not a trusted proxy.
func (l Limits) share() int { return l.Connections / 2 }

// strangers is the maximum number of connections of all clients other than trusted proxies.
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
	sites     map[netip.Prefix]*site   // of these
	waiting   list.List                // of *conn, in the order in which the waiting began
	large     int                      // of those that wait
}

// source is one address and its connections. Each connection of a trusted proxy is a separate source, because it may be
// of another client.
type source struct {
	site *site
	counts
}

// site is the network that one client can have: an address or, of IPv6, a /48 with its 65,536 sources.
type site struct {
	prefix netip.Prefix
	served int // requests, see FewAtOnce
	counts
}

// counts are numbers of connections.
type counts struct{ open, waiting, large int }

// count changes the counts of a source and of its network.
func (s *source) count(change func(*counts)) {
	change(&s.counts)
	change(&s.site.counts)
}

// Limit returns a listener with limits, for a server of [NewServer].
func Limit(l net.Listener, limits Limits) net.Listener {
	return &listener{Listener: l, limits: limits, sources: map[netip.Prefix]*source{}, sites: map[netip.Prefix]*site{}}
}

// Accept waits for a connection within the limits.
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

// origin returns the address of a connection or, of IPv6, the network that one client usually has.
func (l *listener) origin(remote net.Addr) (network netip.Prefix, trusted bool) {
	at, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Prefix{}, false
	}
	address := at.Addr().Unmap().WithZone("")
	trusted = slices.ContainsFunc(l.limits.Trusted, func(p netip.Prefix) bool { return p.Contains(address) })
	return fair.SourceOf(address), trusted
}

// admit counts a new connection, and drops another one if a limit is reached. It reports whether there was room.
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

// room returns the connection that a new one replaces, nil below the limits, and whether there is room at all.
func (l *listener) room(c *conn) (out *conn, admitted bool) {
	c.source = l.sourceOf(c)
	switch {
	case c.source.open >= l.limits.share():
		out = l.most(waiting, func(other *conn) bool { return other.source == c.source })
	case !c.trusted && l.strangers >= l.limits.strangers():
		out = l.most(waiting, func(other *conn) bool { return !other.trusted })
	case l.open >= l.limits.Connections:
		out = l.most(waiting, func(*conn) bool { return true })
	default:
		return nil, true
	}
	return out, out != nil
}

// sourceOf returns the source of a connection, a new one if it has no other connection.
func (l *listener) sourceOf(c *conn) *source {
	prefix := fair.NetworkOf(c.network.Addr())
	switch {
	case c.trusted:
		return &source{site: &site{prefix: prefix}}
	case l.sources[c.network] != nil:
		return l.sources[c.network]
	case l.sites[prefix] != nil:
		return &source{site: l.sites[prefix]}
	}
	return &source{site: &site{prefix: prefix}}
}

// most returns the longest-waiting matching connection of the network, and of its source, with the most connections by
// a count. So a few clients, however fast they connect, only replace their own connections.
func (l *listener) most(by func(counts) int, matches func(*conn) bool) (out *conn) {
	for e := l.waiting.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); matches(c) && (out == nil || c.source.compare(out.source, by) > 0) {
			out = c
		}
	}
	return out
}

func waiting(n counts) int { return n.waiting }

func large(n counts) int { return n.large }

// compare compares sources by a count of their networks, then by their own.
func (s *source) compare(other *source, by func(counts) int) int {
	return cmp.Or(cmp.Compare(by(s.site.counts), by(other.site.counts)), cmp.Compare(by(s.counts), by(other.counts)))
}

// drop closes a connection that is no longer counted, at once, so that nothing of it stays in the kernel.
func (l *listener) drop(c *conn) {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Conn.Close() // also where it is being read
	if l.limits.Dropped != nil {
		l.limits.Dropped()
	}
}

// add counts a connection. It waits for its client from the beginning.
func (l *listener) add(c *conn) {
	c.counted = true
	l.open++
	c.source.count(func(n *counts) { n.open++ })
	if !c.trusted {
		l.strangers++
		l.sources[c.network] = c.source
		l.sites[c.source.site.prefix] = c.source.site
	}
	l.wait(c)
}

// remove removes a connection from the counts.
func (l *listener) remove(c *conn) {
	if !c.counted {
		return
	}
	l.endWait(c)
	c.counted = false
	close(c.gone)
	l.open--
	c.source.count(func(n *counts) { n.open-- })
	if !c.trusted {
		l.strangers--
		if c.source.open == 0 {
			delete(l.sources, c.network)
		}
		if c.source.site.open == 0 {
			delete(l.sites, c.source.site.prefix)
		}
	}
}

// wait appends a connection to the order of waiting connections.
func (l *listener) wait(c *conn) {
	if c.counted && c.waits == nil {
		c.waits, c.since = l.waiting.PushBack(c), time.Now()
		c.source.count(func(n *counts) { n.waiting++ })
	}
}

// endWait removes a connection from that order.
func (l *listener) endWait(c *conn) {
	if c.waits != nil {
		l.waiting.Remove(c.waits)
		c.waits = nil
		c.source.count(func(n *counts) { n.waiting-- })
	}
	l.shrink(c)
}

// shrink makes a large connection a usual one: its memory is released.
func (l *listener) shrink(c *conn) {
	if c.large {
		c.large = false
		l.large--
		c.source.count(func(n *counts) { n.large-- })
	}
}

// grow makes a connection a large one. It returns the connection to drop for it, if any: the longest-waiting large one
// of the network, and of its source, with the most large connections.
func (l *listener) grow(c *conn) (out *conn) {
	c.large = true
	l.large++
	c.source.count(func(n *counts) { n.large++ })
	if l.large <= maxLarge {
		return nil
	}
	out = l.most(large, func(other *conn) bool { return other.large })
	l.remove(out)
	return out
}
