// SPDX-License-Identifier: Apache-2.0

//go:build !race

package login

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// A stranger opens the default maximum of connections from two addresses, and sends complete headers without their bodies. It
// connects again whenever a connection ends.
func TestRequestsWithoutBodiesDoNotBlockOtherClients(t *testing.T) {
	connections := 2048
	if testing.Short() {
		connections = 512 // also the limit of the server
	}
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{MaxConnections: connections})
	ctx, stop := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	var begun atomic.Int64
	all := make(chan struct{})
	for i := range connections {
		attackers.Go(func() {
			for ctx.Err() == nil {
				s.holdWithoutABody(ctx, fmt.Sprintf("127.0.0.%d", 2+i%2), func() {
					if begun.Add(1) == int64(connections) {
						close(all)
					}
				})
			}
		})
	}
	<-all
	s.client.Transport.(*http.Transport).DisableKeepAlives = true // a new connection for each request
	retries := int64(0)
	for i := range 15 {
		// This process also computes the handshakes of the attackers, so a connection can time out on either side, even after a charge.
		status, body := s.logIn("alice", right)
		for tries := 1; status == 0 && tries < 3; tries++ {
			retries++
			status, body = s.logIn("alice", right)
		}
		if status != http.StatusOK {
			t.Errorf("request %d of 15: %d %s", i+1, status, body)
		}
	}
	if charges := w.tap.charges.Load(); charges < 15 || charges > 15+retries {
		t.Errorf("%d attempts were charged, want 15, and at most %d retries more", charges, retries)
	}
	if w.dropped() == 0 {
		t.Error("no connection was dropped; the limit was not reached")
	}
}

// holdWithoutABody connects from an address and keeps the connection until the server closes it or ctx ends.
func (s *served) holdWithoutABody(ctx context.Context, from string, begun func()) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}},
		Config:    &tls.Config{InsecureSkipVerify: true},
	}
	c, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "POST "+loginPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	begun()
	_, _ = io.Copy(io.Discard, c)
}
