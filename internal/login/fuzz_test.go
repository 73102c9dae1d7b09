// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// decode accepts only one object in UTF-8 with a username and a password, and nothing after it. Encoding the credentials again
// gives the same login.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `{"username":"alice","password":"x"}`, `{"username":"\ud800","password":"\u0000"}`, `[{"username":1}]`,
		`{"username":"alice","password":"x"} {}`, `{"username":"a","username":"b","PASSWORD":"x"}`, "{\"username\":\"\xff\",\"password\":\"x\"}",
		`{"username":"alice","password":null}`, ` {"username":"a","password":"\n","more":[1,{"a":2}]} `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, ok := decode(body)
		if !ok {
			if c != (Credentials{}) {
				t.Fatalf("decode(%q) refuses, and returns %+v", body, c)
			}
			return
		}
		if c.Username == "" || c.Password == "" || !utf8.ValidString(c.Username) || !utf8.ValidString(c.Password) {
			t.Fatalf("decode(%q) = %+v", body, c)
		}
		var object map[string]any // json.Unmarshal rejects trailing data
		if json.Unmarshal(body, &object) != nil || object == nil || !utf8.Valid(body) {
			t.Fatalf("decode(%q) took what is no object", body)
		}
		again, err := json.Marshal(map[string]string{"username": c.Username, "password": c.Password})
		if err != nil {
			t.Fatal(err)
		}
		if same, ok := decode(again); !ok || same != c {
			t.Fatalf("decode(%q) = %+v, and written down again %+v, %v", body, c, same, ok)
		}
	})
}

// asks sends a request of a gateway; a fuzz target shares one world among all its inputs.
func (w *world) asks(t *testing.T, authorization string) (status int, body string) {
	t.Helper()
	w.t = t // a target must not use its F
	w.log.mu.Lock()
	w.log.Reset()
	w.log.mu.Unlock()
	a := w.serve(w.verifying(authorization))
	w.settling.Wait()
	if said := w.log.String(); strings.Contains(said, "cAnAry") || strings.Contains(said, "$2a$") {
		t.Fatalf("the log of %q holds a secret:\n%s", authorization, said)
	}
	if username := a.Header().Get("X-Auth-Username"); (username == "alice") != (a.Code == http.StatusOK) || a.Code != http.StatusOK && username != "" {
		t.Fatalf("%q gets %d, in the name of %q", authorization, a.Code, username)
	}
	return a.Code, a.Body.String()
}

// Only alice's username and password in the encoding of RFC 7617 pass. All other inputs get the same answer, and those that can
// be decoded cost one computation.
func FuzzBasic(f *testing.F) {
	w := newWorld(f, func(o *Options) { o.RecognizeFor = 0 })
	refusal := w.serve(w.verifying("Basic !")).Body.String()
	for _, s := range []string{
		"", "Basic", "Basic ", basic("alice", right), strings.ToLower(basic("alice", right)), basic("alice", right) + "=", basic("alice", right)[:20],
		basic("alice", ""), basic("", right), basic("alice", wrong), basic("alice", right+"\x00"), basic("alice\n", right), basic("\xff", "\xfe"),
		basic("ALICE", right), basic("alice", right+":"), "bAsIc " + basic("alice", right)[6:], "Basic  " + basic("alice", right)[6:],
		basic("alice", right) + ", " + basic("alice", right), basic(strings.Repeat("a", 300), right), "Digest x", "Bearer x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authorization string) {
		w.edit("alice", func(row *user.Row) { row.FailedLoginAttempts, row.LockedUntil = 0, nil })
		scheme, encoded, _ := strings.Cut(authorization, " ")
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		username, password, isPair := strings.Cut(string(decoded), ":")
		readable := strings.EqualFold(scheme, "Basic") && err == nil && isPair
		before := w.Hasher.Compared()
		status, body := w.asks(t, authorization)
		switch computed := w.Hasher.Compared() - before; {
		case (status == http.StatusOK) != (readable && username == "alice" && password == right):
			t.Fatalf("%q gets %d", authorization, status)
		case status != http.StatusOK && (status != http.StatusUnauthorized || body != refusal):
			t.Fatalf("%q gets %d %s, where all others get %s", authorization, status, body, refusal)
		case readable && computed != 1 || !readable && computed != 0:
			t.Fatalf("%q costs %d computations", authorization, computed)
		}
	})
}

// A token is valid only in the spelling that was issued.
func FuzzBearer(f *testing.F) {
	w, _ := withTokens(f)
	token := w.token()
	signed := strings.LastIndexByte(token, '.')
	for _, at := range []int{0, strings.IndexByte(token, '.'), signed, signed + 1, len(token) - 1} {
		for _, b := range []byte{'A', 'x', '.', '=', '\n', 0, token[at] ^ 1, token[at] + 1} {
			f.Add(at, b, "")
		}
	}
	for _, s := range []string{"", "=", ".", "\n", "\x00", "e30.e30.", "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6ImFsaWNlIn0."} {
		f.Add(-1, byte(0), s)
	}
	f.Fuzz(func(t *testing.T, at int, b byte, instead string) {
		var raw string
		switch {
		case at >= 0 && at < len(token): // replace a byte or append one
			raw = token[:at] + string(rune(b)) + instead + token[at+1:]
			if b >= 0x80 {
				raw = token[:at] + string([]byte{b}) + instead + token[at+1:]
			}
		case at >= len(token):
			raw = token + instead
		default:
			raw = instead
		}
		if got := w.Bearer(t.Context(), raw); (got.Outcome == Succeeded) != (raw == token) {
			t.Fatalf("%q, issued as %q: %s", raw, token, got.Outcome)
		}
		if status, _ := w.asks(t, "Bearer "+raw); (status == http.StatusOK) != (strings.TrimSpace(raw) == token) {
			t.Fatalf("%q, issued as %q, gets %d", raw, token, status)
		}
	})
}

// Only the part of X-Forwarded-For that trusted proxies wrote counts. Earlier parts, which the client wrote, change nothing.
func FuzzSourceOf(f *testing.F) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, s := range []string{
		"", "192.0.2.1", "192.0.2.1, 10.0.0.2", "[2001:db8::1]:443", "::ffff:10.0.0.3", "fe80::1%eth0", "unknown", "10.0.0.1:99999", ",,", "192.0.2.1:80,",
	} {
		f.Add("10.0.0.1:1234", "forged", s)
		f.Add("[fd00::1]:1234", s, "192.0.2.7")
		f.Add("192.0.2.9:1234", s, s)
	}
	f.Fuzz(func(t *testing.T, remote, before, forwarded string) {
		ask := func(values ...string) netip.Addr {
			return sourceOf(&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": values}}, proxies)
		}
		connection := addressIn(remote)
		source := ask(forwarded)
		if source.Zone() != "" || source.Is4In6() {
			t.Fatalf("%q from %q is %v, which another spelling has too", forwarded, remote, source)
		}
		if connection.IsValid() != source.IsValid() {
			t.Fatalf("%q from %q is %v", forwarded, remote, source)
		}
		if !within(connection, proxies) && source != connection {
			t.Fatalf("%q is believed of %q", forwarded, remote)
		}
		if source.IsValid() && source != connection && !strings.Contains(forwarded, "%") {
			named := false
			for hop := range strings.SplitSeq(forwarded, ",") {
				named = named || addressIn(strings.TrimSpace(hop)) == source
			}
			if !named {
				t.Fatalf("%q from %q is %v, which is in none of them", forwarded, remote, source)
			}
		}
		if !within(source, proxies) {
			if one, two := ask(before+","+forwarded), ask(before, forwarded); one != source || two != source {
				t.Fatalf("%q from %q is %v, and behind %q %v and %v", forwarded, remote, source, before, one, two)
			}
		}
	})
}
