// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestMetricsRequireAuthorization(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))

	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.scrape("")
		g.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "a request without a token")
	})
	status, _ := p.scrape("no token of this cluster")
	s.Expect(status).To(gomega.BeNumerically(">=", http.StatusUnauthorized), "a request with an invalid token")
	nobody, err := plane.ServiceAccount(t.Context(), "monitoring", "nobody")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	status, body := p.scrape(nobody.BearerToken)
	s.Expect(status).To(gomega.Equal(http.StatusForbidden), "a request without the right")
	s.Expect(body).NotTo(gomega.ContainSubstring("shardinguser_"))

	token := scraperToken(t)
	s.eventually(soon, func(g gomega.Gomega) { // RBAC changes and statuses take a moment
		status, body = p.scrape(token)
		g.Expect(status).To(gomega.Equal(http.StatusOK))
		g.Expect(body).To(gomega.ContainSubstring(`shardinguser_users{state="ready"} 1`))
	})
	for _, name := range []string{ // contract, section 6, except the login API's metrics
		`shardinguser_users{state="ready"} 1`, `shardinguser_users{state="notready"} 0`,
		`shardinguser_users{state="locked"} 0`, `shardinguser_users{state="inactive"} 0`,
		"shardinguser_lockouts_total 0", "shardinguser_password_hashes_total 1", "shardinguser_drift_corrections_total",
		"shardinguser_database_up 1", "shardinguser_in_memory_store 0", "shardinguser_status_writes_total",
		"shardinguser_observe_lag_seconds_count", "controller_runtime_reconcile_total", "pgxpool_acquire_count",
	} {
		s.Expect(body).To(gomega.ContainSubstring(name))
	}
	s.Expect(body).NotTo(gomega.ContainSubstring("alice"), "no username is a label")
}

func TestProbesReportLivenessAndReadiness(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK))
	s.Expect(p.probe("/readyz")).To(gomega.Equal(http.StatusOK))
	s.eventually(soon, func(g gomega.Gomega) { // it creates its certificate first
		status, _ := testenv.Get(t.Context(), "http://"+p.Metrics+"/metrics", "")
		g.Expect(status).To(gomega.Equal(http.StatusBadRequest), "metrics need HTTPS")
	})
}

func TestManagerIsNotReadyBeforeItsCachesSync(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	// Its rights are the manager's, except those for the resources that it watches.
	nobody := "not-ready"
	_, err := plane.ServiceAccount(t.Context(), s.namespace, nobody)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.kubectl("create", "clusterrole", s.namespace, "--verb=get", "--resource=namespaces")
	s.kubectl("create", "clusterrolebinding", s.namespace, "--clusterrole="+s.namespace, "--serviceaccount="+s.namespace+":"+nobody)
	config, err := plane.ServiceAccount(t.Context(), s.namespace, nobody)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	kubeconfig, err := plane.KubeconfigFor(config)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	p := s.launch("--kubeconfig=" + kubeconfig).begin(t)
	s.eventually(30*time.Second, func(g gomega.Gomega) { g.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK)) })
	s.Consistently(func() int { return p.probe("/readyz") }).WithTimeout(2 * time.Second).WithPolling(100 * time.Millisecond).
		Should(gomega.Equal(http.StatusInternalServerError))
	// It still stops cleanly.
	p.Signal(syscall.SIGTERM)
	p.exit(20 * time.Second)
}

func TestSIGTERMStopsABusyManagerCleanly(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.secret("shared", canary+" shared")
	for i := range 50 {
		s.user(fmt.Sprintf("user-%d", i), secret("shared"))
	}
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.rows()).NotTo(gomega.BeEmpty()) })
	from := time.Now()
	p.Signal(syscall.SIGTERM)
	s.Expect(p.exit(20 * time.Second)).To(gomega.BeZero())
	s.Expect(time.Since(from)).To(gomega.BeNumerically("<", 20*time.Second))
	// The next manager does the remaining work.
	s.start()
	s.eventually(time.Minute, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(50)) })
}

// countReady returns the count of the story's users that are ready for their current specs.
func (s *story) countReady() int {
	s.t.Helper()
	n := 0
	for _, u := range s.users() {
		for _, c := range u.Status.Conditions {
			if c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue && c.ObservedGeneration == u.Generation {
				n++
			}
		}
	}
	return n
}

func TestFiftyUsersOfOneSecretAreRotatedTogether(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	shared := s.secret("shared", canary+" shared")
	for i := range 50 {
		s.user(fmt.Sprintf("user-%d", i), secret("shared"))
	}
	s.eventually(time.Minute, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(50)) })
	before := s.rows()
	s.rotate(shared, canary+" rotated")
	s.eventually(time.Minute, func(g gomega.Gomega) {
		for name, r := range s.rows() {
			g.Expect(r.Hash).NotTo(gomega.Equal(before[name].Hash))
		}
	})
	hashes, _ := p.metric("shardinguser_password_hashes_total")
	s.Expect(hashes).To(gomega.BeEquivalentTo(100))
}

func TestCountersAndLastLoginAreReportedWithinAMinute(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	u := s.readyUser("alice")
	s.sql(`UPDATE users SET failed_login_attempts = 3, last_login_at = '2026-01-31 12:00:00' WHERE username = 'alice'`)
	s.Eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.FailedLoginAttempts).To(gomega.BeEquivalentTo(3))
		g.Expect(u.Status.LastLoginTime).NotTo(gomega.BeNil())
		g.Expect(u.Status.LastLoginTime.UTC().Format(time.RFC3339)).To(gomega.Equal("2026-01-31T12:00:00Z"))
	}).WithTimeout(time.Minute).WithPolling(250 * time.Millisecond).Should(gomega.Succeed())
}
