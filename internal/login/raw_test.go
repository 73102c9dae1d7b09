// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"
)

// patience is the longest time that a client waits for an expected answer.
const patience = 10 * time.Second

// raw is a TLS connection on which a test sends any bytes.
type raw struct {
	*tls.Conn
	t testing.TB
	r *bufio.Reader
}

func (s *served) connect() raw {
	s.t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	c, err := dialer.DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return raw{c.(*tls.Conn), s.t, bufio.NewReader(c)}
}

// send sends a text. It ignores errors: a server that closed the connection may have answered before.
func (c raw) send(text string) {
	_, _ = io.WriteString(c.Conn, text)
}

// receive returns the next answer, with status 0 if the connection was closed.
func (c raw) receive() (status int, header http.Header, body string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(c.r, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the server neither answered nor closed the connection")
	}
	if err != nil {
		return 0, nil, ""
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Error(err)
	}
	return answer.StatusCode, answer.Header, string(content)
}

func (c raw) mustAnswer(want int) (header http.Header, body string) {
	c.t.Helper()
	status, header, body := c.receive()
	if status != want {
		c.t.Fatalf("the answer is %d %s, want %d", status, body, want)
	}
	return header, body
}

// mustEnd fails the test unless the server closes the connection without another answer.
func (c raw) mustEnd() {
	c.t.Helper()
	if status, _, body := c.receive(); status != 0 {
		c.t.Errorf("there is one more answer: %d %s", status, body)
	}
}

// posted returns the request of a login with additional header lines.
func posted(username, password, lines string) string {
	body := `{"username":"` + username + `","password":"` + password + `"}`
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", loginPath, len(body), lines, body)
}

// nothingHappened fails the test if the store was called.
func (w *world) nothingHappened() {
	w.t.Helper()
	if charges, looks := w.tap.charges.Load(), w.tap.looks.Load(); charges+looks != 0 {
		w.t.Errorf("there were %d charges and %d looks", charges, looks)
	}
}
