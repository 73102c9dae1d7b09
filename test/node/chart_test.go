// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestChartIsInstalledUpgradedRolledBackAndRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		deployment string
		values     []string
		given      func(o *operator)
	}{
		"with its defaults": {manager, nil, func(o *operator) {
			o.secret(system, "shardinguser-database", map[string]string{"dsn": o.dsn})
		}},
		"with everything": {"accounts-controller-manager", everything, (*operator).secretsOfEverything},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOperator(t)
			o.deployment = test.deployment
			test.given(o)
			values := append([]string{chart, "--namespace=" + system, "--set=image.repository=" + repository}, test.values...)
			helm(t, append([]string{"install", release, "--set=image.tag=" + before}, values...)...)
			o.runs(before)
			t.Logf("pod start to Ready: %s", o.startsIn())
			o.user("default", "alice", "correct-horse-battery")
			o.logsIn("alice", "correct-horse-battery")
			pods := o.pods()
			o.isConfined(&pods[0])

			helm(t, "upgrade", release, chart, "--namespace="+system, "--reset-then-reuse-values", "--set=image.tag="+after)
			o.runs(after)
			o.logsIn("alice", "correct-horse-battery")
			kubectl(t, "-n", system, "rollout", "undo", "deployment", o.deployment)
			o.runs(before)
			o.logsIn("alice", "correct-horse-battery")

			helm(t, "uninstall", release, "--namespace="+system, "--wait")
			o.Expect(o.rows()).To(gomega.ContainElement("alice"), "accounts outlive the operator")
			o.Expect(kubectl(t, "get", "shardinguser", "alice", "-o", "name")).To(gomega.ContainSubstring("alice"))
			o.removed("clusterroles,clusterrolebindings,validatingadmissionpolicies")
			o.removed("deployments,services,pods,roles,rolebindings,networkpolicies,poddisruptionbudgets,serviceaccounts")
		})
	}
}

// everything are the values of ci/everything-values.yaml, without what this node does not have: the Prometheus Operator and
// a registry with digests.
var everything = []string{
	"--values=" + chart + "/ci/everything-values.yaml", "--set=image.digest=",
	"--set=monitoring.serviceMonitor.enabled=false", "--set=monitoring.prometheusRule.enabled=false",
}

// secretsOfEverything creates the Secrets that these values name.
func (o *operator) secretsOfEverything() {
	o.secret(system, "accounts-dsn", map[string]string{"url": o.dsn})
	logins := testenv.Role(o.t, o.admin)
	o.sql("GRANT " + o.role(o.dsn) + " TO " + o.role(logins))
	o.secret(system, "accounts-login-dsn", map[string]string{"dsn": logins})
	o.secret(system, "accounts-listen-dsn", map[string]string{"dsn": o.dsn})
	o.secret(system, "accounts-jwt", map[string]string{"signing": strings.Repeat("now ", 12), "before": strings.Repeat("before ", 12)})
	ca, err := os.ReadFile(filepath.Join(folder, "state", "pki", "ca.crt"))
	o.Expect(err).NotTo(gomega.HaveOccurred())
	o.secret(system, "postgres-ca", map[string]string{"ca.crt": string(ca)})
	o.certificate("accounts-login-tls", "accounts")
}

// certificate creates or replaces a Secret with a self-signed certificate.
func (o *operator) certificate(secret, name string) {
	o.t.Helper()
	dir := o.t.TempDir()
	key, certificate := filepath.Join(dir, "tls.key"), filepath.Join(dir, "tls.crt")
	must(o.t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/CN="+name, "-keyout", key, "-out", certificate)
	data := map[string]string{}
	for _, file := range []string{key, certificate} {
		content, err := os.ReadFile(file)
		o.Expect(err).NotTo(gomega.HaveOccurred())
		data[filepath.Base(file)] = string(content)
	}
	o.secret(system, secret, data)
}

func TestNamespacedTreeIsInstalledUpgradedRolledBackAndRemoved(t *testing.T) {
	o := newOperator(t)
	o.secret("team-a", "unrelated", map[string]string{"key": "value"})
	o.secret(system, "shardinguser-database", map[string]string{"dsn": o.dsn})
	o.namespacedTree(before)
	o.runs(before)
	o.user("team-a", "alice", "correct-horse-battery")
	o.logsIn("alice", "correct-horse-battery")
	_, err := command(t.Context(), "kubectl", "auth", "can-i", "get", "secrets", "-n", "default", "--as=system:serviceaccount:"+system+":"+manager)
	o.Expect(err).To(gomega.HaveOccurred(), "it may read Secrets of other namespaces")

	o.namespacedTree(after)
	o.runs(after)
	o.logsIn("alice", "correct-horse-battery")
	kubectl(t, "-n", system, "rollout", "undo", "deployment", manager)
	o.runs(before)
	o.logsIn("alice", "correct-horse-battery")

	kubectl(t, "-n", "team-a", "delete", "shardingusers", "--all", "--timeout=60s")
	o.Expect(o.rows()).To(gomega.BeEmpty())
	o.Expect(confirmCRDs(t.Context())).To(gomega.Succeed())
	kubectl(t, "delete", "-k", "config/namespaced", "--timeout=120s")
	err = kube.Get(t.Context(), client.ObjectKey{Name: system}, &corev1.Namespace{})
	o.Expect(client.IgnoreNotFound(err)).NotTo(gomega.HaveOccurred())
	o.Expect(err).To(gomega.HaveOccurred(), "the namespace is deleted")
}

// namespacedTree applies config/namespaced with a version of the image.
func (o *operator) namespacedTree(version string) {
	o.t.Helper()
	file := filepath.Join(o.t.TempDir(), "namespaced.yaml")
	must(o.t, "bash", "-euo", "pipefail", "-c",
		"bin/tools/kustomize build config/namespaced | sed 's|image: controller:latest|image: "+repository+":"+version+"|' >"+file)
	kubectl(o.t, "apply", "--server-side", "-f", file)
}
