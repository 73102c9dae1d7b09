// SPDX-License-Identifier: Apache-2.0

package login

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// served is a running server.
type served struct {
	*world
	address string
	stop    context.CancelFunc
	ended   chan error
	client  *http.Client
}

func start(t *testing.T, w *world, options ServerOptions) *served {
	t.Helper()
	return startWith(t, w, options, func(*http.Server) {})
}

// startWith is start with a function that changes the server before it runs.
func startWith(t *testing.T, w *world, options ServerOptions, change func(*http.Server)) *served {
	t.Helper()
	options.Drain = time.Minute
	options.MaxConnections = cmp.Or(options.MaxConnections, 1024)
	server, err := NewServer(w.Service, options)
	if err != nil {
		t.Fatal(err)
	}
	change(server.http)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	s := &served{w, listener.Addr().String(), stop, make(chan error, 1), &http.Client{Transport: transport, Timeout: time.Minute}}
	go func() { s.ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err, ok := <-s.ended; ok && err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *served) logIn(username, password string) (int, string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+s.address+loginPath,
		strings.NewReader(`{"username":"`+username+`","password":"`+password+`"}`))
	if err != nil {
		return 0, err.Error()
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// presented returns the certificate that a client receives.
func (s *served) presented() *x509.Certificate {
	s.t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

func TestLoginOverTLS(t *testing.T) {
	s := start(t, newWorld(t, nil), ServerOptions{})
	if status, body := s.logIn("alice", right); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if err := s.presented().VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}
}

func TestARotatedCertificateIsReloaded(t *testing.T) {
	dir := t.TempDir()
	mount := func() {
		serve, err := serving.SelfSigned(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		certificate, _ := serve(nil)
		key, err := x509.MarshalECPrivateKey(certificate.PrivateKey.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})))
		write(t, filepath.Join(dir, "tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})))
	}
	mount()
	s := start(t, newWorld(t, nil), ServerOptions{CertDir: dir})
	first := s.presented()

	mount()
	s.clock.passes(serving.ReloadInterval)
	second := s.presented()
	if second.Equal(first) {
		t.Error("the former certificate is shown")
	}
	write(t, filepath.Join(dir, "tls.crt"), "half written")
	s.clock.passes(serving.ReloadInterval)
	if !s.presented().Equal(second) {
		t.Error("what cannot be used is shown")
	}
	if !strings.Contains(s.log.String(), "not a certificate and its key") {
		t.Errorf("nothing is said of it:\n%s", s.log)
	}
}

func TestAMissingCertificateIsAnError(t *testing.T) {
	if _, err := NewServer(newWorld(t, nil).Service, ServerOptions{CertDir: t.TempDir()}); err == nil {
		t.Error("it would serve another one")
	}
}

func TestAServerThatShutsDownAnswersChargedAttempts(t *testing.T) {
	w := newWorld(t, nil)
	inside, proceed := make(chan struct{}), make(chan struct{})
	w.tap.charged = func() error { close(inside); <-proceed; return nil }
	s := start(t, w, ServerOptions{})
	charged, waiting := make(chan int, 1), make(chan int, 1)
	go func() { status, _ := s.logIn("alice", wrong); charged <- status }()
	<-inside
	go func() { status, _ := s.logIn("alice", wrong); waiting <- status }()
	s.waits(1)

	s.stop()
	if status := <-waiting; status != http.StatusServiceUnavailable {
		t.Errorf("the waiting attempt got %d", status)
	}
	close(proceed)
	if status := <-charged; status != http.StatusUnauthorized {
		t.Errorf("the charged attempt got %d", status)
	}
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	close(s.ended)
	if got := w.outcomes(); got[store.Failed] != 1 || len(got) != 1 {
		t.Errorf("the record has %v", got)
	}
	if status, _ := s.logIn("alice", right); status != 0 {
		t.Errorf("once it ended: %d", status)
	}
}

// waits returns when this many attempts wait in the queue.
func (w *world) waits(n int) {
	w.t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(10 * time.Second)
	for {
		w.queue.mu.Lock()
		waiting := len(w.queue.waiting)
		w.queue.mu.Unlock()
		if waiting == n {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			w.t.Fatalf("%d wait in line, want %d", waiting, n)
		}
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	server, err := NewServer(newWorld(t, nil).Service, ServerOptions{Address: listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); err == nil {
		t.Error("it serves")
	}
}
