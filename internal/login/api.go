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

	// maxHeaderFields is how many a request may have that waits in line: in memory, a short one is many times its size.
	maxHeaderFields = 200
)

// api is the HTTP API.
type api struct {
	s       *Service
	trusted []netip.Prefix
}

// NewHandler returns the HTTP API over a Service, for requests that are complete ([serving.CompleteRequests]). What the
// trusted proxies say of a client's address is believed.
func NewHandler(s *Service, trusted []netip.Prefix) http.Handler { return &api{s, trusted} }

// ServeHTTP knows its paths by itself, since a mux would redirect the clients' paths that Envoy puts behind verify's.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer a.recover(w)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if len(r.TransferEncoding) > 0 {
		// Whoever passed on a length as well takes what follows this body for part of it: nothing may follow.
		w.Header().Set("Connection", "close")
	}
	switch path := r.URL.Path; {
	case path == documentPath:
		document(w, r)
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

// isVerify tells whether the path is verify's, or one that a gateway put behind it.
func isVerify(path string) bool { return path == verifyPath || strings.HasPrefix(path, verifyPath+"/") }

// fields is how many fields a header has, those of one name one by one.
func fields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// recover keeps a defect to its request, and what it knows to the log.
func (a *api) recover(w http.ResponseWriter) {
	defect := recover()
	if defect == nil {
		return
	}
	if defect == http.ErrAbortHandler { //nolint:errorlint // As net/http does: the value itself is thrown.
		panic(defect)
	}
	// Of the value only its kind, unless the runtime made it: it may quote anything.
	kind := fmt.Sprintf("%T", defect)
	if err, ok := defect.(runtime.Error); ok {
		kind = err.Error()
	}
	a.s.Log.Error("Recovered from a panic", slog.String("panic", kind), slog.String("stack", string(debug.Stack())))
	internal.write(w)
}

// login answers whoever posts username and password.
func (a *api) login(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	r.Body = http.NoBody // so that its memory is free while the attempt waits
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
		if answer.Token, err = a.s.Tokens.issue(result.Username, result.Roles, result.hash); err != nil {
			a.s.Log.Error("Cannot sign a token", "error", err.Error())
			internal.write(w)
			return
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// decode reads a log-in's body: a JSON object with username and password, both not empty, and nothing after it. JSON
// that is not UTF-8 is none; the decoder would make one password of many.
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

// verify answers a gateway that asks whether its client's request may pass. Whatever that client's method and the rest
// of its path are: some gateways pass them on.
func (a *api) verify(w http.ResponseWriter, r *http.Request) {
	result := a.passes(r)
	switch {
	case result.Outcome == Succeeded && carries(result.Username):
		w.Header().Set("X-Auth-Username", result.Username)
		w.Header().Set("X-Auth-Roles", carriedRoles(result.Roles))
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return
	case result.Outcome == Succeeded: // its name would reach the gateway as another one
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
	if len(shown) != 1 { // none, or of two one does not know which the gateway's own backend would read
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
