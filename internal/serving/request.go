// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// MaxBodyBytes is the maximum size of a request's body.
const MaxBodyBytes = 16 << 10

// The responses to requests that are never served, in the sharding system's format.
const (
	tooLargeBody   = `{"error":{"code":"PAYLOAD_TOO_LARGE","message":"The body is larger than 16 KiB"}}`
	incompleteBody = `{"error":{"code":"BAD_REQUEST","message":"The body is incomplete or malformed"}}`
	plainHTTPBody  = `{"error":{"code":"BAD_REQUEST","message":"This port serves HTTPS; use https:// instead of http://"}}`
)

// plainHTTPAnswer is written before anything of the request is parsed.
var plainHTTPAnswer = fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
	len(plainHTTPBody), plainHTTPBody)

// CompleteRequests returns a handler that reads the body of each request before next sees it. Until then the connection
// counts as waiting.
func CompleteRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > MaxBodyBytes { // also where the client waits for 100 Continue
			refuse(w, http.StatusRequestEntityTooLarge, tooLargeBody)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, MaxBodyBytes+1))
		switch {
		case len(body) > MaxBodyBytes:
			refuse(w, http.StatusRequestEntityTooLarge, tooLargeBody)
			return
		case err != nil:
			refuse(w, http.StatusBadRequest, incompleteBody)
			return
		case !serve(r.Context()):
			panic(http.ErrAbortHandler) // nobody would read the answer
		}
		complete := *r // net/http closes the original body by itself
		complete.Body = io.NopCloser(bytes.NewReader(body))
		r.Header = nil // net/http keeps r until next returns, which may hold the connection
		next.ServeHTTP(w, &complete)
	})
}

// refuse responds at once to a request whose body was not read to its end: net/http itself would read on first.
func refuse(w http.ResponseWriter, status int, body string) {
	_ = http.NewResponseController(w).EnableFullDuplex() // where it cannot, the answer is late
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}
