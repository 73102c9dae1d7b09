// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// It has its own API server: all other stories share one.
func TestLoginsContinueWithoutTheAPIServerAndAreReportedLater(t *testing.T) {
	t.Parallel()
	own, err := newSite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := storyAt(t, own, testenv.Server(t))
	lease := s.ownLease()
	leader, standby := s.pair(lease)
	alice, bob := s.member("alice"), s.member("bob")
	s.logsIn(leader, "alice", http.StatusOK)

	s.Expect(own.Kill(t.Context(), "kube-apiserver", "etcd")).To(gomega.Succeed())
	both := func(username string, want int) {
		s.logsIn(leader, username, want)
		s.logsIn(standby, username, want)
	}
	both("alice", http.StatusOK)
	s.fails(standby, "bob", 5)
	both("bob", http.StatusUnauthorized)

	// A manager that cannot renew the lease ends once and is restarted, as a kubelet does. A manager without a lease waits.
	s.Expect(leader.exit(time.Minute)).NotTo(gomega.BeZero())
	again := s.launch(lease, "--leader-elect").begin(t)
	s.sql(`UPDATE users SET roles = '["forged"]' WHERE username = 'alice'`)
	for _, p := range []*process{again, standby} {
		s.eventually(soon, func(g gomega.Gomega) {
			g.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK))
			answer, err := p.LogIn(t.Context(), "alice", canary+" alice")
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(answer.Status).To(gomega.Equal(http.StatusOK))
		})
		s.logsIn(p, "bob", http.StatusUnauthorized)
	}

	if !testing.Short() { // long enough for a backoff to become longer than the limit below
		s.Consistently(func() (int, error) {
			answer, err := again.LogIn(t.Context(), "alice", canary+" alice")
			return answer.Status, err
		}).WithTimeout(time.Minute).WithPolling(time.Second).Should(gomega.Equal(http.StatusOK))
	}
	s.Expect(own.Restart(t.Context(), "etcd", "kube-apiserver")).To(gomega.Succeed())
	from := time.Now()
	s.eventually(10*time.Second, func(g gomega.Gomega) { // a manager that started without an API server notices its return
		g.Expect(again.probe("/readyz")).To(gomega.Equal(http.StatusOK))
	})
	s.eventually(2*soon, func(g gomega.Gomega) { // the lease may have to expire
		g.Expect(s.kube.Get(t.Context(), key(bob), bob)).To(gomega.Succeed())
		g.Expect(bob.Status.Locked).To(gomega.BeTrue())
	})
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["operator"]`)) })
	t.Logf("all was reported and corrected %v after the API server was available again", time.Since(from))
	s.edit(alice, roles("viewer"))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	s.readyUser("created")
	s.Expect(again.Running()).To(gomega.BeTrue(), "the restarted manager keeps running")
	s.Expect(standby.Running()).To(gomega.BeTrue(), "a standby keeps running")
	again.ready()

	var leases coordinationv1.LeaseList
	s.Expect(s.kube.List(t.Context(), &leases, client.InNamespace(s.namespace))).To(gomega.Succeed())
	s.Expect(leases.Items).To(gomega.HaveLen(1))
	s.Expect(leases.Items[0].Spec.HolderIdentity).NotTo(gomega.BeNil())
}
