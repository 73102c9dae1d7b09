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
	const told = "mArker" // the log has what a client calls itself
	spans := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(spans)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	w := newWorld(t, nil)
	handler := traced(NewHandler(w.Service, nil))

	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, verifyPath+"/reset/"+told+"?token="+told, http.NoBody)
	request.SetBasicAuth("alice", right)
	request.Header.Set("User-Agent", told)
	request.Header.Set("X-Forwarded-For", told)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("the request as it was sent was answered with %d", answer.Code)
	}
	answer = httptest.NewRecorder()
	body := strings.NewReader(`{"username":"alice","password":"` + right + `"}`)
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, loginPath, body))
	if answer.Code != http.StatusOK {
		t.Fatalf("the log-in was answered with %d", answer.Code)
	}

	w.settling.Wait()
	paths := 0
	for _, span := range spans.Ended() {
		for _, attribute := range span.Attributes() {
			text := fmt.Sprintf("%s=%v", attribute.Key, attribute.Value.String())
			if strings.Contains(text, "cAnAry") || strings.Contains(text, told) || strings.HasPrefix(text, "http.request.body") {
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
