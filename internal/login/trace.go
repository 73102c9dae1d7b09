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

// tracer is of the parts of an attempt: charge, check, settle. Who tries to log in stands in none of them, since people type
// their passwords into the wrong field.
var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/login")

// traced has a span for each request. Anybody can send one that says which trace it belongs to, and that it is worth keeping:
// so a span only links to that.
func traced(handler http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, told *http.Request) {
		asSent, _ := told.Context().Value(asSentKey{}).(*http.Request)
		handler.ServeHTTP(w, asSent.WithContext(told.Context()))
	})
	outer := otelhttp.NewHandler(inner, "login API",
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithMeterProvider(noop.NewMeterProvider()), // metrics are Prometheus'
	)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer.ServeHTTP(w, tellable(r).WithContext(context.WithValue(r.Context(), asSentKey{}, r)))
	})
}

// asSentKey is a context's key for the request as the client sent it.
type asSentKey struct{}

// tellable is what a trace may tell of a request. It has neither the path behind verify's, which is that of a gateway's client
// and may hold a secret, nor what the headers claim, nor the body, whose length tells how long a password is.
func tellable(r *http.Request) *http.Request {
	path := "/"
	switch {
	case isVerify(r.URL.Path):
		path = verifyPath
	case r.URL.Path == loginPath, r.URL.Path == documentPath:
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
