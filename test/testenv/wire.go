// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A Wire is a TCP proxy to a Postgres server without TLS. Unlike a Link it parses the protocol, so that it can close a
// connection before or after a statement.
type Wire struct {
	listener net.Listener
	upstream string
	decide   atomic.Pointer[func(request []byte) Cut]

	mu    sync.Mutex
	conns map[*net.TCPConn]struct{} // both ends of each connection
	ended sync.WaitGroup
}

// A Cut is the point of an exchange, a request and its answer, at which the connection is closed.
type Cut int

// The points: none; before the server receives the request; after the server has executed it, so that the answer is lost.
const (
	NoCut Cut = iota
	CutBefore
	CutAfter
)

// DatabaseWire starts a proxy for the server of a DSN, and returns it with the DSN that leads through it. The proxy ends
// with the test.
func DatabaseWire(t testing.TB, dsn string) (*Wire, string) {
	t.Helper()
	upstream, err := addrOf(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	through, err := WithAddr(dsn, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{listener: listener, upstream: upstream, conns: map[*net.TCPConn]struct{}{}}
	w.ended.Go(w.serve)
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		w.Reset()
		w.ended.Wait()
	})
	return w, through
}

// Watch calls decide with each request, up to its Query or Sync message, and cuts the exchange there. A prepared statement
// takes two requests; the second contains the parameters. Connections call decide concurrently.
func (w *Wire) Watch(decide func(request []byte) Cut) { w.decide.Store(&decide) }

// Reset resets every open connection (TCP RST) in both directions. New connections are forwarded.
func (w *Wire) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		_ = conn.SetLinger(0) // so that Close resets
		_ = conn.Close()
	}
}

func (w *Wire) serve() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // the test ends
		}
		server, err := net.Dial("tcp", w.upstream) //nolint:noctx // loopback: it succeeds or fails at once
		if err != nil {
			_ = client.Close()
			continue
		}
		p := &passage{wire: w, client: client, server: server}
		w.pass(client, server, p.requests)
		w.pass(server, client, p.answers)
	}
}

// pass runs forward for one direction, and closes both ends when it returns.
func (w *Wire) pass(from, to net.Conn, forward func() error) {
	conn, ok := from.(*net.TCPConn)
	if !ok {
		panic(errors.New("the connection is not a TCP connection"))
	}
	w.mu.Lock()
	w.conns[conn] = struct{}{}
	w.mu.Unlock()
	w.ended.Go(func() {
		_ = forward()
		_ = to.Close()
		w.mu.Lock()
		delete(w.conns, conn)
		w.mu.Unlock()
		_ = conn.Close()
	})
}

// A passage is one client connection. It parses https://www.postgresql.org/docs/current/protocol-message-formats.html.
type passage struct {
	wire           *Wire
	client, server net.Conn
	deaf           atomic.Bool // the next answer is dropped
}

// protocol3 begins a session. Other codes request TLS or cancel a query.
const protocol3 = 3 << 16

// errCut closes a connection.
var errCut = errors.New("cut for a test")

func (p *passage) requests() error {
	for session := false; !session; {
		length := make([]byte, 4)
		start, err := p.read(p.client, length, length)
		if err != nil {
			return err
		}
		session = len(start) >= 8 && binary.BigEndian.Uint32(start[4:]) == protocol3
		if _, err := p.server.Write(start); err != nil {
			return err
		}
	}
	var request []byte
	for {
		message, err := p.message(p.client)
		if err != nil {
			return err
		}
		request = append(request, message...)
		switch message[0] {
		case 'P', 'B', 'D', 'E', 'C': // Parse, Bind, Describe, Execute, Close: the server answers after Sync
			continue
		case 'Q', 'S': // Query, Sync
			if err := p.cut(request); err != nil {
				return err
			}
		}
		if _, err := p.server.Write(request); err != nil {
			return err
		}
		request = nil
	}
}

func (p *passage) cut(request []byte) error {
	decide := p.wire.decide.Load()
	if decide == nil {
		return nil
	}
	switch (*decide)(request) {
	case CutBefore:
		return errCut
	case CutAfter:
		p.deaf.Store(true)
	case NoCut:
	}
	return nil
}

func (p *passage) answers() error {
	for {
		message, err := p.message(p.server)
		switch {
		case err != nil:
			return err
		case p.deaf.Load():
			if message[0] == 'Z' { // ReadyForQuery: the server has executed the request
				return errCut
			}
			continue
		}
		if _, err := p.client.Write(message); err != nil {
			return err
		}
	}
}

// message reads one message: its type, length and body.
func (p *passage) message(from io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	return p.read(from, head, head[1:])
}

// read reads the head of a message, of which length is a part, and the body.
func (p *passage) read(from io.Reader, head, length []byte) ([]byte, error) {
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(length)) - len(length)
	if n < 0 {
		return nil, errCut
	}
	message := append(head, make([]byte, n)...)
	_, err := io.ReadFull(from, message[len(head):])
	return message, err
}
