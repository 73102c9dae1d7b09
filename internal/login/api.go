// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"unicode/utf8"
)

const (
	loginPath  = "/api/v1/auth/login"
	verifyPath = "/api/v1/auth/verify"

	// maxHeaderFields is the largest number of header fields of a request. A request keeps its header in memory while it is
	// queued, where short fields take many times their size.
	maxHeaderFields = 200
)

// api is the HTTP API.
type api struct {
	s       *Service
	trusted []netip.Prefix
}

// NewHandler returns the HTTP API of a Service, for requests that are complete ([serving.CompleteRequests]). It accepts the
// client addresses that trusted proxies report.
func NewHandler(s *Service, trusted []netip.Prefix) http.Handler { return &api{s, trusted} }

// ServeHTTP matches the paths without a mux, which would redirect the client paths that Envoy appends to the path of verify.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer a.recover(w)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if len(r.TransferEncoding) > 0 {
		// A proxy that forwarded a length too may take the next request for part of this body, so none may follow.
		w.Header().Set("Connection", "close")
	}
	switch path := r.URL.Path; {
	case path == documentPath:
		document(w, r)
	case path == keySetPath:
		a.keySet(w, r)
	case fields(r.Header) > maxHeaderFields:
		tooManyFields.write(w)
	case isVerify(path):
		a.verify(w, r)
	case path != loginPath:
		notFound.write(w)
	case r.Method != http.MethodPost:
		methodNotAllowed(w, http.MethodPost)
	default:
		a.login(w, r)
	}
}

// isVerify reports whether the path is that of verify, with or without a path that a gateway appended.
func isVerify(path string) bool { return path == verifyPath || strings.HasPrefix(path, verifyPath+"/") }

// fields returns the number of fields of a header; each value of a name counts.
func fields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// recover turns a panic into an error response, and logs it.
func (a *api) recover(w http.ResponseWriter) {
	defect := recover()
	if defect == nil {
		return
	}
	if defect == http.ErrAbortHandler { //nolint:errorlint // As net/http does: the panic value is the error itself.
		panic(defect)
	}
	// The value may contain secrets: it is logged by its type only, unless it is a runtime error.
	kind := fmt.Sprintf("%T", defect)
	if err, ok := defect.(runtime.Error); ok {
		kind = err.Error()
	}
	a.s.Log.Error("Recovered from a panic", slog.String("panic", kind), slog.String("stack", string(debug.Stack())))
	internal.write(w)
}

// login answers a request with a username and a password.
func (a *api) login(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	r.Body = http.NoBody // frees its memory while the attempt is queued
	credentials, ok := decode(body)
	if err != nil || !ok {
		badRequest.write(w)
		return
	}
	credentials.Source, credentials.UserAgent = sourceOf(r, a.trusted), r.UserAgent()

	result := a.s.LogIn(r.Context(), credentials)
	if result.Outcome != Succeeded {
		refusalOf(result, w.Header()).write(w)
		return
	}
	answer := struct {
		Token    string   `json:"token,omitempty"`
		Username string   `json:"username"`
		Roles    []string `json:"roles"`
	}{Username: result.Username, Roles: listed(result.Roles)}
	if a.s.Tokens != nil {
		if answer.Token, err = a.s.Tokens.issue(result); err != nil {
			a.s.Log.Error("Cannot sign a token", "error", err.Error())
			internal.write(w)
			return
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// decode returns the credentials in the body of a login: a JSON object with a username and a password, not empty, and nothing
// after it. It rejects invalid UTF-8, since the JSON decoder would map several passwords to one.
func decode(body []byte) (Credentials, bool) {
	var request *struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	if !utf8.Valid(body) || json.Unmarshal(body, &request) != nil || request == nil || request.Username == "" || request.Password == "" {
		return Credentials{}, false
	}
	return Credentials{Username: request.Username, Password: request.Password}, true
}

// verify answers a gateway that asks whether to accept a client's request. It ignores the method and the rest of the path,
// since some gateways forward those of the client.
func (a *api) verify(w http.ResponseWriter, r *http.Request) {
	result := a.passes(r)
	switch {
	case result.Outcome == Succeeded && carries(result.Username):
		w.Header().Set("X-Auth-Username", result.Username)
		w.Header().Set("X-Auth-Roles", carriedRoles(result.Roles))
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return
	case result.Outcome == Succeeded: // the gateway would read another username
		result = Result{Outcome: Failed}
	}
	refusal := refusalOf(result, w.Header())
	if refusal == unauthorized {
		w.Header().Add("WWW-Authenticate", `Basic realm="sharding system", charset="UTF-8"`)
		if a.s.Tokens != nil {
			w.Header().Add("WWW-Authenticate", `Bearer realm="sharding system"`)
		}
	}
	refusal.write(w)
}

func (a *api) passes(r *http.Request) Result {
	shown := r.Header.Values("Authorization")
	if len(shown) != 1 { // with two, the backend of the gateway may read the other one
		return Result{Outcome: Unknown}
	}
	if scheme, token, _ := strings.Cut(shown[0], " "); strings.EqualFold(scheme, "Bearer") {
		return a.s.Bearer(r.Context(), strings.TrimSpace(token))
	}
	username, password, ok := r.BasicAuth()
	if !ok {
		return Result{Outcome: Unknown}
	}
	return a.s.Verify(r.Context(), Credentials{
		Username: username, Password: password, Source: sourceOf(r, a.trusted), UserAgent: r.UserAgent(),
	})
}
