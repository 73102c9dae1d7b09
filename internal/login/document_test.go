// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// requesting returns a request to the server of a world.
type requesting func(w *world) *http.Request

func posting(body string) requesting {
	return func(w *world) *http.Request {
		r := w.request(http.MethodPost, loginPath, body)
		r.Header.Set("Content-Type", "application/json")
		return r
	}
}

func asking(method, path string) requesting {
	return func(w *world) *http.Request { return w.request(method, path, "") }
}

func withBasic(password string) requesting {
	return func(w *world) *http.Request {
		r := w.verifying()
		r.SetBasicAuth("alice", password)
		return r
	}
}

func withManyFields(request requesting) requesting {
	return func(w *world) *http.Request {
		r := request(w)
		for range maxHeaderFields {
			r.Header.Add("A", "")
		}
		return r
	}
}

func withALongBody(request requesting) requesting {
	return func(w *world) *http.Request {
		r := request(w)
		r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 17<<10)))
		return r
	}
}

func TestTheHandlersMatchTheDescription(t *testing.T) {
	const (
		login    = "POST " + loginPath
		verify   = "GET " + verifyPath
		document = "GET " + documentPath
		keys     = "GET " + keySetPath
	)
	rightLogIn := posting(`{"username":"alice","password":"` + right + `"}`)
	wrongLogIn := posting(`{"username":"alice","password":"` + wrong + `"}`)
	anonymous := func(w *world) *http.Request { return w.verifying() }
	token := func(w *world) *http.Request { return w.verifying("Bearer " + w.token()) }
	noToken := func(w *world) *http.Request { return w.verifying("Bearer a.b.c") }

	d := readDocument(t)
	for name, tt := range map[string]struct {
		operation string
		request   requesting
		status    int
		given     func(*world) // prepares the world
		forbidden bool         // the description does not allow the request
	}{
		"a login":                              {operation: login, request: rightLogIn, status: 200},
		"a login without roles":                {operation: login, request: rightLogIn, status: 200, given: (*world).takesRoles},
		"a login for a token":                  {operation: login, request: rightLogIn, status: 200, given: (*world).signsTokens},
		"a login with an unknown field":        {operation: login, request: posting(`{"username":"alice","password":"` + right + `","device":"x"}`), status: 200},
		"a login with an empty body":           {operation: login, request: posting(``), status: 400, forbidden: true},
		"a login with an array":                {operation: login, request: posting(`[]`), status: 400, forbidden: true},
		"a login without a username":           {operation: login, request: posting(`{"password":"x"}`), status: 400, forbidden: true},
		"a login without a password":           {operation: login, request: posting(`{"username":"alice"}`), status: 400, forbidden: true},
		"a login with an empty password":       {operation: login, request: posting(`{"username":"alice","password":""}`), status: 400, forbidden: true},
		"a login with null for a password":     {operation: login, request: posting(`{"username":"alice","password":null}`), status: 400, forbidden: true},
		"a login with a number for a username": {operation: login, request: posting(`{"username":1,"password":"x"}`), status: 400, forbidden: true},
		"a login with a wrong password":        {operation: login, request: wrongLogIn, status: 401},
		"a login while locked":                 {operation: login, request: rightLogIn, status: 401, given: (*world).locks},
		"a login by GET":                       {operation: login, request: asking(http.MethodGet, loginPath), status: 405, forbidden: true},
		"a login of 17 KiB":                    {operation: login, request: posting(`{"username":"alice","password":"` + strings.Repeat("x", 17<<10) + `"}`), status: 413},
		"a throttled login":                    {operation: login, request: rightLogIn, status: 429, given: (*world).throttles},
		"a login while the cores are busy":     {operation: login, request: rightLogIn, status: 429, given: (*world).isBusy},
		"a login with many header fields":      {operation: login, request: withManyFields(rightLogIn), status: 431},
		"a login that panics":                  {operation: login, request: rightLogIn, status: 500, given: (*world).hasADefect},
		"a login without a database":           {operation: login, request: rightLogIn, status: 503, given: (*world).losesItsDatabase},
		"Basic credentials":                    {operation: verify, request: withBasic(right), status: 200},
		"Basic credentials without roles":      {operation: verify, request: withBasic(right), status: 200, given: (*world).takesRoles},
		"a token":                              {operation: verify, request: token, status: 200, given: (*world).signsTokens},
		"no credentials":                       {operation: verify, request: anonymous, status: 401, forbidden: true},
		"no credentials, with tokens enabled":  {operation: verify, request: anonymous, status: 401, given: (*world).signsTokens, forbidden: true},
		"wrong Basic credentials":              {operation: verify, request: withBasic(wrong), status: 401},
		"an invalid token":                     {operation: verify, request: noToken, status: 401},
		"credentials and a body of 17 KiB":     {operation: verify, request: withALongBody(withBasic(right)), status: 413},
		"throttled credentials":                {operation: verify, request: withBasic(wrong), status: 429, given: (*world).throttles},
		"credentials and many header fields":   {operation: verify, request: withManyFields(withBasic(right)), status: 431},
		"credentials that panic":               {operation: verify, request: withBasic(right), status: 500, given: (*world).hasADefect},
		"credentials without a database":       {operation: verify, request: withBasic(right), status: 503, given: (*world).losesItsDatabase},
		"the description":                      {operation: document, request: asking(http.MethodGet, documentPath), status: 200},
		"HEAD of the description":              {operation: "HEAD " + documentPath, request: asking(http.MethodHead, documentPath), status: 200},
		"PUT of the description":               {operation: document, request: asking(http.MethodPut, documentPath), status: 405, forbidden: true},
		"the keys":                             {operation: keys, request: asking(http.MethodGet, keySetPath), status: 200, given: (*world).signsWithAKey},
		"HEAD of the keys":                     {operation: "HEAD " + keySetPath, request: asking(http.MethodHead, keySetPath), status: 200, given: (*world).signsWithAKey},
		"the keys of a server without them":    {operation: keys, request: asking(http.MethodGet, keySetPath), status: 404},
		"PUT of the keys":                      {operation: keys, request: asking(http.MethodPut, keySetPath), status: 405, forbidden: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			if tt.given != nil {
				tt.given(w)
			}
			if err := d.allows(tt.operation, tt.request(w)); (err != nil) != tt.forbidden {
				t.Errorf("the description rejects the request: %v", err)
			}
			a := w.serve(tt.request(w))
			if a.Code != tt.status {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if err := d.expects(tt.operation, a); err != nil {
				t.Errorf("the description rejects the answer %d: %v", a.Code, err)
			}
		})
	}
	for _, unseen := range d.unseen() {
		t.Errorf("no answer has %s, which is in the description", unseen)
	}
}

// OpenAPI has no syntax for these paths, so the description has them in words.
func TestPathsThatTheDescriptionHasInWords(t *testing.T) {
	d := readDocument(t)
	w := newWorld(t, nil)
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		r := w.request(method, verifyPath+"/any/path", "")
		r.SetBasicAuth("alice", right)
		if err := d.expects("GET "+verifyPath, w.serve(r)); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	var answer any
	a := w.serve(w.request(http.MethodGet, "/", ""))
	if err := json.Unmarshal(a.Body.Bytes(), &answer); err != nil || a.Code != http.StatusNotFound {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	if err := d.Components.Schemas["Error"].Value.VisitJSON(answer, openapi3.EnableJSONSchema2020()); err != nil {
		t.Error(err)
	}
}

func TestTheDescriptionIsCacheable(t *testing.T) {
	w := newWorld(t, nil)
	whole, head := w.serve(w.request(http.MethodGet, documentPath, "")), w.serve(w.request(http.MethodHead, documentPath, ""))
	for _, header := range []string{"Cache-Control", "Content-Type", "Content-Length"} {
		if got := whole.Header().Get(header); got == "" || got == "no-store" || got != head.Header().Get(header) {
			t.Errorf("%s is %q, and of the head %q", header, got, head.Header().Get(header))
		}
	}
	if head.Body.Len() != 0 {
		t.Error("the head has a body")
	}
	if w.tap.charges.Load()+w.tap.looks.Load() != 0 {
		t.Error("it cost the store something")
	}
}

func (w *world) request(method, path, body string) *http.Request {
	return httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
}

func (w *world) takesRoles() { w.edit("alice", func(row *user.Row) { row.Roles = nil }) }

func (w *world) signsTokens() {
	file := filepath.Join(w.t.TempDir(), "secret")
	write(w.t, file, secret)
	var err error
	if w.Tokens, err = NewTokens(tokenOptions(TokenOptions{Secret: file}, w.Now, w.Log)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) signsWithAKey() {
	file := filepath.Join(w.t.TempDir(), "key")
	write(w.t, file, newEd25519(w.t))
	var err error
	if w.Tokens, err = NewTokens(tokenOptions(TokenOptions{Key: file}, w.Now, w.Log)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) locks() {
	for range w.Limits.Attempts {
		w.try("alice", wrong)
	}
}

func (w *world) throttles() {
	w.throttle = newThrottle(Options{SourceRate: 1}.rate(), 1)
	w.serve(w.request(http.MethodPost, loginPath, `{"username":"bob","password":"x"}`))
}

func (w *world) isBusy() {
	for {
		place, err := w.Hasher.Reserve(fair.Key{})
		if err != nil {
			return
		}
		w.t.Cleanup(place.Release)
	}
}

func (w *world) hasADefect()       { w.tap.charging = func() error { panic("a defect") } }
func (w *world) losesItsDatabase() { w.tap.charging = unavailableStore }

// described is the OpenAPI description, and the parts of it that answers have had.
type described struct {
	*openapi3.T
	seen map[string]bool
}

// readDocument requests the description from the API.
func readDocument(t *testing.T) *described {
	t.Helper()
	w := newWorld(t, nil)
	document, err := openapi3.NewLoader().LoadFromData(w.serve(w.request(http.MethodGet, documentPath, "")).Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &described{document, map[string]bool{}}
}

// route returns the route of an operation, which is a method and a path.
func (d *described) route(operation string) *routers.Route {
	method, path, _ := strings.Cut(operation, " ")
	item := d.Paths.Value(path)
	return &routers.Route{Spec: d.T, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)}
}

// allows returns an error if the operation does not allow the request.
func (d *described) allows(operation string, r *http.Request) error {
	route := d.route(operation)
	if r.Method != route.Method {
		return fmt.Errorf("%s is not %s", r.Method, route.Method)
	}
	return openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request: r, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: carriesCredentials},
	})
}

func carriesCredentials(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	scheme, _, _ := strings.Cut(in.RequestValidationInput.Request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, in.SecurityScheme.Scheme) {
		return fmt.Errorf("it has no %s credentials", in.SecurityScheme.Scheme)
	}
	return nil
}

// expects returns an error if the operation does not have the answer, and marks the parts of the answer as seen.
func (d *described) expects(operation string, a *httptest.ResponseRecorder) error {
	route := d.route(operation)
	response := route.Operation.Responses.Status(a.Code)
	if response == nil {
		return errors.New("there is no such status")
	}
	place := fmt.Sprintf("%s %d", operation, a.Code)
	d.seen[place] = true
	described := headersIn(response)
	for name := range a.Header() {
		switch {
		case slices.Contains(described, name):
			d.seen[place+" "+name] = true
		case name != "Content-Type" && name != "Content-Length": // these belong to the content
			return fmt.Errorf("there is no such header: %s", name)
		}
	}
	if len(response.Value.Content) == 0 && a.Body.Len() > 0 {
		return errors.New("there is no body")
	}
	var body any
	if json.Unmarshal(a.Body.Bytes(), &body) == nil {
		for _, field := range fieldsOf(body) {
			d.seen[place+" "+field] = true
		}
	}

	// The library checks only one value of each header, and none in answers to HEAD.
	asked := httptest.NewRequestWithContext(context.Background(), http.MethodGet, route.Path, nil)
	for i := range max(1, len(a.Header()["Www-Authenticate"])) {
		header := a.Header().Clone()
		if several := header["Www-Authenticate"]; len(several) > 0 {
			header["Www-Authenticate"] = several[i : i+1]
		}
		err := openapi3filter.ValidateResponse(asked.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: asked, Route: route},
			Status:                 a.Code,
			Header:                 header,
			Body:                   io.NopCloser(bytes.NewReader(a.Body.Bytes())),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unseen returns the parts of the description that no answer had.
func (d *described) unseen() []string {
	var unseen []string
	look := func(what string) {
		if !d.seen[what] {
			unseen = append(unseen, what)
		}
	}
	for path, item := range d.Paths.Map() {
		for method, operation := range item.Operations() {
			for status, response := range operation.Responses.Map() {
				place := method + " " + path + " " + status
				look(place)
				for _, header := range headersIn(response) {
					look(place + " " + header)
				}
				for _, content := range response.Value.Content {
					for _, field := range fieldsIn(content.Schema) {
						look(place + " " + field)
					}
				}
			}
		}
	}
	return unseen
}

// headersIn returns the canonical names of a response's headers.
func headersIn(response *openapi3.ResponseRef) []string {
	var headers []string
	for name := range response.Value.Headers {
		headers = append(headers, http.CanonicalHeaderKey(name))
	}
	return headers
}

// fieldsOf returns the fields of a JSON value.
func fieldsOf(value any) []string {
	var fields []string
	object, _ := value.(map[string]any)
	for name, inner := range object {
		fields = append(fields, name)
		for _, field := range fieldsOf(inner) {
			fields = append(fields, name+"."+field)
		}
	}
	return fields
}

// fieldsIn returns the fields of a schema.
func fieldsIn(schema *openapi3.SchemaRef) []string {
	var fields []string
	for name, inner := range schema.Value.Properties {
		fields = append(fields, name)
		for _, field := range fieldsIn(inner) {
			fields = append(fields, name+"."+field)
		}
	}
	return fields
}
