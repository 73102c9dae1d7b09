// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// encrypted serves over TLS with limits, and returns the address.
func encrypted(t *testing.T, handler http.HandlerFunc) (address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := certified(t, key)
	config := TLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(handler, config, slog.New(slog.DiscardHandler))
	go func() { _ = server.ServeTLS(Limit(l, Limits{Connections: 64}), "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// sent writes a whole request before it reads. It returns the response and what follows it, which is nothing if the
// connection ended properly.
func sent(t *testing.T, c net.Conn, request string) (answer string, err error) {
	t.Helper()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return "", fmt.Errorf("write: %w", err)
	}
	content, err := io.ReadAll(c)
	return string(content), err
}

func dialed(t *testing.T, address string, overTLS bool) net.Conn {
	t.Helper()
	dial := new(net.Dialer).DialContext
	if overTLS {
		dial = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext
	}
	c, err := dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// For any method and size of the request, the response is one sentence, and the connection is not reset.
func TestPlainHTTPOnATLSPortGetsASentence(t *testing.T) {
	address := encrypted(t, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PRI"} {
		for _, size := range []int{0, 1 << 10, 100 << 10, 1 << 20} {
			request := fmt.Sprintf("%s / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, size, strings.Repeat("x", size))
			answer, err := sent(t, dialed(t, address, false), request)
			if err != nil {
				t.Errorf("%s with a body of %d: %v", method, size, err)
			}
			head, body, _ := strings.Cut(answer, "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 400 Bad Request\r\n") || !strings.Contains(head, "Connection: close") ||
				body != `{"error":{"code":"BAD_REQUEST","message":"This port serves HTTPS; use https:// instead of http://"}}` {
				t.Errorf("%s with a body of %d is answered %q", method, size, answer)
			}
		}
	}
}

// A client that uses neither plain HTTP nor TLS gets no response.
func TestInputThatIsNotHTTPGetsNoResponse(t *testing.T) {
	address := encrypted(t, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
	for _, bytes := range []string{"\x00\x01\x02\x03\x04\x05\x06\x07", "get / http", "\xff\xff\xff\xff\xff\xff"} {
		if answer, _ := sent(t, dialed(t, address, false), bytes); strings.Contains(answer, "HTTP/1") {
			t.Errorf("%q is answered %q", bytes, answer)
		}
	}
}

// refused are requests that get a response before they are read, by that response.
func refused(size int) map[string]string {
	chunked := new(strings.Builder)
	chunked.WriteString(post + "Transfer-Encoding: chunked\r\n\r\n")
	for left := size; left > 0; left -= 1000 {
		n := min(left, 1000)
		fmt.Fprintf(chunked, "%x\r\n%s\r\n", n, strings.Repeat("x", n))
	}
	chunked.WriteString("0\r\n\r\n")
	body := strings.Repeat("x", size)
	return map[string]string{
		"413 with a length":      post + fmt.Sprintf("Content-Length: %d\r\n\r\n", size) + body,
		"413 in chunks":          chunked.String(),
		"400 for a bad chunk":    post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
		"431 for a large header": post + "X: " + strings.Repeat("x", 64<<10) + body + "\r\n\r\n",
		"501 for an encoding":    post + "Transfer-Encoding: gzip\r\n\r\n" + body,
		"400 for no host":        "POST / HTTP/1.1\r\n\r\n" + body,
	}
}

// A client that writes everything before it reads gets the response and then the end of the connection, never a reset.
func TestTheAnswerToARefusedRequestIsRead(t *testing.T) {
	for _, overTLS := range []bool{true, false} {
		for _, size := range []int{17 << 10, 200 << 10, 1 << 20} {
			for name, request := range refused(size) {
				t.Run(fmt.Sprintf("%s of %d KiB, TLS %v", name, size>>10, overTLS), func(t *testing.T) {
					t.Parallel()
					address := newPlain(t)
					if overTLS {
						address = encrypted(t, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
					}
					for range 3 {
						answer, err := sent(t, dialed(t, address, overTLS), request)
						if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 "+name[:3]) {
							t.Errorf("the answer is %.60q: %v", answer, err)
						}
					}
				})
			}
		}
	}
}

// newPlain serves without TLS, with limits.
func newPlain(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(http.NotFoundHandler(), nil, slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(Limit(l, Limits{Connections: 64})) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// Go's client reads while it writes, and stops one for an error of the other.
func TestGosClientReadsTheAnswerToALargeBody(t *testing.T) {
	address := encrypted(t, func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	for _, size := range []int{17 << 10, 200 << 10, 1 << 20} {
		for range 8 {
			for name, body := range map[string]io.Reader{
				"with a length": bytes.NewReader(make([]byte, size)),
				"in chunks":     io.MultiReader(bytes.NewReader(make([]byte, size))),
			} {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address, body)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
				if err != nil {
					t.Errorf("%d KiB %s: %v", size>>10, name, err)
					continue
				}
				content, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				if err != nil || answer.StatusCode != http.StatusRequestEntityTooLarge || string(content) != tooLargeBody {
					t.Errorf("%d KiB %s: %d %s: %v", size>>10, name, answer.StatusCode, content, err)
				}
			}
		}
	}
}

// Input that continues after the response is read within limits only.
func TestABodyWithoutEndIsCutOff(t *testing.T) {
	c := dialed(t, newPlain(t), false)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := io.WriteString(c, post+"Content-Length: 1000000000\r\n\r\n")
	written := 0
	for err == nil && ctx.Err() == nil {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		var n int
		n, err = c.Write(make([]byte, 64<<10))
		written += n
	}
	if err == nil || errors.Is(err, context.DeadlineExceeded) || written > 100<<20 {
		t.Errorf("%d bytes were taken: %v", written, err)
	}
}
