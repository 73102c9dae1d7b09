// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Inputs of clients, sent or missing, with which a connection waits.
const (
	post     = "POST / HTTP/1.1\r\nHost: x\r\n"
	declared = post + "Content-Length: 1000\r\n\r\n"
)

// owing returns the kinds of waiting clients by their inputs.
func owing() map[string]string {
	return map[string]string{
		"nothing is sent":               "",
		"a TLS handshake is begun":      "\x16\x03\x01",
		"a header is begun":             "GET / HTTP/1.1\r\nHost: x\r\n",
		"a header is half a line":       "POST / HT",
		"no body comes":                 declared,
		"half of a body comes":          declared + strings.Repeat("x", 500),
		"a body lacks one byte":         declared + strings.Repeat("x", 999),
		"chunks have no end":            post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"no chunk comes":                post + "Transfer-Encoding: chunked\r\n\r\n",
		"a trailer has no end":          post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
		"it got 100 Continue":           post + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
		"a GET declares a body":         "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"HTTP/1.0 declares a body":      "POST / HTTP/1.0\r\nContent-Length: 10\r\n\r\n",
		"it is idle":                    request,
		"a second request has no body":  request + declared,
		"a second request has no end":   post + "Content-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n",
		"an answer is not read":         "GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
		"pipelined answers are not":     strings.Repeat("GET /large HTTP/1.1\r\nHost: x\r\n\r\n", 3),
		"a refused body does not come":  post + "Content-Length: 17000\r\n\r\n",
		"a refused body comes in drops": post + "Content-Length: 9999999\r\n\r\nxxx",
	}
}

// Every waiting connection makes room for a complete request.
func TestAConnectionWaitsUntilTheClientOwesNothing(t *testing.T) {
	for name, sent := range owing() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 4)
			for i := range 4 {
				w.dial(fmt.Sprintf("192.0.2.%d", 1+i%2)).send(sent)
			}
			w.until("all of them wait", func(l *listener) bool { return l.open == 4 && l.waiting.Len() == 4 })
			w.dial("198.51.100.1").answered()
			w.dial("198.51.100.2").answered()
			if n := w.dropped.Load(); n < 2 || n > 3 {
				t.Errorf("%d connections were dropped, want 2, and one of the first two served at most", n)
			}
		})
	}
}

// answered is served beside clients that are not.
func (c client) answered() {
	c.t.Helper()
	c.send(request)
	if status := c.status(); status != http.StatusOK {
		c.t.Errorf("%s is not served: %d", c.LocalAddr(), status)
	}
}

// A few addresses that connect repeatedly replace their own connections, even shorter-waiting ones.
func TestAFewAddressesOnlyReplaceTheirOwnConnections(t *testing.T) {
	for name, addresses := range map[string]int{"two": 2, "three": 3, "ten": 10} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 40)
			slow := w.dial("198.51.100.1") // waits for longest, and needs its time
			slow.send(post + "Content-Length: 2\r\n\r\n{")
			for i := range 200 {
				w.dial(fmt.Sprintf("192.0.2.%d", i%addresses)).send(declared)
			}
			slow.send("}")
			if status := slow.status(); status != http.StatusOK {
				t.Errorf("the answer is %d", status)
			}
			if n := w.dropped.Load(); n != 161 {
				t.Errorf("%d connections were dropped, want 161 of 200", n)
			}
		})
	}
}

// A request on a connection that was idle for long is not dropped first.
func TestAnIdleConnectionWithANewRequestIsNotDroppedFirst(t *testing.T) {
	w := newWorld(t, 4)
	kept := w.dial("192.0.2.1")
	kept.served()
	var others []client
	for i := range 3 {
		others = append(others, w.dial(fmt.Sprintf("192.0.2.%d", i+2)))
	}
	kept.send(post + "Content-Length: 2\r\n\r\n{")
	w.until("it has come", func(l *listener) bool { return l.waiting.Back().Value.(*conn).received > 0 })
	w.dial("192.0.2.9").answered()
	others[0].sentAway()
	kept.send("}")
	if status := kept.status(); status != http.StatusOK {
		t.Errorf("the answer is %d", status)
	}
}

// A request whose connection was dropped in the meantime has no effect.
func TestARequestOfADroppedConnectionIsNotServed(t *testing.T) {
	l := Limit(nil, Limits{Connections: 4}).(*listener)
	dropped := &conn{l: l}
	defer func() {
		if aborted, ok := recover().(error); !ok || !errors.Is(aborted, http.ErrAbortHandler) {
			t.Errorf("it ended with %v", aborted)
		}
	}()
	ctx := context.WithValue(t.Context(), connKey{}, dropped)
	CompleteRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("it was served")
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
}
