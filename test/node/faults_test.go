// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// installed installs the chart with tokens, a certificate, and these values.
func installed(t *testing.T, values ...string) *operator {
	t.Helper()
	o := newOperator(t)
	o.secret(system, "shardinguser-database", map[string]string{"dsn": o.dsn})
	o.secret(system, "shardinguser-jwt", map[string]string{"secret": strings.Repeat("k3y ", 12)})
	o.certificate("login-tls", "first")
	helm(t, append([]string{"install", release, chart, "--namespace=" + system, "--set=image.tag=" + before,
		"--set=login.jwt.existingSecret=shardinguser-jwt", "--set=login.tls.existingSecret=login-tls"}, values...)...)
	o.runs(before)
	o.user("default", "alice", "correct-horse-battery")
	return o
}

// restarts returns how often the containers restarted, and why the last one ended.
func (o *operator) restarts() (count int32, reason string) {
	for _, pod := range o.pods() {
		for _, container := range pod.Status.ContainerStatuses {
			count += container.RestartCount
			if ended := container.LastTerminationState.Terminated; ended != nil {
				reason = ended.Reason
			}
		}
	}
	return count, reason
}

// cgroup returns the folder of a pod's container in a controller's hierarchy.
func (o *operator) cgroup(pod *corev1.Pod, controller string) string {
	o.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", o.process(pod)))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	path := regexp.MustCompile(`(?m)^\d+:` + controller + `:(.*)$`).FindStringSubmatch(string(content))
	o.Expect(path).NotTo(gomega.BeNil())
	return filepath.Join("/sys/fs/cgroup", controller, path[1])
}

func (o *operator) limit(pod *corev1.Pod, controller, setting string, value int64) {
	o.t.Helper()
	file := filepath.Join(o.cgroup(pod, controller), setting)
	o.Expect(os.WriteFile(file, []byte(strconv.FormatInt(value, 10)), 0o600)).To(gomega.Succeed(), file)
}

// The kernel kills a manager at its memory limit. The kubelet restarts it, and the accounts are as before.
func TestManagerAtItsMemoryLimitIsRestarted(t *testing.T) {
	o := installed(t)
	pod := o.pods()[0]
	usage, err := os.ReadFile(filepath.Join(o.cgroup(&pod, "memory"), "memory.usage_in_bytes"))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	used, err := strconv.ParseInt(strings.TrimSpace(string(usage)), 10, 64)
	o.Expect(err).NotTo(gomega.HaveOccurred())
	t.Logf("a manager with one user uses %d MiB", used>>20)
	o.limit(&pod, "memory", "memory.limit_in_bytes", used)
	address := o.service()
	var open []*connection
	defer func() {
		for _, c := range open {
			c.close()
		}
	}()
	o.eventually(2*time.Minute, func(g gomega.Gomega) {
		for range 20 { // each needs memory
			if c, err := connect(address); err == nil {
				open = append(open, c)
			}
		}
		restarts, reason := o.restarts()
		g.Expect(restarts).To(gomega.BeNumerically(">", 0))
		g.Expect(reason).To(gomega.Equal("OOMKilled"))
	})
	o.rolledOut()
	o.logsIn("alice", "correct-horse-battery")
	o.user("default", "bob", "correct-horse-battery")
	o.logsIn("bob", "correct-horse-battery")
}

// With a tenth of a core, logins and changes are slow, and nothing restarts.
func TestThrottledManagerIsSlowAndNotRestarted(t *testing.T) {
	o := installed(t)
	pod := o.pods()[0]
	o.limit(&pod, "cpu", "cpu.cfs_period_us", 100_000)
	o.limit(&pod, "cpu", "cpu.cfs_quota_us", 10_000)
	holder, began := o.holder(), time.Now()
	for n := range 10 {
		o.user("default", fmt.Sprintf("slow-%d", n), "correct-horse-battery")
		o.logsIn(fmt.Sprintf("slow-%d", n), "correct-horse-battery")
	}
	// Longer than three failed liveness probes at the period of the manifests.
	probe := pod.Spec.Containers[0].LivenessProbe
	long := time.Duration(probe.FailureThreshold*probe.PeriodSeconds) * time.Second
	o.eventually(long+soon, func(g gomega.Gomega) {
		o.logsIn("alice", "correct-horse-battery")
		g.Expect(time.Since(began)).To(gomega.BeNumerically(">", long))
	})
	restarts, reason := o.restarts()
	o.Expect(restarts).To(gomega.BeZero(), reason)
	o.Expect(o.holder()).To(gomega.Equal(holder), "the lease")
}

// A replaced Secret reaches the running manager: the DSN for new connections, the certificate, and the signing secret.
func TestReplacedSecretsAreUsedWithoutARestart(t *testing.T) {
	o := installed(t)
	_, token := o.logIn("alice", "correct-horse-battery")
	status, _, err := ask(o.service(), verifyRequest("Bearer "+token))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	o.Expect(status).To(gomega.Equal(200))

	config, err := pgx.ParseConfig(o.dsn)
	o.Expect(err).NotTo(gomega.HaveOccurred())
	o.sql(fmt.Sprintf("ALTER ROLE %s PASSWORD 'rotated'", o.role(o.dsn)))
	o.secret(system, "shardinguser-database", map[string]string{"dsn": strings.Replace(o.dsn, config.Password, "rotated", 1)})
	o.secret(system, "shardinguser-jwt", map[string]string{"secret": strings.Repeat("new ", 12)})
	o.certificate("login-tls", "second")
	// The kubelet updates the files. Then the connections of the former password are ended.
	o.eventually(2*time.Minute, func(g gomega.Gomega) {
		c, err := connect(o.service())
		g.Expect(err).NotTo(gomega.HaveOccurred())
		defer c.close()
		g.Expect(commonName(c.tls)).To(gomega.Equal("second"))
		status, _, _, err := c.ask(verifyRequest("Bearer " + token))
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(status).To(gomega.Equal(401), "a token of the former secret")
	})
	o.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", config.User)
	o.user("default", "bob", "correct-horse-battery")
	o.logsIn("bob", "correct-horse-battery")
	restarts, reason := o.restarts()
	o.Expect(restarts).To(gomega.BeZero(), reason)
}

func commonName(c *tls.Conn) string {
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// Logins need no API server. The leader cannot renew its lease and restarts, which nothing can report to the Service: for that
// second, its share of the connections is refused. When the API server is back, the manager catches up.
func TestLoginsNeedNoAPIServer(t *testing.T) {
	o := installed(t, "--set=replicas=2")
	away := 5 * time.Minute
	if testing.Short() {
		away = 30 * time.Second // longer than the lease
	}
	address, halted := o.service(), time.Now()
	node(t, "halt", "apiserver")
	t.Cleanup(func() { node(t, "resume", "apiserver") })
	var all tally
	o.eventually(away+soon, func(g gomega.Gomega) {
		sent := time.Now()
		status, _, err := ask(address, loginRequest("alice", "correct-horse-battery"))
		all.count(sent, status, err)
		g.Expect(time.Since(halted)).To(gomega.BeNumerically(">", away))
	})
	t.Logf("logins: %s", &all)
	node(t, "resume", "apiserver")
	back := time.Now()
	o.eventually(soon, func(g gomega.Gomega) {
		_, err := command(t.Context(), "kubectl", "get", "--raw=/readyz")
		g.Expect(err).NotTo(gomega.HaveOccurred())
	})
	o.user("default", "bob", "correct-horse-battery")
	t.Logf("a new user is Ready %s after the API server was started", time.Since(back).Round(time.Second))
	o.logsIn("bob", "correct-horse-battery")
	o.rolledOut()
	restarts, _ := o.restarts()
	o.Expect(restarts).To(gomega.BeNumerically("<=", 1), "restarts, by the leader alone")
	o.Expect(all.refused+all.reset).To(gomega.Equal(all.failed()), "only the restarting leader fails logins")
	o.Expect(all.lastFailure.Sub(all.firstFailure)).To(gomega.BeNumerically("<", 5*time.Second), "failures")
}
