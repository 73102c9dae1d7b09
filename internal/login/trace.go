// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"net/http"
	"net/url"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
)

// tracer creates the spans of an attempt: charge, check, settle. None has the username, since people type their passwords into
// the wrong field.
var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/login")

// traced returns a handler that creates a span for each request. The span only links to the trace that a request names: clients
// are not trusted to choose what is sampled.
func traced(handler http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, reduced *http.Request) {
		asSent, _ := reduced.Context().Value(asSentKey{}).(*http.Request)
		handler.ServeHTTP(w, asSent.WithContext(reduced.Context()))
	})
	outer := otelhttp.NewHandler(inner, "login API",
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // Prometheus collects the metrics
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer.ServeHTTP(w, traceable(r).WithContext(context.WithValue(r.Context(), asSentKey{}, r)))
	})
}

// asSentKey is a context's key for the request as the client sent it.
type asSentKey struct{}

// traceable returns a copy of a request with what a trace may record. It omits the path that a gateway appends to that of verify,
// which may contain a secret, the other headers, and the body, whose length reveals the length of a password.
func traceable(r *http.Request) *http.Request {
	path := "/"
	switch {
	case isVerify(r.URL.Path):
		path = verifyPath
	case r.URL.Path == loginPath, r.URL.Path == documentPath, r.URL.Path == keySetPath:
		path = r.URL.Path
	}
	header := http.Header{}
	for _, name := range otel.GetTextMapPropagator().Fields() {
		if values := r.Header.Values(name); len(values) > 0 {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return &http.Request{
		Method: r.Method, URL: &url.URL{Path: path}, Host: r.Host, Header: header,
		Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, RemoteAddr: r.RemoteAddr, TLS: r.TLS,
	}
}
