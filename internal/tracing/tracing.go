// SPDX-License-Identifier: Apache-2.0

// Package tracing sends traces of reconciles and log-ins to an OpenTelemetry collector. What is traced is said where it
// happens, by go.opentelemetry.io/otel's global tracers, which do nothing at all until Start.
//
// A trace tells who was reconciled, since resources are no secrets. It never tells who logged in, or tried to: people type
// their passwords into the wrong field. Nor does it hold a statement's parameters.
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

// lastSpans is how long the end of the process waits for the collector to take the last spans.
const lastSpans = 2 * time.Second

// Start begins to send traces by OTLP over HTTP, to where OTEL_EXPORTER_OTLP_ENDPOINT says, and of as many as
// OTEL_TRACES_SAMPLER says: all variables of the OpenTelemetry specification count. A collector that is away costs spans and
// nothing else. Stop sends what is left.
func Start(ctx context.Context, version, instance string, log *slog.Logger) (stop func(), err error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces: %w; check the variables OTEL_EXPORTER_OTLP_*", err)
	}
	of, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName("shardinguser-operator"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(instance)),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, and so count
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
		_ = provider.Shutdown(ctx) // what the error handler did not say is of no use by now
	}, nil
}

// Transport has a span for each request to the API server that is part of something traced. A watch is part of nothing: it
// has no end.
func Transport(base http.RoundTripper) http.RoundTripper {
	return otelhttp.NewTransport(base,
		otelhttp.WithFilter(func(r *http.Request) bool { return span.SpanContextFromContext(r.Context()).IsValid() }),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // metrics are Prometheus'
	)
}
