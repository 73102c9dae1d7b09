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

	// Delay is the time in which the server still accepts connections after it was told to end. Its responses close their
	// connections meanwhile, so that kept ones move to other replicas.
	Delay time.Duration
	// Drain is the time that running requests have after that.
	Drain time.Duration
}

// Server serves the HTTP API over TLS.
type Server struct {
	service *Service
	address string
	delay   time.Duration
	drain   time.Duration
	limits  serving.Limits
	leaving *serving.Leaving
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
	leaving := new(serving.Leaving)
	handler = leaving.Handler(paced(handler, s, options.TrustedProxies))
	return &Server{
		service: s,
		address: options.Address,
		delay:   options.Delay,
		drain:   options.Drain,
		leaving: leaving,
		limits: serving.Limits{
			Connections: options.MaxConnections,
			Trusted:     options.TrustedProxies,
			Dropped:     s.metrics.dropped.Inc,
		},
		http: serving.NewServer(handler, serving.TLS(certificate), s.Log),
	}, nil
}

// Run serves until ctx ends, then for the delay, and then until the running attempts are answered and settled.
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
	if err := s.untilDelay(ctx, ended); err != nil {
		s.service.Wait()
		return fmt.Errorf("serve logins: %w", err)
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

// untilDelay waits until ctx has ended and the delay is over. It returns the error of a server that ends before.
func (s *Server) untilDelay(ctx context.Context, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.leaving.Begin()
	if s.delay == 0 {
		return nil
	}
	s.service.Log.Info("Stopping; logins are still served, for clients that were not yet routed to other replicas", "for", s.delay)
	select {
	case err := <-ended:
		return err
	case <-time.After(s.delay):
		return nil
	}
}
