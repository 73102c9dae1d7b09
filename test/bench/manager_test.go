// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
	*testenv.Manager
	token string // of one who may read the metrics
}

// startManager starts bin/manager under its ServiceAccount, with its default settings but for addresses, a secret to sign
// tokens with, and these arguments; it returns when the manager is ready. It ends with the benchmark.
func startManager(b *testing.B, dsn string, args ...string) *manager {
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
	m := &manager{token: testenv.ServiceAccount(b, systemNamespace, "bench").BearerToken}
	m.Manager, err = cluster.StartManager(testenv.ManagerOptions{
		Program: program, Rights: testenv.ServiceAccount(b, systemNamespace, serviceAccount), DSN: dsn,
		Secret: rand.Text() + rand.Text(), Args: args,
	})
	must(b, err)
	b.Cleanup(func() {
		m.stop(b)
		if b.Failed() {
			b.Logf("the manager said last:\n%s", m.Tail())
		}
	})
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	must(b, m.Ready(ctx))
	return m
}

// stop ends the manager as a kubelet would. It may be called again.
func (m *manager) stop(b *testing.B) {
	b.Helper()
	if err := m.Stop(30 * time.Second); err != nil { // its grace period, and some
		b.Error(err)
	}
}

// within waits until the condition holds, as long as the manager runs.
func (m *manager) within(b *testing.B, what string, holds func(context.Context) bool) {
	b.Helper()
	err := wait.PollUntilContextTimeout(b.Context(), poll, patience, true, func(ctx context.Context) (bool, error) {
		if err := m.Err(); err != nil {
			return false, err
		}
		return holds(ctx), nil
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
	status, body := m.Scrape(ctx, m.token)
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

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
