// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// If two programs read a request differently, a client can smuggle a request into that of another client.
func TestAmbiguousRequestsAreRejected(t *testing.T) {
	body := `{"username":"alice","password":"` + right + `"}`
	post := "POST " + loginPath + " HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"two lengths":                      post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
		"a list of lengths":                post + "Content-Length: 5, 6\r\n\r\n" + body,
		"a length with a sign":             post + "Content-Length: +5\r\n\r\n" + body,
		"a negative length":                post + "Content-Length: -1\r\n\r\n" + body,
		"a length in hexadecimal":          post + "Content-Length: 0x5\r\n\r\n" + body,
		"two encodings":                    post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"another encoding":                 post + "Transfer-Encoding: xchunked\r\n\r\n" + body,
		"a list of encodings":              post + "Transfer-Encoding: gzip, chunked\r\n\r\n" + body,
		"an encoding after a vertical tab": post + "Transfer-Encoding:\x0bchunked\r\n\r\n" + body,
		"a space before the colon":         post + "Content-Length : 5\r\n\r\n" + body,
		"a field without a name":           post + ": 5\r\n\r\n" + body,
		"a line without a colon":           post + "Content-Length\r\n\r\n" + body,
		"a bare carriage return":           post + "X: a\rContent-Length: 5\r\n\r\n" + body,
		"a NUL":                            post + "X: a\x00b\r\n\r\n" + body,
		"an escape character":              post + "User-Agent: \x1b[31m\r\n\r\n" + body,
		"no host":                          "POST " + loginPath + " HTTP/1.1\r\n\r\n" + body,
		"two hosts":                        post + "Host: y\r\n\r\n" + body,
		"a space in the path":              "POST /a b HTTP/1.1\r\nHost: x\r\n\r\n",
		"another protocol":                 "POST " + loginPath + " HTTP/3.0\r\nHost: x\r\n\r\n",
		"a chunk with an invalid size":     post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
		"a chunk with a huge size":         post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + body,
		"a chunk without its end":          post + "Transfer-Encoding: chunked\r\n\r\n2\r\n" + body,
		"a chunk with a bare line feed":    post + "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n",
		"HTTP/2 without negotiation":       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			s := start(t, w, ServerOptions{})
			c := s.connect()
			c.send(request)
			if status, _, _ := c.receive(); status < 400 || status == http.StatusUnauthorized || status >= 600 {
				t.Errorf("the answer is %d", status)
			}
			w.nothingHappened()
			c.mustEnd()
		})
	}
}

// By RFC 9112, Go uses the chunks if there is a length as well. A proxy may have used the length, so no request may follow on the
// connection.
func TestNoRequestFollowsAChunkedBody(t *testing.T) {
	for name, lines := range map[string]string{"chunks": "", "chunks and a length": "Content-Length: 4\r\n"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			s := start(t, w, ServerOptions{})
			c := s.connect()
			c.send("POST " + loginPath + " HTTP/1.1\r\nHost: x\r\n" + lines + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
				posted("alice", right, ""))
			c.mustAnswer(http.StatusBadRequest) // for an empty body
			c.mustEnd()
			w.nothingHappened()
		})
	}
}

// Fields after the body are not part of the header.
func TestTrailersAreIgnored(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	chunked := func(path, chunks, trailer string) raw {
		c := s.connect()
		c.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nTrailer: Authorization, X-Forwarded-For, User-Agent\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n" + chunks + "0\r\n" + trailer + "\r\n")
		return c
	}
	chunked(verifyPath, "", "Authorization: "+basic("alice", right)+"\r\n").mustAnswer(http.StatusUnauthorized)
	w.nothingHappened()

	body := `{"username":"alice","password":"` + wrong + `"}`
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	chunked(loginPath, chunk, "X-Forwarded-For: 192.0.2.1\r\nUser-Agent: forged\r\n").mustAnswer(http.StatusUnauthorized)
	w.settling.Wait()
	if a := w.store.Attempts(); len(a) != 1 || a[0].Source != "127.0.0.1" || a[0].UserAgent != "" {
		t.Errorf("the record has %+v", a)
	}
	// A trailer that does not end is an error.
	w.tap.charges.Store(0)
	chunked(loginPath, chunk, "X: "+strings.Repeat("x", 1<<20)+"\r\n").mustAnswer(http.StatusBadRequest)
	if w.tap.charges.Load() != 0 {
		t.Error("it was charged")
	}
}

// Each attempt is one line in the log with only printable characters, for any request.
func TestClientsCannotBreakLogLines(t *testing.T) {
	w := newWorld(t, nil)
	s := start(t, w, ServerOptions{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	strange := "\xff\x9b31m\u2028\u202e\u0085"
	for _, request := range []string{
		posted(`alice\u000a{\"level\":\"INFO\"}\u001b[2J\u0000`, wrong, "User-Agent: "+strange+"\r\nX-Forwarded-For: "+strange+"\r\n"),
		"GET " + verifyPath + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + basic("alice\r\nx"+strange, wrong) + "\r\nUser-Agent: a\tb\r\n\r\n",
		"GET /" + strings.Repeat("%0a%1b", 50) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"\x00\x1b[31m\n\n",
	} {
		c := s.connect()
		c.send(request)
		c.receive()
	}
	w.settling.Wait()
	attempts := 0
	for line := range bytes.Lines([]byte(w.log.String())) {
		var entry struct{ Msg string }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Errorf("%q is not one record: %v", line, err)
		}
		for _, c := range string(bytes.TrimSuffix(line, []byte("\n"))) {
			if c < ' ' || c == 0x7f || c == '\u2028' || c == '\u202e' || c == '\u0085' || c == '\ufffd' || c == 0x9b {
				t.Errorf("%q has %U", line, c)
			}
		}
		if entry.Msg == "Login attempt" {
			attempts++
		}
	}
	if attempts != 2 {
		t.Errorf("%d attempts are logged, want 2:\n%s", attempts, w.log)
	}
}
