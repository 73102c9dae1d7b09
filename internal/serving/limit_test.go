// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"
)

// patience is how long a test waits for what has to happen, and glance for what must not happen.
const (
	patience = 10 * time.Second
	glance   = 50 * time.Millisecond
)

// world is a server with limits, whose clients choose their addresses.
type world struct {
	t       *testing.T
	l       *listener
	from    chan netip.AddrPort
	ready   chan struct{} // gets one each time that a connection can be accepted
	dropped atomic.Int64
	read    atomic.Int64              // bytes of all connections
	inside  chan struct{}             // gets one for each request of /wait
	goOn    chan struct{}             // lets them go on, once closed
	headers chan weak.Pointer[string] // gets a part of the header of each request of /hold
	held    chan struct{}             // gets one for each of them that is held no longer
}

// addressed is a listener whose connections have addresses that the test chooses.
type addressed struct {
	net.Listener
	from  chan netip.AddrPort
	ready chan struct{}
	read  *atomic.Int64
}

type elsewhere struct {
	*net.TCPConn
	from net.Addr
	read *atomic.Int64
}

// Read counts bytes.
func (c elsewhere) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c elsewhere) RemoteAddr() net.Addr { return c.from }

// SetLinger does nothing: a reset could arrive before the client's dial returns.
func (c elsewhere) SetLinger(int) error { return nil }

func (l addressed) Accept() (net.Conn, error) {
	l.ready <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return elsewhere{c.(*net.TCPConn), net.TCPAddrFromAddrPort(<-l.from), l.read}, nil
}

func newWorld(t *testing.T, connections int, trusted ...string) *world {
	t.Helper()
	w := &world{
		t: t, from: make(chan netip.AddrPort, 1), ready: make(chan struct{}, 1),
		inside: make(chan struct{}, 100), goOn: make(chan struct{}),
		headers: make(chan weak.Pointer[string], 1), held: make(chan struct{}, 1),
	}
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{Connections: connections, Dropped: func() { w.dropped.Add(1) }}
	for _, network := range trusted {
		limits.Trusted = append(limits.Trusted, netip.MustParsePrefix(network))
	}
	w.l = Limit(addressed{plain, w.from, w.ready, &w.read}, limits).(*listener)
	server := NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			w.inside <- struct{}{}
			<-w.goOn
		case "/hold":
			w.headers <- weak.Make(&r.Header["User-Agent"][0])
			answer.Header().Set("Content-Length", "0")
			Hold(r.Context(), answer, time.Hour, w.goOn)
			w.held <- struct{}{}
		case "/large":
			_, _ = answer.Write(make([]byte, 64<<20))
		}
	}), nil, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(w.l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		w.empties()
	})
	return w
}

// until waits until a condition of the listener holds.
func (w *world) until(what string, holds func(*listener) bool) {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		w.l.mu.Lock()
		held := holds(w.l)
		now := fmt.Sprintf("%d open, %d of strangers from %d addresses, %d waiting, %d large",
			w.l.open, w.l.strangers, len(w.l.sources), w.l.waiting.Len(), w.l.large)
		w.l.mu.Unlock()
		if held {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("%s: %s", what, now)
		case <-time.After(time.Millisecond):
		}
	}
}

// empties waits until nothing is counted any more.
func (w *world) empties() {
	w.t.Helper()
	w.until("all connections are closed", func(l *listener) bool {
		return l.open == 0 && l.strangers == 0 && len(l.sources) == 0 && len(l.sites) == 0 && l.waiting.Len() == 0 && l.large == 0
	})
}

// client is one connection.
type client struct {
	net.Conn
	*world
	r *bufio.Reader
}

// dial returns when the connection was accepted or dropped.
func (w *world) dial(from string) client {
	w.t.Helper()
	<-w.ready
	w.from <- netip.AddrPortFrom(netip.MustParseAddr(from), 4711)
	c, err := new(net.Dialer).DialContext(context.Background(), "tcp", w.l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	<-w.ready
	w.ready <- struct{}{} // for the next one
	return client{c, w, bufio.NewReader(c)}
}

func (c client) send(text string) {
	_, _ = c.Write([]byte(text)) // that it arrives is for the answer to tell
}

// status returns the status of the next response, 0 if the connection was closed.
func (c client) status() int {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("there is neither an answer nor an end")
		}
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

// served returns when the server waits for the next request.
func (c client) served() {
	c.t.Helper()
	c.send(request)
	if status := c.status(); status != http.StatusOK {
		c.t.Errorf("%s is not served: %d", c.LocalAddr(), status)
	}
	c.until("it was served", func(l *listener) bool { return l.open == l.waiting.Len() })
}

func (c client) sentAway() {
	c.t.Helper()
	if status := c.status(); status != 0 {
		c.t.Errorf("there is an answer, %d, where the connection had to be closed", status)
	}
}

func (c client) stays() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(glance))
	if _, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection did not stay: %v", err)
	}
}

func TestTheLongestWaitingConnectionMakesRoom(t *testing.T) {
	w := newWorld(t, 4)
	first, second, third := w.dial("192.0.2.1"), w.dial("192.0.2.2"), w.dial("192.0.2.3")
	fourth := w.dial("192.0.2.4")
	first.served() // and so is the last in line
	w.dial("192.0.2.5").served()
	second.sentAway()
	w.dial("192.0.2.6").served()
	third.sentAway()
	first.stays()
	fourth.served()
	if n := w.dropped.Load(); n != 2 {
		t.Errorf("%d dropped connections are reported, want 2", n)
	}
}

func TestAServedRequestIsNotDropped(t *testing.T) {
	w := newWorld(t, 2)
	busy := []client{w.dial("192.0.2.1"), w.dial("192.0.2.2")}
	for _, c := range busy {
		c.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		<-w.inside
	}
	late := w.dial("192.0.2.3")
	late.sentAway()
	close(w.goOn)
	for _, c := range busy {
		if status := c.status(); status != http.StatusOK {
			t.Errorf("%d", status)
		}
	}
	w.dial("192.0.2.3").served() // they wait again, and so make room
}

func TestOneAddressHasHalfOfTheConnections(t *testing.T) {
	for name, source := range map[string][2]string{
		"an address":              {"192.0.2.1", "192.0.2.1"},
		"mapped, the same one":    {"192.0.2.1", "::ffff:192.0.2.1"},
		"a network of one client": {"2001:db8::1", "2001:db8::ffff:1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 8)
			gateway := w.dial("198.51.100.1")
			gateway.served()
			var flood []client
			for i := range 10 {
				flood = append(flood, w.dial(source[i%2]))
			}
			for _, c := range flood[:6] {
				c.sentAway()
			}
			for _, c := range flood[6:] {
				c.served()
			}
			gateway.served()
			if n := w.dropped.Load(); n != 6 {
				t.Errorf("%d were sent away, want 6", n)
			}
		})
	}
}

func TestAQuarterIsKeptForTrustedProxies(t *testing.T) {
	w := newWorld(t, 8, "10.0.0.0/8")
	proxy := []client{w.dial("10.0.0.1"), w.dial("10.0.0.1")}
	for i := range 20 { // more than all connections, of as many clients
		w.dial(fmt.Sprintf("192.0.2.%d", i+1))
	}
	for _, c := range proxy {
		c.served()
	}
	if n := w.dropped.Load(); n != 14 {
		t.Errorf("%d were sent away, want all but 6 of 20", n)
	}
}

func TestATrustedProxyMayHaveMoreThanHalf(t *testing.T) {
	w := newWorld(t, 8, "10.0.0.0/8")
	for range 8 {
		w.dial("10.0.0.1").served()
	}
	if n := w.dropped.Load(); n != 0 {
		t.Errorf("%d were sent away", n)
	}
}

// A /48 of IPv6 has 65,536 networks that count as one address each.
func TestANetworkOnlyReplacesItsOwnConnections(t *testing.T) {
	w := newWorld(t, 8)
	slow := []client{w.dial("192.0.2.1"), w.dial("2001:db8:ffff::1")}
	for i := range 20 {
		w.dial(fmt.Sprintf("2001:db8:1:%x::1", i+1))
	}
	for _, c := range slow {
		c.served()
	}
	if n := w.dropped.Load(); n != 14 {
		t.Errorf("%d were sent away, want all but 6 of 20", n)
	}
}

// Sixty-four large requests may be in progress, each of which can take a megabyte of memory.
func TestTheSlowestOfManyLargeHeadersIsDropped(t *testing.T) {
	w := newWorld(t, 300)
	large := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a:\r\n", usualBytes/4)
	usual := w.dial("192.0.2.1")
	usual.send("GET / HTTP/1.1\r\nHost: x\r\n")
	var slow []client
	for i := range maxLarge {
		c := w.dial(fmt.Sprintf("192.0.2.%d", i%100+2))
		c.send(large)
		slow = append(slow, c)
		w.until("a large header is on its way", func(l *listener) bool { return l.large == i+1 })
	}
	quick := w.dial("198.51.100.1")
	quick.send(large + "\r\n")
	if status := quick.status(); status != http.StatusOK {
		t.Errorf("who is done with a large header gets %d", status)
	}
	slow[0].sentAway()
	slow[1].stays()
	usual.send("\r\n")
	if status := usual.status(); status != http.StatusOK {
		t.Errorf("who has a usual header gets %d", status)
	}
}

// The counted bytes are reset with each request, so a client with many requests is not a large one.
func TestManyUsualHeadersAreNotALargeOne(t *testing.T) {
	w := newWorld(t, 4)
	c := w.dial("192.0.2.1")
	padded := "GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("x", usualBytes/2) + "\r\n\r\n"
	for range 5 {
		c.send(padded)
		if status := c.status(); status != http.StatusOK {
			t.Fatalf("%d", status)
		}
	}
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if w.l.large != 0 {
		t.Errorf("%d count as large", w.l.large)
	}
}
