// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const closingRequest = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestOneAddressHasAFewRequestsAtOnce(t *testing.T) {
	inside, goOn := make(chan struct{}), make(chan struct{})
	address := listening(t, FewAtOnce(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-goOn
	}), 2, time.Hour).ServeHTTP, 8, func(*http.Server) {})
	answers := make(chan string, 2)
	for range 2 {
		c := dialed(t, address, false)
		go func() {
			answer, _ := sent(t, c, closingRequest)
			answers <- answer
		}()
		<-inside
	}
	if answer, err := sent(t, dialed(t, address, false), request); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 429 ") {
		t.Errorf("the third one: %v: %s", err, answer)
	}
	close(goOn)
	for range 2 {
		if answer := <-answers; !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Error(answer)
		}
	}
	go func() { <-inside }()
	if answer, err := sent(t, dialed(t, address, false), closingRequest); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("a later one: %v: %s", err, answer)
	}
}

func TestAConnectionWhoseRequestIsRefusedIsHeld(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		held   bool
	}{"refused": {http.StatusUnauthorized, true}, "served": {http.StatusOK, false}} {
		t.Run(name, func(t *testing.T) {
			address := listening(t, FewAtOnce(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
			}), 2, 20*glance).ServeHTTP, 8, func(*http.Server) {})
			c := dialed(t, address, false)
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			begun := time.Now()
			for r, i := bufio.NewReader(c), 0; i < 2; i++ {
				_, _ = io.WriteString(c, request)
				answer, err := http.ReadResponse(r, nil)
				if err != nil || answer.StatusCode != tt.status {
					t.Fatalf("%v, %v", answer, err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			if held := time.Since(begun) >= 20*glance; held != tt.held {
				t.Errorf("held: %v, want %v", held, tt.held)
			}
		})
	}
}
