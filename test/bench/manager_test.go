// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	poll     = 20 * time.Millisecond
	patience = 5 * time.Minute // for anything at all: a noisy machine's
)

// The rights of config/rbac, as it is: under no prefix, in the namespace system.
const (
	systemNamespace = "system"
	serviceAccount  = "controller-manager"
	metricsReader   = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bench-metrics-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics-reader}
subjects: [{kind: ServiceAccount, name: bench, namespace: system}]
`
)

// A manager is a running bin/manager.
type manager struct {
	cmd     *exec.Cmd
	log     string
	health  string
	metrics string
	token   string // of one who may read the metrics
	ended   chan struct{}
	stopped bool
}

// startManager starts bin/manager under its ServiceAccount, with its default settings but for addresses, and returns
// when it is ready. It ends with the benchmark.
func startManager(b *testing.B, dsn string) *manager {
	b.Helper()
	cluster := testenv.Cluster(b)
	root, err := testenv.Root()
	must(b, err)
	program := filepath.Join(root, "bin", "manager")
	if _, err := os.Stat(program); err != nil {
		b.Fatal("there is no bin/manager: run `make bench`, which builds it")
	}
	_, err = cluster.Apply(b.Context(), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+systemNamespace+`"}}`)
	must(b, err)
	_, err = cluster.Kubectl(b.Context(), "apply", "-k", filepath.Join(root, "config", "rbac"))
	must(b, err)
	_, err = cluster.Apply(b.Context(), metricsReader)
	must(b, err)
	kubeconfig, err := cluster.KubeconfigFor(testenv.ServiceAccount(b, systemNamespace, serviceAccount))
	must(b, err)

	m := &manager{
		log: filepath.Join(b.TempDir(), "manager.log"), health: freeAddress(b), metrics: freeAddress(b),
		token: testenv.ServiceAccount(b, systemNamespace, "bench").BearerToken, ended: make(chan struct{}),
	}
	dsnFile := filepath.Join(b.TempDir(), "dsn")
	must(b, os.WriteFile(dsnFile, []byte(dsn), 0o600))
	m.cmd, err = cluster.Command("manager", program, "--config=", "--kubeconfig="+kubeconfig,
		"--user-database-dsn-file="+dsnFile, "--metrics-bind-address="+m.metrics, "--health-probe-bind-address="+m.health)
	must(b, err)
	log, err := os.Create(m.log)
	must(b, err)
	defer func() { _ = log.Close() }() // the manager's is a copy
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "SHARDINGUSER_") // a developer's own settings
	})
	must(b, m.cmd.Start())
	go func() {
		_ = m.cmd.Wait() // the same is in ProcessState
		close(m.ended)
	}()
	b.Cleanup(func() { m.stop(b) })
	m.within(b, "the manager to be ready", func(ctx context.Context) bool {
		status, _ := m.get(ctx, "http://"+m.health+"/readyz")
		return status == http.StatusOK
	})
	return m
}

// stop ends the manager as a kubelet would. It may be called again.
func (m *manager) stop(b *testing.B) {
	b.Helper()
	if m.stopped {
		return
	}
	m.stopped = true
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.Errorf("stop the manager: %v", err)
	}
	select {
	case <-m.ended:
	case <-time.After(30 * time.Second): // its grace period, and some
		b.Error("the manager did not end within 30 s after SIGTERM")
	}
	if b.Failed() {
		b.Log(m.tail())
	}
}

// within waits until the condition holds, or fails with the end of the manager's log.
func (m *manager) within(b *testing.B, what string, holds func(context.Context) bool) {
	b.Helper()
	err := wait.PollUntilContextTimeout(b.Context(), poll, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-m.ended:
			return false, errors.New("the manager ended: " + m.cmd.ProcessState.String())
		default:
			return holds(ctx), nil
		}
	})
	if err != nil {
		b.Fatalf("wait for %s: %v", what, err)
	}
}

// counters is what the manager counts: the sum over the labels of each metric that is asked for.
func (m *manager) counters(b *testing.B, names ...string) map[string]float64 {
	b.Helper()
	var sums map[string]float64
	m.within(b, "the metrics", func(ctx context.Context) (ok bool) {
		sums, ok = m.scrape(ctx, names...)
		return ok
	})
	return sums
}

// scrape is counters as they are now, if they can be had.
func (m *manager) scrape(ctx context.Context, names ...string) (map[string]float64, bool) {
	status, body := m.get(ctx, "https://"+m.metrics+"/metrics")
	if status != http.StatusOK {
		return nil, false
	}
	sums := map[string]float64{}
	for line := range strings.Lines(body) {
		// A line is name{labels} value; labels are of no interest here.
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		value, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if err == nil && slices.Contains(names, name) {
			sums[name] += value
		}
	}
	return sums, true
}

// The certificate of the metrics is one that the manager signed itself.
var web = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

func (m *manager) get(ctx context.Context, url string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+m.token)
	response, err := web.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// tail is the end of the manager's log.
func (m *manager) tail() string {
	const lines = 15
	content, err := os.ReadFile(m.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return "the manager said last:\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}

func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	must(b, err)
	must(b, listener.Close())
	return listener.Addr().String()
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
