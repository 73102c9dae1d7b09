// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Tests run only nginx. For the other gateways, this compares the address with the Service.
func TestGatewayExamplesCallTheInstalledService(t *testing.T) {
	t.Parallel()
	g := gomega.NewWithT(t)
	kube, err := client.New(plane.Config(), client.Options{Scheme: scheme})
	g.Expect(err).NotTo(gomega.HaveOccurred())
	service, namespace, _ := strings.Cut(strings.TrimSuffix(loginName, ".svc"), ".")
	var installed corev1.Service
	g.Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: service}, &installed)).To(gomega.Succeed())
	g.Expect(installed.Spec.Ports).To(gomega.ConsistOf(gomega.HaveField("Port", gomega.BeEquivalentTo(443))))

	for _, name := range []string{"nginx-site.conf", "traefik.yaml", "envoy.yaml"} {
		content, err := os.ReadFile(filepath.Join(root, "examples", "gateways", name))
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(string(content)).To(gomega.And(gomega.ContainSubstring(loginName), gomega.ContainSubstring("/api/v1/auth/verify")), name)
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
			var parsed map[string]any
			g.Expect(yaml.UnmarshalStrict(document, &parsed)).To(gomega.Succeed(), name)
			g.Expect(parsed).NotTo(gomega.BeEmpty(), name)
		}
	}
}
