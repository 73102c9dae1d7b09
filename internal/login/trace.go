// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
)

// tracer is of the parts of an attempt: charge, check, settle. Who tries to log in stands in none of them, since people type
// their passwords into the wrong field.
var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/login")

// traced has a span for each request. Anybody can send one that says which trace it belongs to, and that it is worth keeping:
// so a span only links to that.
func traced(handler http.Handler) http.Handler {
	return otelhttp.NewHandler(handler, "log-in API",
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // metrics are Prometheus'
	)
}
