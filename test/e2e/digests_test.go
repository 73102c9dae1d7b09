// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Not parallel: it writes into the Secret that all managers read.
func TestRestartedManagerRecognisesPasswordsByTheirDigests(t *testing.T) {
	s := newStory(t)
	key := &corev1.Secret{ObjectMeta: named(systemNamespace, digestKey)}
	s.Expect(s.kube.Patch(t.Context(), key, client.RawPatch(merge, []byte(`{"data":null}`)))).To(gomega.Succeed(), "as it is installed")
	begin := func() *process {
		p := s.start()
		s.eventually(soon, func(g gomega.Gomega) {
			active, _ := p.metric("shardinguser_password_digest_key")
			g.Expect(active).To(gomega.BeEquivalentTo(1))
		})
		return p
	}
	p := begin()
	s.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(key), key)).To(gomega.Succeed())
	s.Expect(key.Data["key"]).To(gomega.HaveLen(32))
	password := s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	s.Expect(p.Stop(soon)).To(gomega.Succeed())

	s.Expect(s.kube.Patch(t.Context(), password, client.RawPatch(merge, []byte(`{"metadata":{"labels":{"a":"b"}}}`)))).To(gomega.Succeed())
	p = begin()
	s.kubectl("-n", s.namespace, "wait", "shardinguser/alice", "--for=jsonpath={.status.passwordSecretVersion}="+password.ResourceVersion)
	for _, metric := range []string{"shardinguser_password_hashes_total", "shardinguser_password_comparisons_total"} {
		n, found := p.metric(metric)
		s.Expect(found).To(gomega.BeTrue())
		s.Expect(n).To(gomega.BeZero(), metric)
	}
}
