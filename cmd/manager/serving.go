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
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"github.com/sharding-system/shardinguser-operator/internal/config"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
)

// Metrics and probes are served by us and not by controller-runtime, whose servers take any number of connections, wait 32 s
// for a megabyte of header and for ever for a body.

// maxConnections is how many connections the metrics may have, and how many the probes. Kubelet and scrapers need a few.
const maxConnections = 256

// scrapesAtOnce is how many scrapes of one address are served at once, and refusedScrape how long a connection is held whose
// scrape was refused: the API server is asked about each new token, in our name.
const (
	scrapesAtOnce = 8
	refusedScrape = time.Second
)

// notServed is the address of what is not served.
const notServed = "0"

// addMetrics serves the metrics over TLS, to those whom the API server lets.
func addMetrics(ctx context.Context, mgr ctrl.Manager, settings config.Settings, log logr.Logger) error {
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
	mux := http.NewServeMux()
	mux.Handle("/metrics", serving.FewAtOnce(metrics, scrapesAtOnce, refusedScrape))
	return addServer(ctx, mgr, "metrics", settings.MetricsBindAddress, mux, serving.TLS(certificate), settings, log)
}

// addProbes says what the probes mean. Alive is who answers. Ready is whose caches are filled; a database that is away
// shows in metrics and statuses, since neither a restart nor taking the pod out of service would bring it back.
func addProbes(ctx context.Context, mgr ctrl.Manager, settings config.Settings, log logr.Logger) (synced <-chan struct{}, err error) {
	filled := make(chan struct{})
	err = mgr.Add(everyReplica(func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			close(filled)
		}
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("add the wait for the caches: %w", err)
	}
	if settings.HealthProbeBindAddress == notServed {
		return filled, nil
	}
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"caches": readyWhen(filled)},
	} {
		handler := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, handler)
		mux.Handle(path+"/", handler) // of one check
	}
	return filled, addServer(ctx, mgr, "probes", settings.HealthProbeBindAddress, mux, nil, settings, log)
}

// addServer adds a server with the limits that ours have, without TLS where there is no configuration of it. It listens at
// once: an address that is taken ends the start.
func addServer(
	ctx context.Context, mgr ctrl.Manager, name, address string, handler http.Handler, config *tls.Config, settings config.Settings,
	log logr.Logger,
) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve the %s: %w", name, err)
	}
	listener = serving.Limit(listener, serving.Limits{Connections: maxConnections})
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	shutdown := settings.GracefulShutdownTimeout / 2
	err = mgr.Add(&manager.Server{
		Name:            name,
		Server:          serving.NewServer(handler, config, slog.New(logr.ToSlogHandler(log))),
		Listener:        listener,
		ShutdownTimeout: &shutdown,
	})
	if err != nil {
		return fmt.Errorf("add the server of the %s: %w", name, err)
	}
	return nil
}
