// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// A connection that ends before its request is complete is read on within these limits. Otherwise the kernel would
// reset it, and the client would lose the response.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 2 << 20
)

var (
	errTooManyLarge = errors.New("too many large requests at once")
	errPlainHTTP    = errors.New("the client sent plain HTTP to an HTTPS port")
)

// conn is a counted connection. It waits for its client until a request is complete, while the client does not read its
// response, and between requests.
type conn struct {
	net.Conn
	l       *listener
	network netip.Prefix
	trusted bool
	source  *source
	overTLS bool          // set before the first Read
	gone    chan struct{} // closed once it is no longer counted

	// With the listener's lock held:
	counted  bool
	waits    *list.Element // nil while its request is served
	since    time.Time     // when that began
	begun    bool          // something was received ever
	received int           // bytes of the request that is not complete
	large    bool
	ended    bool // the client has no more to send
	closed   bool
}

// limited returns the connection of [Limit] below one of net/http, or nil.
func limited(c net.Conn) (limited *conn, overTLS bool) {
	encrypted, overTLS := c.(*tls.Conn)
	if overTLS {
		c = encrypted.NetConn()
	}
	limited, _ = c.(*conn)
	return limited, overTLS
}

type connKey struct{}

// remember puts a connection into the context of its requests.
func remember(ctx context.Context, c net.Conn) context.Context {
	limited, overTLS := limited(c)
	if limited == nil {
		return ctx
	}
	limited.overTLS = overTLS
	return context.WithValue(ctx, connKey{}, limited)
}

// follow detects that a connection waits for its next request.
func follow(c net.Conn, state http.ConnState) {
	if limited, _ := limited(c); limited != nil && state == http.StateIdle {
		limited.await()
	}
}

// serve ends the wait, because the request of the context is complete. It returns false if its connection was dropped
// before.
func serve(ctx context.Context) bool {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return true // a server without limits
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.received = 0
	c.l.endWait(c)
	return c.counted
}

// await begins the wait for the next request.
func (c *conn) await() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.received = 0
	c.l.wait(c)
}

// Read counts the received bytes, and responds to a client that does not use TLS, if that is required.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	first, out, refused := c.arrived(n, err)
	if out != nil {
		c.l.drop(out)
	}
	switch {
	case refused != nil:
		return 0, refused
	case first && c.overTLS && b[0] >= 'A' && b[0] <= 'Z': // as methods begin, and no record of TLS
		_, _ = io.WriteString(c, plainHTTPAnswer)
		return 0, errPlainHTTP
	}
	return n, err
}

// arrived counts bytes of a client. It returns whether they are the first ones, which connection has to be dropped for
// them, and the error of a connection that may not be read any more.
func (c *conn) arrived(n int, err error) (first bool, out *conn, refused error) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.ended = true
	}
	if c.closed {
		return false, nil, net.ErrClosed
	}
	if c.waits == nil || n == 0 {
		return false, nil, nil
	}
	first = !c.begun
	c.begun = true
	if c.received == 0 {
		c.l.waiting.MoveToBack(c.waits) // it was idle, and now waits for the rest of a request
		c.since = time.Now()
	}
	if c.received += n; c.received <= usualBytes || c.large {
		return first, nil, nil
	}
	if out = c.l.grow(c); out == c {
		refused = errTooManyLarge
	}
	return first, out, refused
}

// Write waits for the client too, because the client may not read.
func (c *conn) Write(b []byte) (int, error) {
	c.l.mu.Lock()
	served := c.waits == nil
	c.l.wait(c)
	c.l.mu.Unlock()

	n, err := c.Conn.Write(b)

	if served {
		c.l.mu.Lock()
		c.l.endWait(c)
		c.l.mu.Unlock()
	}
	return n, err
}

// Close ends the connection. First, a goroutine reads what the client still sends of an incomplete request. The
// connection waits meanwhile, so it is dropped when the limit is reached.
func (c *conn) Close() error {
	c.l.mu.Lock()
	again := c.closed
	c.closed = true
	c.l.shrink(c)
	lingers := !again && c.counted && !c.ended && c.waits != nil && c.received > 0
	if !lingers && !again {
		c.l.remove(c)
	}
	c.l.mu.Unlock()
	switch {
	case again:
		return net.ErrClosed
	case lingers:
		go c.linger()
		return nil
	}
	return c.Conn.Close()
}

// linger reads until the client closes the connection as well.
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	c.l.mu.Lock()
	c.l.remove(c)
	c.l.mu.Unlock()
	_ = c.Conn.Close()
}
