// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// listening serves without TLS, with limits and a change of the server, and returns the address.
func listening(t *testing.T, handler http.HandlerFunc, connections int, change func(*http.Server)) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(handler, nil, slog.New(slog.DiscardHandler))
	change(server)
	go func() { _ = server.Serve(Limit(l, Limits{Connections: connections})) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// net/http has its own handler for these, without the limits of this package.
func TestOptionsOfTheServerAreServedAsAllRequests(t *testing.T) {
	address := listening(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, 4, func(*http.Server) {})
	answer, err := sent(t, dialed(t, address, false), "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 418 ") {
		t.Errorf("%v: %s", err, answer)
	}
}
