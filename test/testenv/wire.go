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

// A Wire is a TCP proxy to a Postgres server without TLS. Unlike a Link it knows where a statement begins and ends, and can
// cut the connection there.
type Wire struct {
	listener net.Listener
	upstream string
	judge    atomic.Pointer[func(request []byte) Cut]

	mu    sync.Mutex
	conns map[*net.TCPConn]struct{} // both ends of all passages
	ended sync.WaitGroup
}

// A Cut is where an exchange, of a request and its answer, is cut off, together with its connection.
type Cut int

// Where an exchange is cut off: nowhere, before the server gets anything of the request, or after it did all that it asks,
// so that the answer is lost.
const (
	NoCut Cut = iota
	CutBefore
	CutAfter
)

// DatabaseWire starts a passage to the server of a DSN, and returns it with the DSN that leads through it. It ends with the
// test.
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

// Watch shows every request that ends a turn of the client's to judge, who decides what becomes of it: of a statement that
// the driver prepares there are two, and values of its parameters are in the second. Several connections may ask at once.
func (w *Wire) Watch(judge func(request []byte) Cut) { w.judge.Store(&judge) }

// Reset breaks every connection that is there by a TCP reset, both ways. New ones pass.
func (w *Wire) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		_ = conn.SetLinger(0) // what is closed then is reset
		_ = conn.Close()
	}
}

func (w *Wire) serve() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // the test ends
		}
		server, err := net.Dial("tcp", w.upstream) //nolint:noctx // loopback: at once, or not at all
		if err != nil {
			_ = client.Close()
			continue
		}
		p := &passage{wire: w, client: client, server: server}
		w.pass(client, server, p.requests)
		w.pass(server, client, p.answers)
	}
}

// pass hands on what comes from one end, until either end is closed.
func (w *Wire) pass(from, to net.Conn, handOn func() error) {
	conn, ok := from.(*net.TCPConn)
	if !ok {
		panic(errors.New("a TCP connection is none"))
	}
	w.mu.Lock()
	w.conns[conn] = struct{}{}
	w.mu.Unlock()
	w.ended.Go(func() {
		_ = handOn()
		_ = to.Close()
		w.mu.Lock()
		delete(w.conns, conn)
		w.mu.Unlock()
		_ = conn.Close()
	})
}

// A passage is one connection of a client's, as https://www.postgresql.org/docs/current/protocol-message-formats.html has it.
type passage struct {
	wire           *Wire
	client, server net.Conn
	deaf           atomic.Bool // the answer that comes is lost
}

// protocol3 is how a session begins, in place of a request to cancel another one.
const protocol3 = 3 << 16

// errCut ends a passage.
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
		case 'P', 'B', 'D', 'E', 'C': // Parse, Bind, Describe, Execute, Close: nothing is answered before what follows
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
	judge := p.wire.judge.Load()
	if judge == nil {
		return nil
	}
	switch (*judge)(request) {
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
			if message[0] == 'Z' { // ReadyForQuery: all is done
				return errCut
			}
			continue
		}
		if _, err := p.client.Write(message); err != nil {
			return err
		}
	}
}

// message reads one message: its type, its length, and what is in it.
func (p *passage) message(from io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	return p.read(from, head, head[1:])
}

// read reads a message's head, with the length that is in it, and the rest of it.
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
