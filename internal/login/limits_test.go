// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

// Slow clients. These tests use shorter timeouts than the server.

func TestTheTimeoutsOfTheServer(t *testing.T) {
	server, err := NewServer(newWorld(t, nil).Service, ServerOptions{MaxConnections: 16})
	if err != nil {
		t.Fatal(err)
	}
	h := server.http
	if h.ReadHeaderTimeout != 5*time.Second || h.ReadTimeout != 10*time.Second || h.WriteTimeout != time.Minute || h.IdleTimeout != 2*time.Minute {
		t.Errorf("header %v, request %v, answer %v, idle %v", h.ReadHeaderTimeout, h.ReadTimeout, h.WriteTimeout, h.IdleTimeout)
	}
}

func short(h *http.Server) {
	h.ReadHeaderTimeout, h.ReadTimeout, h.IdleTimeout = 200*time.Millisecond, 400*time.Millisecond, 200*time.Millisecond
}

func TestAnUnfinishedHandshakeTimesOut(t *testing.T) {
	s := startWith(t, newWorld(t, nil), ServerOptions{}, short)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01")) // the beginning of a ClientHello
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) { // an alert may come before the end
		t.Fatal("the connection stays")
	}
}

// Slowloris: a client that sends single bytes does not keep its connection.
func TestASlowHeaderTimesOut(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.send("GET " + verifyPath + " HTTP/1.1\r\nHost: x\r\n")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for ticker := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-ticker.C:
				c.send("a:\r\n")
			case <-stop:
				ticker.Stop()
				return
			}
		}
	}()
	begun := time.Now()
	if status, _, _ := c.receive(); status != 0 && status != http.StatusRequestTimeout {
		t.Errorf("the answer is %d", status)
	}
	if took := time.Since(begun); took > patience/2 {
		t.Errorf("it was cut off after %v", took)
	}
	close(stop)
	<-stopped
	w.nothingHappened()
}

func TestASlowBodyIsRejectedUncharged(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	whole := posted("alice", right, "")
	c.send(whole[:len(whole)-5])
	if status, _, _ := c.receive(); status != http.StatusBadRequest && status != 0 {
		t.Errorf("the answer is %d", status)
	}
	c.mustEnd()
	w.nothingHappened()
}

// Verify needs no body, but a request that declares one is complete only with it.
func TestAVerifyWithoutItsBodyIsNotDecided(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.send("POST " + verifyPath + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("alice", right) + "\r\nContent-Length: 1000\r\n\r\nab")
	c.mustAnswer(http.StatusBadRequest)
	c.mustEnd()
	w.nothingHappened()
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	s := startWith(t, newWorld(t, nil), ServerOptions{}, short)
	c := s.connect()
	c.send(posted("alice", right, ""))
	c.mustAnswer(http.StatusOK)
	c.mustEnd()
}

// Large requests.

func TestAHeaderOf64KiBIsAcceptedAndALargerOneIsNot(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	ask := func(bytes int) raw {
		const begin = "GET " + verifyPath + " HTTP/1.1\r\nHost: x\r\nCookie: "
		c := s.connect()
		c.send(begin + strings.Repeat("x", bytes-len(begin)-4) + "\r\n\r\n")
		return c
	}
	ask(64 << 10).mustAnswer(http.StatusUnauthorized)
	c := ask(64<<10 + 8<<10) // net/http allows 4 KiB more
	c.mustAnswer(http.StatusRequestHeaderFieldsTooLarge)
	c.mustEnd()
	w.nothingHappened()
}

// A field of one letter takes about 100 bytes of memory while its request is queued.
func TestAHeaderWithTooManyFieldsIsRejected(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	fields := func(n int, name func(int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(name(i) + ":\r\n")
		}
		return b.String()
	}
	numbered := func(i int) string { return fmt.Sprintf("a%d", i) }
	one := func(int) string { return "a" }
	for name, lines := range map[string]string{
		"different names":             fields(maxHeaderFields+1, numbered),
		"one name":                    fields(maxHeaderFields+1, one),
		"the most that fit":           fields(6000, numbered),
		"one name, the most that fit": fields(10000, one),
	} {
		c := s.connect()
		c.send(posted("alice", right, lines))
		_, body := c.mustAnswer(http.StatusRequestHeaderFieldsTooLarge)
		if !strings.Contains(body, "HEADER_TOO_LARGE") {
			t.Errorf("%s: %s", name, body)
		}
	}
	w.nothingHappened()
	c := s.connect()
	c.send(posted("alice", right, fields(maxHeaderFields-10, numbered)))
	c.mustAnswer(http.StatusOK)
}

func TestATooLargeBodyIsNotContinued(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", loginPath, serving.MaxBodyBytes+1))
	c.mustAnswer(http.StatusRequestEntityTooLarge) // and no 100 Continue
	c.mustEnd()
	w.nothingHappened()

	c = s.connect()
	head, body, _ := strings.Cut(posted("alice", right, "Expect: 100-continue\r\n"), "\r\n\r\n")
	c.send(head + "\r\n\r\n")
	c.mustAnswer(http.StatusContinue)
	c.send(body)
	c.mustAnswer(http.StatusOK)

	c = s.connect()
	c.send(posted("alice", right, "Expect: the unexpected\r\n"))
	c.mustAnswer(http.StatusExpectationFailed)
}

func TestAChunkedBodyHasTheSameLimit(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	c := s.connect()
	c.send("POST " + loginPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 20 {
		c.send("400\r\n" + strings.Repeat(" ", 0x400) + "\r\n")
	}
	c.mustAnswer(http.StatusRequestEntityTooLarge)
	w.nothingHappened()
}

// Many connections.

// Connections that are idle or sent only part of a request do not block other clients.
func TestAFloodOfConnectionsDoesNotBlockOtherClients(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{MaxConnections: 16})
	for i := range 100 {
		c := s.connect()
		switch i % 3 {
		case 1:
			c.send("POST " + loginPath + " HTTP/1.1\r\nHost: x\r\n")
		case 2:
			c.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") // and then idle
			c.mustAnswer(http.StatusNotFound)
		}
		if i%10 == 0 {
			c := s.connect()
			c.send(posted("alice", right, ""))
			c.mustAnswer(http.StatusOK)
		}
	}
	// All come from one address, which may have half of the connections.
	if dropped := w.dropped(); dropped < 100 || dropped > 110 {
		t.Errorf("%v connections were dropped, of 110 all but 8", dropped)
	}
}

// dropped returns the metric of dropped connections.
func (w *world) dropped() float64 {
	w.t.Helper()
	families, err := w.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "shardinguser_login_connections_dropped_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	w.t.Fatal("there is no such metric")
	return 0
}

// A connection is served one request at a time, even if more were sent.
func TestPipelinedRequestsAreAnsweredOneByOne(t *testing.T) {
	w := newWorld(t, nil)
	inside, proceed := make(chan struct{}, 10), make(chan struct{})
	w.tap.charged = func() error { inside <- struct{}{}; <-proceed; return nil }
	s := start(t, w, ServerOptions{})
	c := s.connect()
	for i := range 3 {
		c.send(posted(fmt.Sprint("nobody-", i), wrong, "")) // different accounts do not wait for each other
	}
	<-inside
	if charges := w.tap.charges.Load(); charges != 1 {
		t.Errorf("%d attempts at once", charges)
	}
	close(proceed)
	for range 3 {
		c.mustAnswer(http.StatusUnauthorized)
	}
	if charges := w.tap.charges.Load(); charges != 3 {
		t.Errorf("%d attempts in all", charges)
	}
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}
