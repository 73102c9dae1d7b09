// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const answerWithin = 10 * time.Second

// A connection is one TLS connection to the login API. Unlike http.Client it never sends a request twice, so that a reset
// connection is seen.
type connection struct {
	tls    *tls.Conn
	reader *bufio.Reader
}

func connect(address string) (*connection, error) {
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: answerWithin},
		Config:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate is self-signed
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{tls: c.(*tls.Conn), reader: bufio.NewReader(c)}, nil
}

// ask sends a request. If closed is true, the server ended the connection after its answer.
func (c *connection) ask(request []byte) (status int, body string, closed bool, err error) {
	if err := c.tls.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return 0, "", true, err
	}
	if _, err := c.tls.Write(request); err != nil {
		return 0, "", true, err
	}
	answer, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, "", true, err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), answer.Close, err
}

func (c *connection) close() { _ = c.tls.Close() }

// ask sends a request on a new connection.
func ask(address string, request []byte) (status int, body string, err error) {
	c, err := connect(address)
	if err != nil {
		return 0, "", err
	}
	defer c.close()
	status, body, _, err = c.ask(request)
	return status, body, err
}

func loginRequest(username, password string) []byte {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: login\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		testenv.LoginPath, len(body), body)
}

func verifyRequest(authorization string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: login\r\nAuthorization: %s\r\n\r\n", testenv.VerifyPath, authorization)
}

// A tally counts the outcomes of requests.
type tally struct {
	sent, ok, refused, reset, errors5xx, timeouts, others int
	slowest                                               time.Duration
	firstFailure, lastFailure                             time.Time // when the request was sent
	examples                                              []string
}

func (a *tally) failed() int { return a.sent - a.ok }

func (a *tally) count(began time.Time, status int, err error) {
	a.sent++
	a.slowest = max(a.slowest, time.Since(began))
	var timeout net.Error
	switch {
	case err == nil && status == http.StatusOK:
		a.ok++
		return
	case err == nil && status >= 500:
		a.errors5xx++
	case errors.Is(err, syscall.ECONNREFUSED):
		a.refused++
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		a.reset++
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		a.timeouts++
	default:
		a.others++
	}
	if a.firstFailure.IsZero() {
		a.firstFailure = began
	}
	if began.After(a.lastFailure) {
		a.lastFailure = began
	}
	if len(a.examples) < 5 {
		a.examples = append(a.examples, fmt.Sprintf("status %d, error %v", status, err))
	}
}

func (a *tally) add(b *tally) *tally {
	sum := tally{
		sent: a.sent + b.sent, ok: a.ok + b.ok, refused: a.refused + b.refused, reset: a.reset + b.reset,
		errors5xx: a.errors5xx + b.errors5xx, timeouts: a.timeouts + b.timeouts, others: a.others + b.others,
		slowest: max(a.slowest, b.slowest), firstFailure: a.firstFailure, lastFailure: a.lastFailure,
		examples: append(append([]string{}, a.examples...), b.examples...),
	}
	if sum.firstFailure.IsZero() || (!b.firstFailure.IsZero() && b.firstFailure.Before(sum.firstFailure)) {
		sum.firstFailure = b.firstFailure
	}
	if b.lastFailure.After(sum.lastFailure) {
		sum.lastFailure = b.lastFailure
	}
	return &sum
}

// A load sends right logins, each on a new connection, and requests of gateways to verify on kept connections, each at a
// constant rate.
type load struct {
	address string
	stop    context.CancelFunc
	senders sync.WaitGroup

	mu       sync.Mutex
	logins   tally
	verifies tally
}

const (
	loginsPerSecond   = 20
	verifiesPerSecond = 200
	gateways          = 10 // kept connections
)

func startLoad(address string, logins [][]byte, verify []byte) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{address: address, stop: stop}
	began := time.Now()
	l.senders.Go(func() {
		for n := range every(ctx, began, time.Second/loginsPerSecond) {
			l.senders.Go(func() {
				began := time.Now()
				status, _, err := ask(address, logins[n%len(logins)])
				l.count(&l.logins, began, status, err)
			})
		}
	})
	for i := range gateways {
		l.senders.Go(func() { l.gateway(ctx, began.Add(time.Duration(i)*time.Second/verifiesPerSecond), verify) })
	}
	return l
}

// gateway sends the requests of one kept connection.
func (l *load) gateway(ctx context.Context, began time.Time, verify []byte) {
	var kept *connection
	for range every(ctx, began, time.Second*gateways/verifiesPerSecond) {
		began, status, closed := time.Now(), 0, false
		var err error
		if kept == nil {
			kept, err = connect(l.address)
		}
		if err == nil {
			status, _, closed, err = kept.ask(verify)
		}
		l.count(&l.verifies, began, status, err)
		if kept != nil && (closed || err != nil) {
			kept.close()
			kept = nil
		}
	}
	if kept != nil {
		kept.close()
	}
}

func (l *load) count(a *tally, began time.Time, status int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.count(began, status, err)
}

// every yields the numbers of the moments began, began + interval, ... until the context ends. It omits moments that passed.
func every(ctx context.Context, began time.Time, interval time.Duration) func(func(int) bool) {
	return func(yield func(int) bool) {
		timer := time.NewTimer(time.Until(began))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if !yield(int(time.Since(began) / interval)) {
				return
			}
			next := time.Since(began)/interval + 1
			timer.Reset(time.Until(began.Add(next * interval)))
		}
	}
}

// sent returns the number of answered requests to verify.
func (l *load) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verifies.sent
}

// end stops the load, and returns the outcomes after the last answer.
func (l *load) end() (logins, verifies *tally) {
	l.stop()
	l.senders.Wait()
	return &l.logins, &l.verifies
}

func (a *tally) String() string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d sent, %d refused, %d reset, %d 5xx, %d without an answer, %d others, slowest %s",
		a.sent, a.refused, a.reset, a.errors5xx, a.timeouts, a.others, a.slowest.Round(time.Millisecond))
	for _, example := range a.examples {
		fmt.Fprintf(&out, "\n  %s", example)
	}
	return out.String()
}
