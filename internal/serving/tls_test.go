// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// certified is a certificate for a key.
func certified(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// listen serves HTTP with a configuration, and returns the address.
func listen(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(http.NotFoundHandler(), config, slog.New(slog.DiscardHandler))
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// shakeHands returns the state of a connection with a client of this configuration.
func shakeHands(t *testing.T, address string, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	client = client.Clone()
	client.InsecureSkipVerify = true
	c, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState(), nil
}

// A server without a minimum accepts each handshake that has to be refused.
func TestHandshakes(t *testing.T) {
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ofRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var all []uint16
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		all = append(all, suite.ID)
	}
	keys := map[string]struct{ ours, lax string }{}
	for name, key := range map[string]crypto.Signer{"ECDSA": elliptical, "RSA": ofRSA} {
		certificate := certified(t, key)
		serve := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }
		keys[name] = struct{ ours, lax string }{
			listen(t, TLS(serve)),
			listen(t, &tls.Config{MinVersion: tls.VersionTLS10, CipherSuites: all, GetCertificate: serve}),
		}
	}
	only := func(version uint16, suites ...uint16) *tls.Config {
		return &tls.Config{MinVersion: version, MaxVersion: version, CipherSuites: suites}
	}
	by := func(curve tls.CurveID) *tls.Config {
		c := only(tls.VersionTLS13)
		c.CurvePreferences = []tls.CurveID{curve}
		return c
	}
	for name, tt := range map[string]struct {
		key      string
		client   *tls.Config
		accepted bool
	}{
		"TLS 1.0":                         {"ECDSA", only(tls.VersionTLS10, all...), false},
		"TLS 1.1":                         {"ECDSA", only(tls.VersionTLS11, all...), false},
		"TLS 1.2, CBC":                    {"ECDSA", only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), false},
		"TLS 1.2, CBC and SHA-256":        {"ECDSA", only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256), false},
		"TLS 1.2, CBC, by RSA":            {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA), false},
		"TLS 1.2, RC4":                    {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA), false},
		"TLS 1.2, 3DES":                   {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA), false},
		"TLS 1.2, no forward secrecy":     {"RSA", only(tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256), false},
		"TLS 1.2, all that is weak":       {"RSA", only(tls.VersionTLS12, insecure()...), false},
		"TLS 1.2, AES-128-GCM":            {"ECDSA", only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), true},
		"TLS 1.2, AES-256-GCM":            {"ECDSA", only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), true},
		"TLS 1.2, ChaCha20":               {"ECDSA", only(tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), true},
		"TLS 1.2, AES-128-GCM, by RSA":    {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), true},
		"TLS 1.2, AES-256-GCM, by RSA":    {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384), true},
		"TLS 1.2, ChaCha20, by RSA":       {"RSA", only(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256), true},
		"TLS 1.2, everything, by its own": {"RSA", only(tls.VersionTLS12), true},
		"TLS 1.3":                         {"ECDSA", only(tls.VersionTLS13), true},
		"TLS 1.3, by RSA":                 {"RSA", only(tls.VersionTLS13), true},
		"TLS 1.3, X25519 and ML-KEM":      {"ECDSA", by(tls.X25519MLKEM768), true},
		"TLS 1.3, X25519":                 {"ECDSA", by(tls.X25519), true},
		"TLS 1.3, P-256":                  {"ECDSA", by(tls.CurveP256), true},
		"TLS 1.3, P-384":                  {"ECDSA", by(tls.CurveP384), true},
		"TLS 1.3, P-521":                  {"ECDSA", by(tls.CurveP521), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := shakeHands(t, keys[tt.key].lax, tt.client); err != nil {
				t.Fatalf("nobody accepts it: %v", err)
			}
			state, err := shakeHands(t, keys[tt.key].ours, tt.client)
			if (err == nil) != tt.accepted {
				t.Errorf("version %x, suite %s: %v", state.Version, tls.CipherSuiteName(state.CipherSuite), err)
			}
		})
	}
}

func insecure() (suites []uint16) {
	for _, suite := range tls.InsecureCipherSuites() {
		suites = append(suites, suite.ID)
	}
	return suites
}

// Clients of HTTP/2 use HTTP/1.1, and clients that know only HTTP/2 are refused.
func TestHTTP2IsOff(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := certified(t, key)
	address := listen(t, TLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }))
	state, err := shakeHands(t, address, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("spoken is %q: %v", state.NegotiatedProtocol, err)
	}
	if state, err := shakeHands(t, address, &tls.Config{NextProtos: []string{"h2"}}); err == nil {
		t.Errorf("spoken is %q", state.NegotiatedProtocol)
	}
}
