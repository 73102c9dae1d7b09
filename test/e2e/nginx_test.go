// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// behindNginx starts a manager whose login API has a certificate that nginx can verify, and nginx in front of it.
func (s *story) behindNginx(args ...string) (*process, *front) {
	s.t.Helper()
	return s.launchBehindNginx(s.launch(args...))
}

func (s *story) launchBehindNginx(l launch) (*process, *front) {
	s.t.Helper()
	ca := newAuthority(s.t)
	certificate, key := ca.issue(s.t, loginName)
	dir := s.t.TempDir()
	for name, content := range map[string]string{"tls.crt": certificate, "tls.key": key} {
		s.Expect(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)).To(gomega.Succeed())
	}
	l.args = append(l.args, "--login-tls-cert-dir="+dir, "--login-trusted-proxies=127.0.0.1/32")
	p := l.begin(s.t).ready()
	return p, newFront(s.t, p.Login, ca)
}

func TestNginxAcceptsUsersThatCanLogIn(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	signing := filepath.Join(t.TempDir(), "secret")
	s.Expect(os.WriteFile(signing, []byte(canary+strings.Repeat("x", 32)), 0o600)).To(gomega.Succeed())
	p, f := s.behindNginx("--jwt-secret-file=" + signing)
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"), roles("operator", "viewer"))

	s.Expect(f.get(as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusOK))
	reached := f.app.take()
	s.Expect(reached).To(gomega.HaveLen(1))
	s.Expect(reached[0].Path).To(gomega.Equal("/reports?year=2026"))
	s.Expect(reached[0].Header).To(gomega.And(
		gomega.HaveKeyWithValue("X-Auth-Username", []string{"alice"}),
		gomega.HaveKeyWithValue("X-Auth-Roles", []string{"operator,viewer"}),
		gomega.HaveKeyWithValue("X-Forwarded-For", []string{clientAddress}),
		gomega.Not(gomega.HaveKey("Authorization")),
	))

	for name, body := range map[string]io.Reader{
		"a body of known length": strings.NewReader("a report"),
		"a body in chunks":       io.MultiReader(strings.NewReader("a "), strings.NewReader("report")),
	} {
		s.Expect(f.send(http.MethodPost, "/reports", body, as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusOK), name)
		s.Expect(f.app.take()).To(gomega.ConsistOf(gomega.HaveField("Body", "a report")), name)
	}

	_, body := p.logIn("alice", canary+" alice")
	var loggedIn struct{ Token string }
	s.Expect(json.Unmarshal([]byte(body), &loggedIn)).To(gomega.Succeed())
	s.Expect(f.get(with("Authorization", "Bearer "+loggedIn.Token)).status).To(gomega.Equal(http.StatusOK))
	s.Expect(f.app.take()).To(gomega.ConsistOf(gomega.HaveField("Header", gomega.HaveKeyWithValue("X-Auth-Username", []string{"alice"}))))

	for name, asks := range map[string][]ask{
		"no credentials":                    nil,
		"a wrong password":                  {as("alice", canary+" wrong"), with("X-Forwarded-For", "192.0.2.1")},
		"an unknown user":                   {as("nobody", canary+" alice")},
		"a token with an invalid signature": {with("Authorization", "Bearer a.b.c")},
		"a username alone":                  {with("X-Auth-Username", "alice")},
		"an internal address":               {with("X-Forwarded-For", "127.0.0.1")},
	} {
		refused := f.get(asks...)
		s.Expect(refused.status).To(gomega.Equal(http.StatusUnauthorized), name)
		s.Expect(refused.header.Get("WWW-Authenticate")).To(gomega.HavePrefix("Basic "), name)
	}
	s.Expect(f.send(http.MethodGet, "/.verify", nil, as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusNotFound))
	s.Expect(f.app.take()).To(gomega.BeEmpty())

	var sources []string
	s.Expect(s.db.QueryRow(t.Context(), `SELECT array_agg(DISTINCT source) FROM login_attempts WHERE outcome <> 'success'`).
		Scan(&sources)).To(gomega.Succeed())
	s.Expect(sources).To(gomega.ConsistOf(clientAddress), "neither nginx's address nor the client's claim")
}

func TestNginxRemovesForgedHeaders(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	_, f := s.behindNginx()
	s.secret("password", canary+" password")
	s.readyUser("operator", secret("password"), roles("operator"))
	s.readyUser("nobody", secret("password"))

	for name, spoof := range map[string][]ask{
		"once":                  {with("X-Auth-Roles", "admin"), with("X-Auth-Username", "root")},
		"several times":         {with("X-Auth-Roles", "admin", "admin", ""), with("X-Auth-Username", "root", "root")},
		"in capitals":           {with("X-AUTH-ROLES", "admin"), with("X-AUTH-USERNAME", "root")},
		"with underscores":      {with("X_Auth_Roles", "admin"), with("X_Auth_Username", "root")},
		"with an underscore":    {with("X-Auth_Roles", "admin"), with("x_auth-username", "root")},
		"with dots":             {with("X.Auth.Roles", "admin"), with("X.Auth.Username", "root")},
		"as hop-by-hop headers": {with("Connection", "X-Auth-Roles, X-Auth-Username")},
	} {
		for _, user := range []string{"operator", "nobody"} {
			s.Expect(f.get(append(spoof, as(user, canary+" password"))...).status).To(gomega.Equal(http.StatusOK), name)
			reached := f.app.take()
			s.Expect(reached).To(gomega.HaveLen(1), name)
			s.Expect(said(reached[0].Header, "username")).To(gomega.ConsistOf("X-Auth-Username: "+user), name)
			if user == "nobody" {
				s.Expect(said(reached[0].Header, "roles")).To(gomega.BeEmpty(), name)
			} else {
				s.Expect(said(reached[0].Header, "roles")).To(gomega.ConsistOf("X-Auth-Roles: operator"), name)
			}
		}
	}
}

// said returns the headers that an application could take for X-Auth-something.
func said(header http.Header, something string) []string {
	var lines []string
	for name, values := range header {
		plain := strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))
		for _, value := range values {
			if plain == "xauth"+something {
				lines = append(lines, name+": "+value)
			}
		}
	}
	return lines
}

func TestManyRequestsThroughNginxCostOneAttempt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p, f := s.behindNginx()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	for range 51 {
		s.Expect(f.get(as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusOK))
	}
	s.eventually(soon, func(g gomega.Gomega) { // RBAC changes take effect after a moment
		recognized, _ := p.metric("shardinguser_login_recognized_total")
		g.Expect(recognized).To(gomega.BeEquivalentTo(50))
	})
	var attempts int
	s.Expect(s.db.QueryRow(t.Context(), `SELECT count(*) FROM login_attempts`).Scan(&attempts)).To(gomega.Succeed())
	s.Expect(attempts).To(gomega.Equal(1))
}

func TestNginxRejectsALockedUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p, f := s.behindNginx()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	s.Expect(f.get(as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusOK))
	s.Expect(f.app.take()).To(gomega.HaveLen(1))
	for range 4 {
		s.Expect(f.get(as("alice", canary+" wrong")).status).To(gomega.Equal(http.StatusUnauthorized))
	}
	status, _ := p.logIn("alice", canary+" wrong")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "elsewhere")

	s.Expect(f.get(as("alice", canary+" alice")).status).To(gomega.Equal(http.StatusUnauthorized))
	s.Expect(f.app.take()).To(gomega.BeEmpty())
}

func TestNginxRejectsRequestsWithoutADecision(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	p, f := s.launchBehindNginx(s.launchOn(through, "--watch-namespaces="+s.namespace,
		"--login-source-rate=1", "--login-source-burst=1"))
	s.eventually(soon, func(g gomega.Gomega) { // one request a second is permitted
		throttled := f.get(as("nobody", canary))
		g.Expect(throttled.status).To(gomega.Equal(http.StatusTooManyRequests))
		g.Expect(throttled.header.Get("Retry-After")).To(gomega.Equal("1"))
	})
	proxy.Cut()
	s.eventually(soon, func(g gomega.Gomega) {
		// Undecided, or rejected if the fallback knows the accounts.
		g.Expect(f.get(as("nobody", canary)).status).To(gomega.BeElementOf(http.StatusServiceUnavailable, http.StatusUnauthorized))
	})
	p.Kill()
	s.Expect(f.get(as("nobody", canary)).status).To(gomega.Equal(http.StatusServiceUnavailable))
	s.Expect(f.app.take()).To(gomega.BeEmpty())
}

// verify replaces the login API, for responses that the real one gives rarely or never.
func verify(t *testing.T, called string, by *authority, handle http.HandlerFunc) *recorder {
	t.Helper()
	chain, key := by.issue(t, called)
	certificate, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return newRecorder(t, handle, certificate)
}

func TestNginxRejectsEveryOtherVerifyResponse(t *testing.T) {
	t.Parallel()
	known, stranger := newAuthority(t), newAuthority(t)
	for name, tt := range map[string]struct {
		verify int // the status of verify
		called string
		by     *authority
		status int // the status of nginx
	}{
		"verify accepts":                     {http.StatusOK, loginName, known, http.StatusOK},
		"verify rejects":                     {http.StatusUnauthorized, loginName, known, http.StatusUnauthorized},
		"verify is overloaded":               {http.StatusTooManyRequests, loginName, known, http.StatusTooManyRequests},
		"verify fails":                       {http.StatusInternalServerError, loginName, known, http.StatusServiceUnavailable},
		"verify is unavailable":              {http.StatusServiceUnavailable, loginName, known, http.StatusServiceUnavailable},
		"verify redirects":                   {http.StatusFound, loginName, known, http.StatusServiceUnavailable},
		"verify is another program":          {http.StatusNotFound, loginName, known, http.StatusServiceUnavailable},
		"the certificate has another name":   {http.StatusOK, "localhost", known, http.StatusServiceUnavailable},
		"the certificate has another issuer": {http.StatusOK, loginName, stranger, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gomega.NewWithT(t)
			v := verify(t, tt.called, tt.by, func(w http.ResponseWriter, _ *http.Request) {
				if tt.verify == http.StatusTooManyRequests {
					w.Header().Set("Retry-After", "7")
				}
				w.WriteHeader(tt.verify)
			})
			f := newFront(t, v.address, known)
			got := f.get(as("alice", canary))
			g.Expect(got.status).To(gomega.Equal(tt.status))
			g.Expect(got.header.Get("Retry-After")).To(gomega.Equal(map[int]string{http.StatusTooManyRequests: "7"}[tt.status]))
			if tt.status == http.StatusOK {
				g.Expect(f.app.take()).To(gomega.HaveLen(1))
			} else {
				g.Expect(f.app.take()).To(gomega.BeEmpty())
			}
		})
	}
}

func TestNginxReusesItsConnectionAndSendsMinimalHeaders(t *testing.T) {
	t.Parallel()
	g := gomega.NewWithT(t)
	ca := newAuthority(t)
	refuse := false
	v := verify(t, loginName, ca, func(w http.ResponseWriter, _ *http.Request) {
		if refuse = !refuse; refuse { // every other request, since a rejection has to keep the connection too
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	f := newFront(t, v.address, ca)
	for range 20 {
		f.send(http.MethodPut, "/reports/1?draft", strings.NewReader("a report"), as("alice", canary),
			with("Cookie", "session=1"), with("X-Forwarded-For", "192.0.2.1"), with("User-Agent", "a browser"))
	}
	g.Expect(v.connections.Load()).To(gomega.BeEquivalentTo(1))
	g.Expect(v.take()).To(gomega.HaveEach(asked{
		Method: http.MethodGet, Path: "/api/v1/auth/verify", Header: http.Header{
			"Authorization":   {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+canary))},
			"User-Agent":      {"a browser"},
			"X-Forwarded-For": {clientAddress},
		},
	}))
}
