// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// aCollector receives traces as an OpenTelemetry collector does, by OTLP over HTTP.
type aCollector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
	text  strings.Builder // all received data, as text
}

func newCollector(t *testing.T) *aCollector {
	t.Helper()
	c := &aCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		request := &collector.ExportTraceServiceRequest{}
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, request) != nil {
			t.Errorf("%s is no path for traces", r.URL.Path)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.text.WriteString(protojson.Format(request))
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// trees returns the span names of each trace, each with its parents, such as "reconcile/apply".
func (c *aCollector) trees() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]*tracepb.Span{}
	for _, span := range c.spans {
		byID[string(span.GetSpanId())] = span
	}
	trees := map[string][]string{}
	for _, span := range c.spans {
		name := span.GetName()
		for above := byID[string(span.GetParentSpanId())]; above != nil; above = byID[string(above.GetParentSpanId())] {
			name = above.GetName() + "/" + name
		}
		trees[string(span.GetTraceId())] = append(trees[string(span.GetTraceId())], name)
	}
	return trees
}

func (c *aCollector) received() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// haveOne matches if one trace has spans of all these names. A name that ends in "*" is a prefix.
func haveOne(names ...string) func(map[string][]string) bool {
	return func(trees map[string][]string) bool {
		for _, tree := range trees {
			missing := slices.ContainsFunc(names, func(name string) bool {
				beginning, open := strings.CutSuffix(name, "*")
				return !slices.ContainsFunc(tree, func(span string) bool {
					return span == name || (open && strings.HasPrefix(span, beginning))
				})
			})
			if !missing {
				return true
			}
		}
		return false
	}
}

func TestTracesRecordReconcilesAndLoginsWithoutUsernames(t *testing.T) {
	t.Parallel()
	s, c := newStory(t), newCollector(t)
	l := s.launch("--tracing=on")
	l.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=story"}
	p := l.begin(t).ready()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", username("alice-the-username"), secret("alice"))
	s.eventually(time.Minute, func(g gomega.Gomega) {
		g.Expect(c.trees()).To(gomega.Satisfy(haveOne("reconcile", "reconcile/observe", "reconcile/apply", "reconcile/apply/*", "reconcile/HTTP PATCH")))
	})
	s.Expect(c.received()).To(gomega.And(gomega.ContainSubstring(`"shardinguser-operator"`), gomega.ContainSubstring(`"story"`), gomega.ContainSubstring(`"alice"`),
		gomega.ContainSubstring("JOIN shardinguser_ownership"))) // the text of a statement

	status, _ := p.logIn("alice-the-username", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))
	status, _ = p.logIn(canary+" in the wrong field", "x")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	s.eventually(time.Minute, func(g gomega.Gomega) {
		g.Expect(c.trees()).To(gomega.Satisfy(haveOne("POST", "POST/charge", "POST/charge/*", "POST/check", "POST/settle", "POST/settle/*")))
	})
	s.Expect(p.Stop(time.Minute)).To(gomega.Succeed()) // the remaining spans are sent
	s.Expect(c.received()).NotTo(gomega.ContainSubstring(canary))
	s.Expect(c.received()).NotTo(gomega.ContainSubstring("alice-the-username"))
	for _, secret := range l.secrets {
		s.Expect(c.received()).NotTo(gomega.ContainSubstring(secret))
	}
}

func TestUnavailableTraceCollectorLosesOnlySpans(t *testing.T) {
	t.Parallel()
	s, c := newStory(t), newCollector(t)
	c.Close()
	l := s.launch("--tracing=on")
	l.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_EXPORTER_OTLP_TIMEOUT=500"}
	p := l.begin(t).ready()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	status, _ := p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))
	s.eventually(time.Minute, func(g gomega.Gomega) { g.Expect(p.said()).To(gomega.ContainSubstring("Cannot send traces")) })
	s.Expect(p.Running()).To(gomega.BeTrue())
}
