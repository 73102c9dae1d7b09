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

// Slow clients. Their tests are about what is cut off, and go by shorter times than clients do.

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
	_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01")) // a ClientHello begins so
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) { // an alert, perhaps, and the end
		t.Fatal("the connection stays")
	}
}

// Slowloris: a byte now and then keeps no connection.
func TestASlowHeaderTimesOut(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.say("GET " + verifyPath + " HTTP/1.1\r\nHost: x\r\n")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for ticker := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-ticker.C:
				c.say("a:\r\n")
			case <-stop:
				ticker.Stop()
				return
			}
		}
	}()
	begun := time.Now()
	if status, _, _ := c.hears(); status != 0 && status != http.StatusRequestTimeout {
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
	c.say(whole[:len(whole)-5])
	if status, _, _ := c.hears(); status != http.StatusBadRequest && status != 0 {
		t.Errorf("the answer is %d", status)
	}
	c.mustEnd()
	w.nothingHappened()
}

// Verify does not need a body, and yet a request that declares one is complete only with it.
func TestAVerifyWithoutItsBodyIsNotDecided(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.say("POST " + verifyPath + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("alice", right) + "\r\nContent-Length: 1000\r\n\r\nab")
	c.mustHear(http.StatusBadRequest)
	c.mustEnd()
	w.nothingHappened()
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	s := startWith(t, newWorld(t, nil), ServerOptions{}, short)
	c := s.connect()
	c.say(posted("alice", right, ""))
	c.mustHear(http.StatusOK)
	c.mustEnd()
}

// Large requests.

func TestAHeaderOf64KiBIsAcceptedAndALargerOneIsNot(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	ask := func(bytes int) raw {
		const begin = "GET " + verifyPath + " HTTP/1.1\r\nHost: x\r\nCookie: "
		c := s.connect()
		c.say(begin + strings.Repeat("x", bytes-len(begin)-4) + "\r\n\r\n")
		return c
	}
	ask(64 << 10).mustHear(http.StatusUnauthorized)
	c := ask(64<<10 + 8<<10) // net/http allows itself 4 KiB more
	c.mustHear(http.StatusRequestHeaderFieldsTooLarge)
	c.mustEnd()
	w.nothingHappened()
}

// A field of one letter takes a hundred bytes of memory, for as long as its request waits in line.
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
		"of as many names":      fields(maxHeaderFields+1, numbered),
		"of one name":           fields(maxHeaderFields+1, one),
		"as many as there fit":  fields(6000, numbered),
		"and of no name at all": fields(10000, one),
	} {
		c := s.connect()
		c.say(posted("alice", right, lines))
		_, body := c.mustHear(http.StatusRequestHeaderFieldsTooLarge)
		if !strings.Contains(body, "HEADER_TOO_LARGE") {
			t.Errorf("%s: %s", name, body)
		}
	}
	w.nothingHappened()
	c := s.connect()
	c.say(posted("alice", right, fields(maxHeaderFields-10, numbered)))
	c.mustHear(http.StatusOK)
}

func TestATooLargeBodyIsNotContinued(t *testing.T) {
	w := newWorld(t, nil)
	s := startWith(t, w, ServerOptions{}, short)
	c := s.connect()
	c.say(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", loginPath, serving.MaxBodyBytes+1))
	c.mustHear(http.StatusRequestEntityTooLarge) // and no 100
	c.mustEnd()
	w.nothingHappened()

	c = s.connect()
	head, body, _ := strings.Cut(posted("alice", right, "Expect: 100-continue\r\n"), "\r\n\r\n")
	c.say(head + "\r\n\r\n")
	c.mustHear(http.StatusContinue)
	c.say(body)
	c.mustHear(http.StatusOK)

	c = s.connect()
	c.say(posted("alice", right, "Expect: the unexpected\r\n"))
	c.mustHear(http.StatusExpectationFailed)
}

func TestAChunkedBodyHasTheSameLimit(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{})
	c := s.connect()
	c.say("POST " + loginPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 20 {
		c.say("400\r\n" + strings.Repeat(" ", 0x400) + "\r\n")
	}
	c.mustHear(http.StatusRequestEntityTooLarge)
	w.nothingHappened()
}

// Many connections.

// A connection that does nothing, or began something, keeps nobody out.
func TestAFloodOfConnectionsDoesNotBlockOtherClients(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{MaxConnections: 16})
	for i := range 100 {
		c := s.connect()
		switch i % 3 {
		case 1:
			c.say("POST " + loginPath + " HTTP/1.1\r\nHost: x\r\n")
		case 2:
			c.say("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n") // and idle from then on
			c.mustHear(http.StatusNotFound)
		}
		if i%10 == 0 {
			c := s.connect()
			c.say(posted("alice", right, ""))
			c.mustHear(http.StatusOK)
		}
	}
	// All come from one address, which may have half.
	if dropped := w.dropped(); dropped < 100 || dropped > 110 {
		t.Errorf("%v connections were dropped, of 110 all but 8", dropped)
	}
}

// dropped is the metric of connections that were.
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

// One connection is one request at a time, however many were sent.
func TestPipelinedRequestsAreAnsweredOneByOne(t *testing.T) {
	w := newWorld(t, nil)
	inside, goOn := make(chan struct{}, 10), make(chan struct{})
	w.tap.charged = func() error { inside <- struct{}{}; <-goOn; return nil }
	s := start(t, w, ServerOptions{})
	c := s.connect()
	for i := range 3 {
		c.say(posted(fmt.Sprint("nobody-", i), wrong, "")) // of three accounts, which do not wait for each other
	}
	<-inside
	if charges := w.tap.charges.Load(); charges != 1 {
		t.Errorf("%d attempts at once", charges)
	}
	close(goOn)
	for range 3 {
		c.mustHear(http.StatusUnauthorized)
	}
	if charges := w.tap.charges.Load(); charges != 3 {
		t.Errorf("%d attempts in all", charges)
	}
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}
