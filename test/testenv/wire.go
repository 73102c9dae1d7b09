// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Wire is a passage to a server that can be broken by a TCP reset, which the library behind Proxy can not do to a
// connection that began as a healthy one.
type Wire struct {
	listener net.Listener
	upstream string

	mu    sync.Mutex
	conns map[*net.TCPConn]struct{} // both ends of all passages
	ended sync.WaitGroup
}

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
		w.pass(client, server)
		w.pass(server, client)
	}
}

// pass hands on what comes from one end, until either end is closed.
func (w *Wire) pass(from, to net.Conn) {
	conn, ok := from.(*net.TCPConn)
	if !ok {
		panic(errors.New("a TCP connection is none"))
	}
	w.mu.Lock()
	w.conns[conn] = struct{}{}
	w.mu.Unlock()
	w.ended.Go(func() {
		_, _ = io.Copy(to, conn)
		_ = to.Close()
		w.mu.Lock()
		delete(w.conns, conn)
		w.mu.Unlock()
		_ = conn.Close()
	})
}
