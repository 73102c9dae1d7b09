// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// oneConn is a listener of one connection, whose client sent its bytes and nothing else.
type oneConn struct {
	next  chan net.Conn
	ended chan struct{}
}

func (l oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.next:
		return c, nil
	case <-l.ended:
		return nil, io.EOF
	}
}
func (oneConn) Close() error   { return nil }
func (oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// inMemory is a connection to a client that sends a text and keeps the response.
type inMemory struct {
	sent     io.Reader
	mu       sync.Mutex
	answered bytes.Buffer
	once     sync.Once
	closed   chan struct{}
}

func (c *inMemory) Read(b []byte) (int, error) { return c.sent.Read(b) }

func (c *inMemory) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered.Write(b)
}

func (c *inMemory) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
func (*inMemory) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*inMemory) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
func (*inMemory) SetDeadline(time.Time) error      { return nil }
func (*inMemory) SetReadDeadline(time.Time) error  { return nil }
func (*inMemory) SetWriteDeadline(time.Time) error { return nil }

// For any input, a request is served with a complete body within the limit or not at all, responses are HTTP, and no
// connection stays counted.
func FuzzRequests(f *testing.F) {
	for _, sent := range owing() {
		f.Add([]byte(sent))
	}
	for _, request := range refused(MaxBodyBytes + 1) {
		f.Add([]byte(request))
	}
	f.Add([]byte(request + post + "Content-Length: 5\r\n\r\nhello" + request))
	f.Add([]byte(post + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n" + request))
	f.Add([]byte(post + "Content-Length: 16384\r\n\r\n" + strings.Repeat("x", MaxBodyBytes)))

	l := oneConn{make(chan net.Conn), make(chan struct{})}
	limits := Limit(l, Limits{Connections: 4}).(*listener)
	var served []int64 // by length, of the input that is being tried
	server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > MaxBodyBytes || r.ContentLength >= 0 && r.ContentLength != int64(len(body)) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		served = append(served, int64(len(body)))
		w.WriteHeader(http.StatusNoContent)
	}), nil, slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(limits) }()
	f.Cleanup(func() { close(l.ended) })

	f.Fuzz(func(t *testing.T, sent []byte) {
		served = nil
		c := &inMemory{sent: bytes.NewReader(sent), closed: make(chan struct{})}
		l.next <- c
		select {
		case <-c.closed:
		case <-time.After(patience):
			t.Fatalf("%q keeps its connection", sent)
		}
		limits.mu.Lock()
		if limits.open != 0 || limits.strangers != 0 || len(limits.sources) != 0 || limits.waiting.Len() != 0 || limits.large != 0 {
			t.Errorf("%q stays counted", sent)
		}
		limits.mu.Unlock()
		checkAnswers(t, c.answered.Bytes(), len(served))
	})
}

// checkAnswers reads responses one by one: 204 for each served request, and at most one refusal, the last.
func checkAnswers(t *testing.T, answers []byte, served int) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(answers))
	for n := 0; ; n++ {
		if _, err := r.Peek(1); err != nil {
			if n < served {
				t.Errorf("%d of %d requests that were served are answered", n, served)
			}
			return
		}
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%q is no HTTP: %v", answers, err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF) && answer.StatusCode >= 400: // of a HEAD, whose answer has no body
			return
		case err != nil:
			t.Fatalf("%q is no HTTP: %v", answers, err)
		case answer.StatusCode == http.StatusContinue:
			n--
		case n < served && answer.StatusCode != http.StatusNoContent, n == served && answer.StatusCode < 400, n > served:
			t.Fatalf("answer %d of %d is %d", n, served, answer.StatusCode)
		}
	}
}
