// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// operatorEndpoint is the metrics endpoint of an operator that made two changes of alice. It accepts one token.
func operatorEndpoint(t *testing.T, token string) *httptest.Server {
	t.Helper()
	s := memory.New(func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) })
	change := user.Change{
		Verb: user.Create, Username: "alice", Owner: user.Owner{Namespace: "team-a", Name: "alice", UID: "1"}, Generation: 1,
		Roles: []string{"operator"}, Active: true, Origin: user.Origin{Managers: user.Managers{Spec: "argocd-controller"}},
	}
	after, err := s.Apply(t.Context(), change)
	if err != nil {
		t.Fatal(err)
	}
	change.Verb, change.Revision, change.Generation, change.Active = user.Update, after.Ownership.Revision, 2, false
	change.Write, change.Withheld = []user.Field{user.FieldActive}, user.WithheldLocked
	change.Origin = user.Origin{Managers: user.Managers{Spec: "kubectl-shardinguser"}, LockReason: "left the project"}
	if _, err := s.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Charge(t.Context(), store.Attempt{Username: "alice", Source: "192.0.2.1", UserAgent: "curl"}, store.Limits{Attempts: 5, Duration: time.Hour}); err != nil {
		t.Fatal(err)
	}
	served := audit.NewHandler(s)
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") {
		case "Bearer " + token:
			served.ServeHTTP(w, r)
		case "Bearer without-the-right":
			w.WriteHeader(http.StatusForbidden)
		case "Bearer redirected":
			http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(endpoint.Close)
	return endpoint
}

const wantHistory = `TIME                   ACTION    CHANGE               MANAGER                SHARDINGUSER   REASON
2026-01-02T03:04:05Z   locked    active true->false   kubectl-shardinguser   team-a/alice   left the project
2026-01-02T03:04:05Z   created   roles ->[operator]   argocd-controller      team-a/alice   -
`

// runWith runs the program with a kubeconfig that has this token.
func runWith(t *testing.T, server, token string, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("USER_DATABASE_DSN", "")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	credentials := "{}"
	if token != "" {
		credentials = "{token: " + token + "}"
	}
	content := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u, namespace: team-a}}], " +
		"clusters: [{name: c, cluster: {server: '" + server + "', insecure-skip-tls-verify: true}}], users: [{name: u, user: " + credentials + "}]}"
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	var stdout, stderr bytes.Buffer
	code = Run(context.WithoutCancel(t.Context()), "", genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}, args)
	return code, stdout.String(), stderr.String()
}

func TestHistoryIsReadFromAnAddressThatTLSVerifies(t *testing.T) {
	endpoint := operatorEndpoint(t, "c4n4ry")
	authority := filepath.Join(t.TempDir(), "ca.crt")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	direct := []string{"history", "--username", "alice", "--audit-url", endpoint.URL, "--audit-certificate-authority", authority}
	for name, tt := range map[string]struct {
		token string
		args  []string
		code  int
		out   string
		err   string
	}{
		"a table":              {"c4n4ry", direct, ExitDone, wantHistory, ""},
		"only one action":      {"c4n4ry", append(direct[:len(direct):len(direct)], "--action", "deleted"), ExitDone, "", `No such changes of "alice" are recorded.`},
		"a wrong token":        {"wrong", direct, ExitFailed, "", "the API server does not know the token"},
		"no right":             {"without-the-right", direct, ExitFailed, "", "ClusterRole shardinguser-auditor"},
		"no token":             {"", direct, ExitFailed, "", "--service-account"},
		"a redirection":        {"redirected", direct, ExitFailed, "", "302"},
		"an unknown authority": {"c4n4ry", direct[:5], ExitFailed, "", "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := runWith(t, "https://127.0.0.1:1", tt.token, tt.args...)
			if code != tt.code || out != tt.out || !strings.Contains(errOut, tt.err) {
				t.Errorf("it ends with %d:\n%s%s\nwant %d and\n%s%s", code, out, errOut, tt.code, tt.out, tt.err)
			}
			if strings.Contains(errOut, "c4n4ry") {
				t.Error("it prints the token")
			}
		})
	}

	_, out, _ := runWith(t, "https://127.0.0.1:1", "c4n4ry", append(direct, "-o", "json", "--limit", "1")...)
	var got struct {
		Username string
		Changes  []audit.Change
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Username != "alice" || len(got.Changes) != 1 || got.Changes[0].Action != user.ActionLocked {
		t.Errorf("as JSON: %s, %v", out, err)
	}
	logins := append([]string{"logins"}, direct[1:]...)
	if code, out, errOut := runWith(t, "https://127.0.0.1:1", "c4n4ry", logins...); code != ExitDone || !strings.Contains(out, "inactive   192.0.2.1   curl") {
		t.Errorf("logins ends with %d: %s%s", code, out, errOut)
	}
}

// apiServer is an API server with one pod of the operator, to which it tunnels.
func apiServer(t *testing.T, endpoint *httptest.Server, port int32) *httptest.Server {
	t.Helper()
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shardinguser-system", Name: "manager-1"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: metricsPort, ContainerPort: port}}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/shardinguser-system/pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{pod}})
	})
	mux.HandleFunc("POST /api/v1/namespaces/shardinguser-system/pods/manager-1/portforward", func(w http.ResponseWriter, r *http.Request) {
		tunnelTo(t, w, r, endpoint.Listener.Addr().String(), port)
	})
	server := httptest.NewTLSServer(mux) // it has no WebSocket: the plugin falls back to SPDY
	t.Cleanup(server.Close)
	return server
}

// tunnelTo does what the API server and the kubelet do with a forwarded port.
func tunnelTo(t *testing.T, w http.ResponseWriter, r *http.Request, address string, port int32) {
	t.Helper()
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		t.Errorf("handshake: %v", err)
		return
	}
	streams := make(chan httpstream.Stream, 2)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if conn == nil {
		t.Error("the connection is not upgraded")
		return
	}
	defer func() { _ = conn.Close() }()
	failures, data := <-streams, <-streams
	if port == 1 {
		_, _ = io.WriteString(failures, "connection refused by the pod")
		_ = failures.Close()
		_ = data.Close()
	} else {
		target, err := new(net.Dialer).DialContext(r.Context(), "tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = target.Close() }()
		go func() { _, _ = io.Copy(target, data) }()
		go func() { _, _ = io.Copy(data, target) }()
	}
	<-conn.CloseChan()
}

func TestHistoryIsReadThroughATunnelOfTheAPIServer(t *testing.T) {
	endpoint := operatorEndpoint(t, "c4n4ry")
	server := apiServer(t, endpoint, 8443)
	code, out, errOut := runWith(t, server.URL, "c4n4ry", "history", "--username", "alice")
	if code != ExitDone || out != wantHistory {
		t.Errorf("it ends with %d:\n%s%s\nwant\n%s", code, out, errOut, wantHistory)
	}
	code, _, errOut = runWith(t, apiServer(t, endpoint, 1).URL, "c4n4ry", "history", "--username", "alice")
	if code != ExitFailed || !strings.Contains(errOut, "connection refused by the pod") {
		t.Errorf("a port that refuses ends with %d: %s", code, errOut)
	}
	code, _, errOut = runWith(t, server.URL, "c4n4ry", "history", "--username", "alice", "--system", "orders")
	if code != ExitFailed || !strings.Contains(errOut, `leads the system "orders"`) {
		t.Errorf("another system ends with %d: %s", code, errOut)
	}
}

func TestPagesAreReadUntilThereAreEnough(t *testing.T) {
	s := &pages{total: 2500}
	endpoint := httptest.NewTLSServer(audit.NewHandler(s))
	t.Cleanup(endpoint.Close)
	client := &audit.Client{HTTP: endpoint.Client(), URL: endpoint.URL + "/"}
	for limit, want := range map[int]int{0: 2500, 1: 1, 1000: 1000, 1500: 1500, 9999: 2500} {
		changes, err := client.Changes(t.Context(), store.ChangeQuery{Limit: limit, Since: time.Hour, Username: "a b&c", Actions: []user.Action{"roles", "drift"}})
		if err != nil || len(changes) != want {
			t.Errorf("limit %d: %d changes, %v, want %d", limit, len(changes), err, want)
		}
	}
	if s.last.Username != "a b&c" || s.last.Since != time.Hour || len(s.last.Actions) != 2 {
		t.Errorf("the server was asked for %+v", s.last)
	}
	s.err = &store.UnavailableError{Sentence: "The database is read-only."}
	if _, err := client.Changes(t.Context(), store.ChangeQuery{}); err == nil || !strings.Contains(err.Error(), "The database is read-only.") {
		t.Errorf("an unavailable database is reported as %v", err)
	}
	if _, err := (&audit.Client{HTTP: endpoint.Client(), URL: endpoint.URL + "/older"}).Changes(t.Context(), store.ChangeQuery{}); !errors.Is(err, audit.ErrNotServed) {
		t.Errorf("an older operator is reported as %v", err)
	}
}

// pages is a trail of so many changes.
type pages struct {
	audit.Source
	total int64
	last  store.ChangeQuery
	err   error
}

func (p *pages) Changes(_ context.Context, q store.ChangeQuery) ([]store.AccountChange, error) {
	p.last = q
	from := p.total
	if q.Before > 0 {
		from = q.Before - 1
	}
	var changes []store.AccountChange
	for id := from; id > 0 && len(changes) < q.Limit; id-- {
		changes = append(changes, store.AccountChange{ID: id})
	}
	return changes, p.err
}
