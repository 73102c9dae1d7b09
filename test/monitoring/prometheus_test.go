// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	system = "shardinguser-system"
	job    = "shardinguser-controller-manager-metrics-service"
	soon   = 2 * time.Minute
	poll   = 200 * time.Millisecond
)

// A site is the operator of config/default with a real API server, a real Postgres, and a Prometheus that scrapes it.
type site struct {
	*gomega.WithT
	t          *testing.T
	kube       client.Client
	database   *testenv.Proxy // in front of it
	manager    *testenv.Manager
	prometheus *testenv.Prometheus
	namespace  string // of the users
}

// newSite waits until the first scrape. The rules are those of config/prometheus, with seconds instead of minutes.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{WithT: gomega.NewWithT(t), t: t, namespace: "team-a"}
	plane := testenv.Cluster(t)
	rights, err := plane.Install(t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	s.kube, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(gomega.HaveOccurred())

	proxy, dsn := testenv.DatabaseProxy(t, testenv.Database(t))
	s.database = proxy
	program, err := testenv.BuildManager(t.Context(), t.TempDir())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.manager, err = plane.StartManager(testenv.ManagerOptions{
		Program: program, DSN: dsn, Rights: rights,
		Args: []string{"--resync-interval=2s", "--login-source-rate=0"},
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() {
		if err := s.manager.Stop(25 * time.Second); err != nil {
			t.Error(err)
		}
	})
	s.Expect(s.manager.Ready(t.Context())).To(gomega.Succeed())
	s.scraped()
	return s
}

// scraped starts the Prometheus with the token of a ServiceAccount that may read the metrics, and waits for the first
// scrape.
func (s *site) scraped() {
	s.t.Helper()
	token, err := testenv.Cluster(s.t).Scraper(s.t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())

	spec, _ := readRules(s.t)
	for _, group := range spec.Groups {
		for i := range group.Rules {
			if group.Rules[i].For != "" {
				group.Rules[i].For = "1s"
			}
		}
	}
	prometheus, err := testenv.StartPrometheus(s.t.Context(), scrapeConfig(s.t, s.manager.Metrics),
		map[string]string{"rules.yaml": write(s.t, spec), "token": token})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.prometheus = prometheus
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("Prometheus said last:\n%s\nthe manager:\n%s", prometheus.Tail(), s.manager.Tail())
		}
		if err := prometheus.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.value("up")).To(gomega.BeEquivalentTo(1), "over HTTPS, with a token")
		g.Expect(s.value("shardinguser_database_up")).To(gomega.BeEquivalentTo(1))
	})
}

// scrapeConfig is what the Prometheus Operator generates from the ServiceMonitor: the same path, scheme, token, checks
// of the certificate, and labels.
func scrapeConfig(t *testing.T, address string) string {
	t.Helper()
	var monitor struct {
		Spec struct {
			Endpoints []struct {
				Path            string          `json:"path"`
				Scheme          string          `json:"scheme"`
				BearerTokenFile string          `json:"bearerTokenFile"`
				TLSConfig       map[string]bool `json:"tlsConfig"`
			} `json:"endpoints"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(file(t, "config/prometheus/monitor.yaml")), &monitor); err != nil {
		t.Fatal(err)
	}
	if len(monitor.Spec.Endpoints) != 1 || monitor.Spec.Endpoints[0].BearerTokenFile == "" {
		t.Fatalf("the ServiceMonitor has the endpoints %v", monitor.Spec.Endpoints)
	}
	endpoint := monitor.Spec.Endpoints[0]
	return fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [rules.yaml]
scrape_configs:
- job_name: %s
  metrics_path: %s
  scheme: %s
  authorization: {credentials_file: token}
  tls_config: {insecure_skip_verify: %t}
  static_configs:
  - targets: [%q]
    labels: {namespace: %s, pod: shardinguser-controller-manager-0}
`, job, endpoint.Path, endpoint.Scheme, endpoint.TLSConfig["insecureSkipVerify"], address, system)
}

func (s *site) eventually(check func(g gomega.Gomega)) {
	s.t.Helper()
	s.Eventually(check).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
}

// value returns the value of the only series of an expression; -1 if there is no series or more than one.
func (s *site) value(expression string) float64 {
	s.t.Helper()
	found, err := s.prometheus.Query(context.WithoutCancel(s.t.Context()), expression)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	if len(found) != 1 {
		return -1
	}
	return found[0].Value.Value
}

// firing returns the alerts that fire.
func (s *site) firing() []string {
	s.t.Helper()
	found, err := s.prometheus.Query(context.WithoutCancel(s.t.Context()), `ALERTS{alertstate="firing"}`)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	var names []string
	for _, series := range found {
		names = append(names, series.Labels["alertname"])
	}
	slices.Sort(names)
	return names
}

// fires waits until exactly these alerts fire.
func (s *site) fires(alerts ...any) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.firing()).To(gomega.ConsistOf(alerts...)) })
}

// user creates a user, and a Secret with its password unless that is empty.
func (s *site) user(name, password string) {
	s.t.Helper()
	s.Expect(client.IgnoreAlreadyExists(s.kube.Create(s.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}))).
		To(gomega.Succeed())
	meta := metav1.ObjectMeta{Namespace: s.namespace, Name: name}
	if password != "" {
		s.Expect(s.kube.Create(s.t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"password": password}})).To(gomega.Succeed())
	}
	s.Expect(s.kube.Create(s.t.Context(), &v1alpha1.ShardingUser{
		ObjectMeta: meta,
		Spec: v1alpha1.ShardingUserSpec{
			Roles:    []v1alpha1.Role{"viewer"},
			Password: &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: name}},
		},
	})).To(gomega.Succeed())
}

// logIn tries a password and returns the status code.
func (s *site) logIn(name, password string) int {
	s.t.Helper()
	answer, err := s.manager.LogIn(s.t.Context(), name, password)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return answer.Status
}
