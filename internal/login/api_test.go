// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/fair"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestInvalidBodiesAreRejectedWithoutALookup(t *testing.T) {
	const refusal = `{"error":{"code":"BAD_REQUEST","message":"The body must be a JSON object with username and password"}}`
	for name, tt := range map[string]struct {
		body   string
		status int
	}{
		"nothing":                          {``, http.StatusBadRequest},
		"no JSON":                          {`username=alice&password=x`, http.StatusBadRequest},
		"null":                             {`null`, http.StatusBadRequest},
		"an array":                         {`[]`, http.StatusBadRequest},
		"a string":                         {`"alice"`, http.StatusBadRequest},
		"an empty object":                  {`{}`, http.StatusBadRequest},
		"no username":                      {`{"password":"x"}`, http.StatusBadRequest},
		"an empty username":                {`{"username":"","password":"x"}`, http.StatusBadRequest},
		"no password":                      {`{"username":"alice"}`, http.StatusBadRequest},
		"an empty password":                {`{"username":"alice","password":""}`, http.StatusBadRequest},
		"null for a password":              {`{"username":"alice","password":null}`, http.StatusBadRequest},
		"a number for a username":          {`{"username":1,"password":"x"}`, http.StatusBadRequest},
		"an object for a password":         {`{"username":"alice","password":{"$ne":null}}`, http.StatusBadRequest},
		"an array for a username":          {`{"username":["alice"],"password":"x"}`, http.StatusBadRequest},
		"data after the object":            {`{"username":"alice","password":"x"} {}`, http.StatusBadRequest},
		"invalid UTF-8":                    {"{\"username\":\"alice\",\"password\":\"\xff\"}", http.StatusBadRequest},
		"unclosed nesting":                 {strings.Repeat(`{"a":`, 3000), http.StatusBadRequest},
		"16 KiB and one byte":              {strings.Repeat(" ", serving.MaxBodyBytes+1), http.StatusRequestEntityTooLarge},
		"a password of a megabyte":         {`{"username":"alice","password":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusRequestEntityTooLarge},
		"a login and a megabyte of spaces": {`{"username":"alice","password":"` + right + `"}` + strings.Repeat(" ", 1<<20), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			a := w.post(tt.body)
			want := refusal
			if tt.status == http.StatusRequestEntityTooLarge {
				want = `{"error":{"code":"PAYLOAD_TOO_LARGE","message":"The body is larger than 16 KiB"}}`
			}
			if a.Code != tt.status || a.Body.String() != want || a.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
			}
			if w.tap.charges.Load()+w.tap.looks.Load() != 0 || w.Hasher.Compared() != 0 {
				t.Error("it was looked at more closely")
			}
		})
	}
}

func TestABodyOf16KiBIsAccepted(t *testing.T) {
	w := newWorld(t, nil)
	body := `{"username":"alice","password":"` + right + `","device":"unknown to us"}`
	if a := w.post(body + strings.Repeat(" ", serving.MaxBodyBytes-len(body))); a.Code != http.StatusOK {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

func TestPathsAndMethods(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path string
		status       int
	}{
		"GET of login":                           {http.MethodGet, loginPath, http.StatusMethodNotAllowed},
		"PUT of login":                           {http.MethodPut, loginPath, http.StatusMethodNotAllowed},
		"the root":                               {http.MethodGet, "/", http.StatusNotFound},
		"a trailing slash":                       {http.MethodPost, loginPath + "/", http.StatusNotFound},
		"capitals":                               {http.MethodPost, strings.ToUpper(loginPath), http.StatusNotFound},
		"POST of verify":                         {http.MethodPost, verifyPath, http.StatusUnauthorized},
		"verify with a path that Envoy appended": {http.MethodDelete, verifyPath + "/a//../b?c=d", http.StatusUnauthorized},
		"verify with another name":               {http.MethodGet, verifyPath + "ing", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			a := w.serve(httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
			var body struct {
				Error struct{ Code, Message string }
			}
			if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil || a.Code != tt.status || body.Error.Code == "" || body.Error.Message == "" {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if a.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v may be kept", a.Header())
			}
		})
	}
}

func TestVerifyAsksForCredentials(t *testing.T) {
	for name, headers := range map[string][]string{
		"missing":           nil,
		"empty":             {""},
		"of another scheme": {"Digest username=alice"},
		"invalid base64":    {"Basic !"},
		"without a colon":   {"Basic YWxpY2U="},
		"twice":             {"Basic YWxpY2U6eA==", "Basic YWxpY2U6eA=="},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			a := w.serve(w.verifying(headers...))
			if a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") != `Basic realm="sharding system", charset="UTF-8"` {
				t.Errorf("%d %v", a.Code, a.Header())
			}
			if w.tap.charges.Load() != 0 || w.Hasher.Compared() != 0 {
				t.Error("it was taken for an attempt")
			}
		})
	}
}

// The gateway must not read other values than those that another program wrote into the table.
func TestResponseHeadersHaveOnlyWhatTheRowHas(t *testing.T) {
	for name, tt := range map[string]struct {
		username string
		roles    []string
		status   int
		want     string
	}{
		"several roles":                    {"bob", []string{"b:c", "a"}, http.StatusOK, "b:c,a"},
		"no roles":                         {"bob", nil, http.StatusOK, ""},
		"a role with a comma":              {"bob", []string{"viewer,admin", "viewer"}, http.StatusOK, "viewer"},
		"a role with a leading space":      {"bob", []string{" admin", "viewer"}, http.StatusOK, "viewer"},
		"a role with a line end":           {"bob", []string{"a\r\nX-Auth-Roles: admin", "viewer"}, http.StatusOK, "viewer"},
		"a non-ASCII username":             {"jürgen", nil, http.StatusOK, ""},
		"a username with a trailing space": {"admin ", nil, http.StatusUnauthorized, ""},
		"a username with a line end":       {"bob\r\nX-Auth-Roles", nil, http.StatusUnauthorized, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.add(tt.username, user.Row{PasswordHash: hashOf(t, right), Active: true, Roles: tt.roles})
			for range 2 { // the second time recognized
				a := w.verifyBasic(tt.username, right)
				if a.Code != tt.status || a.Header().Get("X-Auth-Roles") != tt.want {
					t.Errorf("%d %v", a.Code, a.Header())
				}
				if a.Code == http.StatusOK && a.Header().Get("X-Auth-Username") != tt.username {
					t.Errorf("the name is %q", a.Header().Get("X-Auth-Username"))
				}
			}
		})
	}
}

func TestAPanicFailsOnlyItsRequest(t *testing.T) {
	w := newWorld(t, nil)
	w.tap.charging = func() error { panic("cAnAry") }
	if a := w.postLogIn("alice", right); a.Code != http.StatusInternalServerError || !strings.Contains(a.Body.String(), "INTERNAL_ERROR") {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	w.tap.charging = nil
	if a := w.postLogIn("alice", right); a.Code != http.StatusOK {
		t.Errorf("the next request: %d %s", a.Code, a.Body)
	}
	for range 100 {
		if place, err := w.Hasher.Reserve(fair.Key{}); err != nil {
			t.Fatal("a place was lost")
		} else {
			place.Release()
		}
	}
}
