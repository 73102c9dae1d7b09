// SPDX-License-Identifier: Apache-2.0

package login

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestATraceHasOnlyTheEndpointOfARequest(t *testing.T) {
	const marker = "mArker" // not cAnAry: the log contains the user agent
	spans := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	w := newWorld(t, nil)
	handler := traced(NewHandler(w.Service, nil))

	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, verifyPath+"/reset/"+marker+"?token="+marker, http.NoBody)
	request.SetBasicAuth("alice", right)
	request.Header.Set("User-Agent", marker)
	request.Header.Set("X-Forwarded-For", marker)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("the request got the status %d", answer.Code)
	}
	answer = httptest.NewRecorder()
	body := strings.NewReader(`{"username":"alice","password":"` + right + `"}`)
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, loginPath, body))
	if answer.Code != http.StatusOK {
		t.Fatalf("the login got the status %d", answer.Code)
	}

	w.settling.Wait()
	paths := 0
	for _, span := range spans.Ended() {
		for _, attribute := range span.Attributes() {
			text := fmt.Sprintf("%s=%v", attribute.Key, attribute.Value.String())
			if strings.Contains(text, "cAnAry") || strings.Contains(text, marker) || strings.HasPrefix(text, "http.request.body") {
				t.Errorf("%s has %s", span.Name(), text)
			}
			if text == "url.path="+verifyPath || text == "url.path="+loginPath {
				paths++
			}
		}
	}
	if paths != 2 {
		t.Errorf("%d of 2 requests have their endpoint", paths)
	}
}
