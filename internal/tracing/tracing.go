// SPDX-License-Identifier: Apache-2.0

// Package tracing sends traces of reconciles and logins to an OpenTelemetry collector. The traced packages create their spans
// with the global tracers of go.opentelemetry.io/otel, which do nothing until Start.
//
// A trace names the reconciled resource, which is not secret. It never has the username of a login: people type their
// passwords into the wrong field. It has no parameters of statements either.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	span "go.opentelemetry.io/otel/trace"
)

// lastSpans is the longest time that the process waits at its end for the collector to accept the last spans.
const lastSpans = 2 * time.Second

// Start begins to send traces by OTLP over HTTP. The environment variables of the OpenTelemetry specification configure it,
// such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER. While the collector is unavailable, spans are lost and nothing
// else happens. Stop sends the remaining spans.
func Start(ctx context.Context, version, instance string, log *slog.Logger) (stop func(), err error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w; check the variables OTEL_EXPORTER_OTLP_*", err)
	}
	of, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("shardinguser-operator"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(instance)),
		resource.WithFromEnv(), // last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence
	)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w; check the variable OTEL_RESOURCE_ATTRIBUTES", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(of))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("Cannot send traces", "error", err.Error()) }))
	log.Info("Sending traces")
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSpans)
		defer cancel()
		_ = provider.Shutdown(ctx) // the error handler has logged what matters
	}, nil
}

// Transport returns a RoundTripper that creates a span for each request to the API server within a trace. Watches belong to
// no trace, because they do not end.
func Transport(base http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(base,
		otelhttp.WithFilter(func(r *http.Request) bool { return span.SpanContextFromContext(r.Context()).IsValid() }),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // Prometheus collects the metrics
	)
}
