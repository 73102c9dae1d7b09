// SPDX-License-Identifier: Apache-2.0

//go:build node

package node

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// The README's path for kustomize: install.yaml, its Secret, a first user, another version, and back.
func TestInstallYAMLIsInstalledUsedUpgradedAndRemoved(t *testing.T) {
	o := newOperator(t)
	o.client()
	o.installYAML(before)
	o.waitsForItsSecret()
	o.Expect(o.readme()).To(gomega.ContainSubstring(`{"username":"alice","roles":["operator"]}`))
	o.runs(before)
	t.Logf("pod start to Ready: %s", o.startsIn())
	for _, pod := range o.pods() {
		o.isConfined(&pod)
	}
	o.enforcesRestricted()
	o.takesTheSamples()

	o.installYAML(after)
	o.runs(after)
	o.logsIn("alice", "correct-horse-battery")
	kubectl(t, "-n", system, "rollout", "undo", "deployment", manager)
	o.runs(before)
	o.logsIn("alice", "correct-horse-battery")

	kubectl(t, "delete", "shardingusers", "-A", "--all", "--timeout=60s")
	o.Expect(o.rows()).To(gomega.BeEmpty())
	o.Expect(confirmCRDs(t.Context())).To(gomega.Succeed())
	kubectl(t, "delete", "-f", filepath.Join("dist", "install.yaml"), "--timeout=120s")
	o.removed("clusterroles,clusterrolebindings,crds,validatingadmissionpolicies,namespaces")
}

// installYAML makes dist/install.yaml as a user does, and applies it.
func (o *operator) installYAML(version string) {
	o.t.Helper()
	must(o.t, "make", "--no-print-directory", "build-installer", "IMG="+repository+":"+version)
	kubectl(o.t, "apply", "--server-side", "-f", filepath.Join("dist", "install.yaml"))
}

// waitsForItsSecret checks that the pod of a new installation says which Secret is missing.
func (o *operator) waitsForItsSecret() {
	o.t.Helper()
	o.eventually(soon, func(g gomega.Gomega) {
		g.Expect(kubectl(o.t, "-n", system, "get", "pods", "--no-headers")).To(gomega.ContainSubstring("ContainerCreating"))
		g.Expect(kubectl(o.t, "-n", system, "get", "events", "-o", "jsonpath={.items[*].message}")).
			To(gomega.ContainSubstring(`secret "shardinguser-database" not found`))
	})
}

// isConfined checks, in /proc, how the kernel confines the manager of a pod.
func (o *operator) isConfined(pod *corev1.Pod) {
	o.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", o.process(pod))
	status, err := os.ReadFile(proc + "status")
	o.Expect(err).NotTo(gomega.HaveOccurred())
	for _, line := range []string{
		`Uid:\t65532\t65532\t65532\t65532`, `Gid:\t65532\t65532\t65532\t65532`, `NoNewPrivs:\t1`, `Seccomp:\t2`,
		`CapInh:\t0{16}`, `CapPrm:\t0{16}`, `CapEff:\t0{16}`, `CapBnd:\t0{16}`, `CapAmb:\t0{16}`,
	} {
		o.Expect(string(status)).To(gomega.MatchRegexp(`(?m)^` + line + `$`))
	}
	mounts, err := os.ReadFile(proc + "mountinfo")
	o.Expect(err).NotTo(gomega.HaveOccurred())
	o.Expect(string(mounts)).To(gomega.MatchRegexp(`(?m)^\d+ \d+ \d+:\d+ / / ro,`), "the root is read-only")
	// All other writable mounts are the kernel's, files that the kubelet makes for the pod, and volumes of the values.
	own := map[string]bool{}
	for _, mount := range pod.Spec.Containers[0].VolumeMounts {
		own[mount.MountPath] = !mount.ReadOnly
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if path := fields[4]; strings.HasPrefix(fields[5], "rw") && !own[path] {
			o.Expect(path).To(gomega.MatchRegexp(`^/(proc|dev|sys/fs/cgroup)(/|$)|^/etc/(hosts|hostname|resolv\.conf)$`), line)
		}
	}
}

// enforcesRestricted checks that the API server rejects a pod with the usual rights in the operator's namespace.
func (o *operator) enforcesRestricted() {
	o.t.Helper()
	_, err := command(o.t.Context(), "kubectl", "-n", system, "run", "intruder", "--image=localhost/client:1")
	o.Expect(err).To(gomega.MatchError(gomega.ContainSubstring(`violates PodSecurity "restricted:latest"`)))
}

// takesTheSamples applies the samples, and reads them with the plugin.
func (o *operator) takesTheSamples() {
	o.t.Helper()
	kubectl(o.t, "apply", "-k", "config/samples")
	kubectl(o.t, "-n", "sharding-system", "wait", "--for=condition=Ready", "shardingusers", "--all", "--timeout=60s")
	o.Expect(o.rows()).To(gomega.Equal([]string{"admin", "alice", "operator", "viewer"}))
	o.logsIn("admin", "admin123")
	list := kubectl(o.t, "shardinguser", "list", "-A")
	o.Expect(list).To(gomega.MatchRegexp(`(?m)^sharding-system\s+admin\s`))
	doctor := kubectl(o.t, "shardinguser", "doctor", "-n", "default", "alice")
	o.Expect(doctor).To(gomega.MatchRegexp(`(?m)^\s+ok\s+Operator\s`))
	o.Expect(regexp.MustCompile(`(?m)^\s+(error|warning)\s`).FindAllString(doctor, -1)).To(gomega.BeEmpty(), doctor)
	kubectl(o.t, "-n", "sharding-system", "annotate", "shardinguser", "admin", "sharding.io/allow-removing-last-administrator=true")
	kubectl(o.t, "delete", "-k", "config/samples", "--timeout=60s")
	o.Expect(o.rows()).To(gomega.Equal([]string{"alice"}))
}
