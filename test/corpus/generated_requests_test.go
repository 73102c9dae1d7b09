// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// generatedRequests needs a valid token.
func generatedRequests(token string) (cases []request) {
	cases = append(cases, mutatedBodies()...)
	cases = append(cases, mutatedBasics()...)
	cases = append(cases, mutatedTokens(token)...)
	return append(cases, otherPlaces()...)
}

// mutatedBodies returns a login's body cut at each place, with an invalid UTF-8 byte at each place, and each type of
// JSON instead of a text. None is a login.
func mutatedBodies() (cases []request) {
	bad := func(name, body string) {
		cases = append(cases, request{Name: name, Body: body, Status: 400, Answer: "BAD_REQUEST"})
	}
	body := `{"username":"alice","password":"` + right + `"}`
	for i := range len(body) {
		if i > 0 {
			bad(fmt.Sprintf("the first %d characters of a body", i), body[:i])
		}
		bad(fmt.Sprintf("a body whose byte %d is not UTF-8", i), body[:i]+"\xff"+body[i+1:])
	}
	for _, value := range []string{"true", "0", "-1", "1.5", "1e999", "[]", `["alice"]`, "{}", `{"a":"b"}`, "null", `""`} {
		bad("the username "+value, `{"username":`+value+`,"password":"`+right+`"}`)
		bad("the password "+value, `{"username":"alice","password":`+value+`}`)
		bad("the body "+value, value)
	}
	for _, c := range []string{"\x00", "\x01", "\t", "\n", "\r", "\x1f"} {
		bad(fmt.Sprintf("a username with %+q as it is", c), `{"username":"al`+c+`ice","password":"`+right+`"}`)
		bad(fmt.Sprintf("a body with %+q after it", "x"+c), body+"x"+c)
	}
	return cases
}

// mutatedBasics returns Basic credentials cut at each place. If they are strict base64 and contain a colon, they are an
// attempt with another password. Otherwise they are no credentials.
func mutatedBasics() (cases []request) {
	whole := basic("alice", right)
	for i := range len(whole) {
		attempts := 0
		encoded, _ := strings.CutPrefix(whole[:i], "Basic ")
		if decoded, err := base64.StdEncoding.DecodeString(encoded); err == nil && strings.Contains(string(decoded), ":") {
			attempts = 1
		}
		cases = append(cases, request{
			Name: fmt.Sprintf("the first %d characters of Basic credentials", i), Authorization: new(whole[:i]), Status: 401, Attempts: attempts,
		})
	}
	return cases
}

// mutatedTokens returns a token with another character at each place, without each character, and cut at each place. A
// token has one spelling, so none of them is valid.
func mutatedTokens(token string) (cases []request) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	bad := func(name, token string) {
		cases = append(cases, request{Name: name, Authorization: new("Bearer " + token), Status: 401, Answer: "Invalid credentials"})
	}
	for i := range len(token) {
		bad(fmt.Sprintf("the first %d characters of a token", i), token[:i])
		bad(fmt.Sprintf("a token without its character %d", i), token[:i]+token[i+1:])
		other := alphabet[(strings.IndexByte(alphabet, token[i])+1)%len(alphabet)]
		bad(fmt.Sprintf("a token whose character %d is the next one", i), token[:i]+string(other)+token[i+1:])
	}
	for _, more := range []string{".", "=", "==", "A", "%", "\xff", "\"", ",", ";", ".e30", " x", "\tx"} {
		bad(fmt.Sprintf("a token with %+q after it", more), token+more)
	}
	return cases
}

// otherPlaces returns each wrong method and wrong path.
func otherPlaces() (cases []request) {
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "Post", "POSTS", "X"} {
		cases = append(cases, request{
			Name: "the method " + method + " for a login", Method: method, Headers: []string{"Authorization: " + basic("alice", right)},
			Status: 405, Header: []string{"Allow: POST"},
		})
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
		cases = append(cases, request{
			Name: "the method " + method + " for the description", Method: method, Path: "/openapi.yaml", Status: 405,
			Header: []string{"Allow: GET, HEAD"},
		})
	}
	body := `{"username":"alice","password":"` + right + `"}`
	// Only the login path is the login path, however it is spelled.
	for _, path := range []string{
		"/", "//", "/api", "/api/v1/auth", "/api/v1/auth/", "/login", testenv.LoginPath + "/", testenv.LoginPath + "/x", "/" + testenv.LoginPath,
		"/api/v1/auth//login", "/api/v1/auth/./login", "/api/v1/auth/x/../login", "/api/v1/auth/login%2f", "/api/v1/auth/login%00",
		"/api/v1/auth/login%20", "/api/v1/auth/login;x=y", "/api/v1/auth/login.json", "/api/v1/auth/Login", "/API/V1/AUTH/LOGIN",
		"/api/v1/auth/%6cogin%2e", "/api/v1/auth/%256cogin", "/api/v1/auth%5clogin", "/api/v1/auth\\login", "/api/v2/auth/login",
		"/api/v1/auth/log%C0%AFin", "/api/v1/auth/%EF%BD%8Cogin", "/..%2fapi/v1/auth/login", "/.%2e/api/v1/auth/login",
		"/healthz", "/readyz", "/metrics", "/debug/pprof/", "/.git/config", "/.env", "/etc/passwd", "/../../etc/passwd",
		"/api/v1/auth/verifyx", "/api/v1/auth/verify%00", "/openapi.yaml/", "/openapi.json", "/" + strings.Repeat("a", 4096),
	} {
		cases = append(cases, request{Name: "the path " + path[:min(len(path), 60)], Path: path, Body: body, Status: 404, Answer: "NOT_FOUND"})
	}
	return cases
}
