// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	loginName = "shardinguser-controller-manager-login.shardinguser-system.svc" // of the Service, as gateways use it
	appName   = "app.example.com"

	// nginx and the programs behind it listen on 127.0.0.1. The client has another address, so that tests can tell them apart.
	clientAddress = "127.0.0.7"
)

// A front is the nginx of examples/gateways, between a client, the login API and an application.
type front struct {
	t      *testing.T
	nginx  *testenv.Nginx
	client *http.Client
	app    *recorder
}

// newFront starts nginx with the example's configuration, except for addresses and the folder of the certificates. It trusts
// servers whose certificate the authority signed.
func newFront(t *testing.T, login string, trusted *authority) *front {
	t.Helper()
	example, err := os.ReadFile(filepath.Join(root, "examples", "gateways", "nginx-site.conf"))
	if err != nil {
		t.Fatal(err)
	}
	app := newRecorder(t, func(http.ResponseWriter, *http.Request) {})
	site := func(address string) string {
		rendered := string(example)
		for is, becomes := range map[string]string{
			"listen 443 ":                   "listen " + address + " ",
			"server " + loginName + ":443;": "server " + login + ";",
			"server app.default.svc:8080;":  "server " + app.address + ";",
			"/etc/nginx/tls/":               "",
		} {
			if !strings.Contains(rendered, is) {
				t.Errorf("the example has no %q", is)
			}
			rendered = strings.ReplaceAll(rendered, is, becomes)
		}
		return rendered
	}
	own := newAuthority(t)
	certificate, key := own.issue(t, appName)
	nginx, err := testenv.StartNginx(t.Context(), site, map[string]string{
		"app.crt": certificate, "app.key": key, "shardinguser-ca.crt": trusted.certificate,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		said := nginx.Tail()
		if strings.Contains(said, canary) {
			t.Error("nginx printed a password")
		}
		if t.Failed() {
			t.Logf("the last output of nginx:\n%s", said)
		}
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
	})
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientAddress)}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, nginx.Address)
		},
		TLSClientConfig: &tls.Config{RootCAs: own.pool(t)},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &front{t: t, nginx: nginx, app: app, client: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// An ask changes a request before it is sent.
type ask func(*http.Request)

func as(username, password string) ask {
	return func(r *http.Request) { r.SetBasicAuth(username, password) }
}

// with adds a header whose name is sent as written.
func with(name string, values ...string) ask {
	return func(r *http.Request) { r.Header[name] = append(r.Header[name], values...) }
}

// An answer is a response of the application, or of nginx in its place.
type answer struct {
	status int
	header http.Header
}

// get sends a GET request to the application.
func (f *front) get(asks ...ask) answer {
	f.t.Helper()
	return f.send(http.MethodGet, "/reports?year=2026", nil, asks...)
}

func (f *front) send(method, path string, body io.Reader, asks ...ask) answer {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, "https://"+appName+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, change := range asks {
		change(request)
	}
	response, err := f.client.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		f.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header}
}

// A recorder answers requests and records them.
type recorder struct {
	address     string
	connections atomic.Int64 // count of connections to it
	mu          sync.Mutex
	asked       []asked
}

// asked is one recorded request.
type asked struct {
	Method, Path string
	Header       http.Header
	Body         string
}

// newRecorder starts a recorder, with TLS if it has a certificate.
func newRecorder(t *testing.T, handle http.HandlerFunc, certificates ...tls.Certificate) *recorder {
	t.Helper()
	r := &recorder{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.asked = append(r.asked, asked{request.Method, request.URL.String(), request.Header, string(body)})
		r.mu.Unlock()
		handle(w, request)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.connections.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail here on purpose
	if len(certificates) > 0 {
		server.TLS = &tls.Config{Certificates: certificates}
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	r.address = server.Listener.Addr().String()
	return r
}

// take returns the requests since the last call.
func (r *recorder) take() []asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.asked
	r.asked = nil
	return taken
}

// An authority signs certificates.
type authority struct {
	certificate string // in PEM
	signed      *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.certificate, _ = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue returns a server's certificate and its key, in PEM.
func (a *authority) issue(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	return a.sign(t, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// sign creates a key and signs its certificate. The first certificate is the authority's own.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.IsCA {
		a.signed, a.key = template, private
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signed, err := x509.CreateCertificate(rand.Reader, template, a.signed, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}))
}

// pool returns a pool that trusts only the authority.
func (a *authority) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(a.certificate)) {
		t.Fatal("the authority has no certificate")
	}
	return pool
}
