// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// The certificate of a folder is configured by other code than the manager's own.
func TestMetricsAndLoginsAcceptModernTLSOnly(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	certificate, key := newAuthority(t).issue(t, "localhost")
	dir := t.TempDir()
	for name, content := range map[string]string{"tls.crt": certificate, "tls.key": key} {
		s.Expect(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)).To(gomega.Succeed())
	}
	only := func(version uint16, suites ...uint16) *tls.Config {
		return &tls.Config{
			MinVersion: version, MaxVersion: version, CipherSuites: suites, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"},
		}
	}
	for certified, p := range map[string]*process{
		"own certificate":    s.start(),
		"certificate folder": s.start("--metrics-cert-dir="+dir, "--login-tls-cert-dir="+dir),
	} {
		for server, address := range map[string]string{"metrics": p.Metrics, "log-ins": p.Login} {
			for name, test := range map[string]struct {
				client   *tls.Config
				accepted bool
			}{
				"TLS 1.0":          {only(tls.VersionTLS10), false},
				"TLS 1.1":          {only(tls.VersionTLS11), false},
				"TLS 1.2 with CBC": {only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), false},
				"TLS 1.2 with GCM": {only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), true},
				"TLS 1.3":          {only(tls.VersionTLS13), true},
			} {
				c, err := (&tls.Dialer{Config: test.client}).DialContext(t.Context(), "tcp", address)
				s.Expect(err == nil).To(gomega.Equal(test.accepted), "%s of %s, certified %s: %v", name, server, certified, err)
				if err == nil {
					s.Expect(c.(*tls.Conn).ConnectionState().NegotiatedProtocol).To(gomega.Equal("http/1.1"), "HTTP/2 is off")
					s.Expect(c.Close()).To(gomega.Succeed())
				}
			}
		}
	}
}

// Idle connections on each port exceed the limit.
func TestIdleConnectionsDoNotBlockProbesOrLogins(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start("--login-max-connections=64")
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	for _, address := range []string{p.Login, p.Metrics, p.Health} {
		for range 400 {
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			s.Expect(err).NotTo(gomega.HaveOccurred())
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	for range 5 {
		begun := time.Now()
		s.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK))
		s.Expect(time.Since(begun)).To(gomega.BeNumerically("<", 4*time.Second), "before the manager closes any of them")
		status, _ := p.logIn("alice", canary+" alice")
		s.Expect(status).To(gomega.Equal(http.StatusOK))
	}
	dropped, _ := p.metric("shardinguser_login_connections_dropped_total")
	s.Expect(dropped).To(gomega.BeNumerically(">=", 400-64))
}
