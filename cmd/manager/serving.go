// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

// The servers of controller-runtime are not used: they accept any number of connections, wait 32 s for a megabyte of header,
// and wait forever for a body.

// maxConnections is the largest number of connections of each server. The kubelet and scrapers need a few.
const maxConnections = 256

// scrapesAtOnce is the largest number of concurrent scrapes of one address. A connection whose scrape is rejected is held for
// refusedScrape, since the operator sends a TokenReview for each new token.
const (
	scrapesAtOnce = 8
	refusedScrape = time.Second
)

// notServed is the address that disables a server.
const notServed = "0"

// addMetrics adds a server of the metrics and the audit trail over TLS, for clients that the API server authorizes.
func addMetrics(ctx context.Context, mgr ctrl.Manager, trail audit.Source, settings config.Settings, log logr.Logger) error {
	if settings.MetricsBindAddress == notServed {
		return nil
	}
	certificate, err := serving.NewCertificates(settings.MetricsCertDir, time.Now, slog.New(logr.ToSlogHandler(log)))
	if err != nil {
		return fmt.Errorf("get a certificate for the metrics: %w", err)
	}
	protect, err := filters.WithAuthenticationAndAuthorization(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("protect the metrics: %w", err)
	}
	metrics, err := protect(log, promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{}))
	if err != nil {
		return fmt.Errorf("protect the metrics: %w", err)
	}
	trails, err := protect(log, audit.NewHandler(trail))
	if err != nil {
		return fmt.Errorf("protect the audit trail: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", serving.FewAtOnce(metrics, scrapesAtOnce, refusedScrape))
	for _, path := range []string{audit.AttemptsPath, audit.ChangesPath} {
		mux.Handle(path, serving.FewAtOnce(trails, scrapesAtOnce, refusedScrape))
	}
	server, err := newServer(ctx, "metrics", settings.MetricsBindAddress, mux, serving.TLS(certificate), settings, log)
	if err != nil {
		return err
	}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("add the server of the metrics: %w", err)
	}
	return nil
}

// newServer returns a server with the limits of the login API, without TLS if config is nil. It listens at once, so that an
// address in use is an error at start.
func newServer(
	ctx context.Context, name, address string, handler http.Handler, config *tls.Config, settings config.Settings, log logr.Logger,
) (*manager.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the %s: %w", name, err)
	}
	listener = serving.Limit(listener, serving.Limits{Connections: maxConnections})
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	shutdown := settings.GracefulShutdownTimeout / 2
	return &manager.Server{
		Name:            name,
		Server:          serving.NewServer(handler, config, slog.New(logr.ToSlogHandler(log))),
		Listener:        listener,
		ShutdownTimeout: &shutdown,
	}, nil
}
