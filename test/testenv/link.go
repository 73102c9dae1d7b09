// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Link is a TCP proxy between a program and a server that can simulate network faults. It starts without faults. Tests use
// it as a [Proxy].
type Link struct {
	port  *port
	ended sync.WaitGroup // of all its goroutines

	mu       sync.Mutex
	upstream string
	listener net.Listener         // nil while the link is cut
	conns    map[*linked]struct{} // that are open
	faults   faults
	changed  chan struct{} // closed when faults change
}

// The faults of a link.
type faults struct {
	lose  [2]bool        // bytes in this direction
	delay time.Duration  // of each answer
	reset *time.Duration // after the next answer begins; nil for never
}

// A direction of a connection's bytes.
type direction int

const (
	upstream direction = iota
	downstream
)

// NewLink starts a link to the server at this address (host:port). The link ends with Close, or with this process.
func NewLink(upstream string) (*Link, error) {
	port, err := newPort()
	if err != nil {
		return nil, err
	}
	l := &Link{port: port, upstream: upstream, conns: map[*linked]struct{}{}, changed: make(chan struct{})}
	if err := l.listen(); err != nil {
		return nil, errors.Join(err, port.close())
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

// Close ends the link and all of its connections.
func (l *Link) Close() error {
	l.Cut()
	l.ended.Wait()
	return l.port.close()
}

// Addr returns the address where the link listens. It never changes.
func (l *Link) Addr() string {
	return l.port.address()
}

// Cut closes every connection and refuses new ones, as when the server is unreachable. The link keeps its address.
func (l *Link) Cut() {
	l.mu.Lock()
	if l.listener != nil {
		_ = l.listener.Close()
		l.listener = nil
	}
	l.mu.Unlock()
	l.closeConnections()
}

// Move closes every connection and forwards new ones to another server, as in a failover.
func (l *Link) Move(upstream string) error {
	l.mu.Lock()
	l.upstream = upstream
	l.mu.Unlock()
	l.closeConnections()
	return l.listen()
}

// Stall drops every byte in both directions on open and new connections, without an error, as when a cable is unplugged.
func (l *Link) Stall() {
	l.change(func(f *faults) { f.lose = [2]bool{true, true} })
}

// Deafen drops the server's answers. The server still receives and executes requests.
func (l *Link) Deafen() {
	l.change(func(f *faults) { f.lose[downstream] = true })
}

// Delay delays every answer by d.
func (l *Link) Delay(d time.Duration) {
	l.change(func(f *faults) { f.delay = d })
}

// Reset resets open and new connections (TCP RST), this long after the next answer on each begins.
func (l *Link) Reset(after time.Duration) {
	l.change(func(f *faults) { f.reset = &after })
}

// Restore ends all faults. Connections that have lost bytes close.
func (l *Link) Restore() error {
	l.mu.Lock()
	lost := l.faults.lose != [2]bool{}
	l.mu.Unlock()
	if lost {
		l.closeConnections()
	}
	l.change(func(f *faults) { *f = faults{} })
	return l.listen()
}

func (l *Link) change(apply func(*faults)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	apply(&l.faults)
	close(l.changed)
	l.changed = make(chan struct{})
}

// now returns the faults, and a channel that is closed when they change.
func (l *Link) now() (faults, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults, l.changed
}

// listen does nothing if the link already listens.
func (l *Link) listen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", l.Addr())
	if err != nil {
		return fmt.Errorf("start a proxy: %w", err)
	}
	l.listener = listener
	l.ended.Go(func() { l.accept(listener) })
	return nil
}

func (l *Link) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // the link is cut
		}
		l.ended.Go(func() { l.forward(listener, client) })
	}
}

// forward serves a connection until it closes.
func (l *Link) forward(listener net.Listener, client net.Conn) {
	defer func() { _ = client.Close() }()
	l.mu.Lock()
	address := l.upstream
	l.mu.Unlock()
	server, err := new(net.Dialer).Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	c := &linked{link: l, ends: [2]net.Conn{server, client}, closed: make(chan struct{})}

	l.mu.Lock()
	current := l.listener == listener && l.upstream == address // and not cut or moved since
	if current {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	if !current {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { c.pipe(upstream) })
	both.Go(func() { c.pipe(downstream) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

func (l *Link) closeConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.close()
	}
}

// A linked is a connection through a link.
type linked struct {
	link   *Link
	ends   [2]net.Conn // server and client: the destinations of the two directions
	closed chan struct{}
	once   sync.Once
}

func (c *linked) close() {
	c.once.Do(func() {
		close(c.closed)
		for _, end := range c.ends {
			_ = end.Close()
		}
	})
}

// reset closes the connection with a TCP reset.
func (c *linked) reset() {
	for _, end := range c.ends {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	c.close()
}

// A packet is bytes, and the time when they are forwarded.
type packet struct {
	bytes []byte
	due   time.Time
}

// pipe forwards the bytes of one direction until the connection or its source closes. After the source closes, the
// connection closes once all bytes are forwarded.
func (c *linked) pipe(d direction) {
	defer c.close()
	packets := make(chan packet, 1024) // so that a delayed answer does not delay the next one
	var sending sync.WaitGroup
	sending.Go(func() { c.send(c.ends[d], packets) })
	defer sending.Wait()
	defer close(packets)
	for c.carries(d) {
		buffer := make([]byte, 32<<10)
		n, err := c.ends[1-d].Read(buffer)
		if n > 0 && c.carries(d) {
			faults, _ := c.link.now()
			due := time.Now()
			if d == downstream {
				if faults.reset != nil {
					c.wait(*faults.reset)
					c.reset()
					return
				}
				due = due.Add(faults.delay)
			}
			select {
			case packets <- packet{buffer[:n], due}:
			case <-c.closed:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// carries waits while the link drops the bytes of a direction, and then returns whether the connection is open. It reads
// nothing meanwhile, so that a close of one end does not reach the other. Bytes that were read before are lost.
func (c *linked) carries(d direction) bool {
	for {
		faults, changed := c.link.now()
		if !faults.lose[d] {
			return c.isOpen()
		}
		select {
		case <-changed:
		case <-c.closed:
			return false
		}
	}
}

func (c *linked) isOpen() bool {
	select {
	case <-c.closed:
		return false
	default:
		return true
	}
}

// wait returns after this time, or when the connection closes.
func (c *linked) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.closed:
	}
}

func (c *linked) send(to net.Conn, packets <-chan packet) {
	for p := range packets {
		c.wait(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			c.close()
		}
	}
}
