// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

// ServerOptions configures a Server.
type ServerOptions struct {
	Address string // host:port
	CertDir string // has tls.crt and tls.key; "" for a self-signed certificate

	// TrustedProxies are the addresses of proxies whose X-Forwarded-For is used.
	TrustedProxies []netip.Prefix

	// MaxConnections is the largest number of open connections, 4 or more. Package serving describes which are closed for others.
	MaxConnections int

	// Traced reports whether requests are traced.
	Traced bool

	// Drain is the time that running requests have after the server begins to end.
	Drain time.Duration
}

// Server serves the HTTP API over TLS.
type Server struct {
	service *Service
	address string
	drain   time.Duration
	limits  serving.Limits
	http    *http.Server
}

// NewServer returns a Server. Run starts it.
func NewServer(s *Service, options ServerOptions) (*Server, error) {
	certificate, err := serving.NewCertificates(options.CertDir, s.Now, s.Log)
	if err != nil {
		return nil, err
	}
	handler := NewHandler(s, options.TrustedProxies)
	if options.Traced {
		handler = traced(handler)
	}
	handler = paced(handler, s, options.TrustedProxies)
	return &Server{
		service: s,
		address: options.Address,
		drain:   options.Drain,
		limits: serving.Limits{
			Connections: options.MaxConnections,
			Trusted:     options.TrustedProxies,
			Dropped:     s.metrics.dropped.Inc,
		},
		http: serving.NewServer(handler, serving.TLS(certificate), s.Log),
	}, nil
}

// Run serves until ctx ends, and then until the running attempts are answered and settled.
func (s *Server) Run(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("serve logins: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve is Run on a listener, which it closes.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	s.service.Log.Info("Serving logins", "address", listener.Addr().String())
	ended := make(chan error, 1)
	go func() { ended <- s.http.ServeTLS(serving.Limit(listener, s.limits), "", "") }()
	select {
	case err := <-ended:
		s.service.Wait()
		return fmt.Errorf("serve logins: %w", err)
	case <-ctx.Done():
	}

	// Waiting attempts are rejected uncharged, so that their clients can try another replica.
	s.service.queue.close()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	err := s.http.Shutdown(drain)
	if err != nil {
		err = fmt.Errorf("not all logins were answered before the shutdown timeout: %w", errors.Join(err, s.http.Close()))
	}
	if stopped := <-ended; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	s.service.Wait()
	return err
}
