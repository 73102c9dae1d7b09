// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leads reports whether a manager's metric says that it is the leader.
func (p *process) leads() bool {
	p.t.Helper()
	leads, _ := p.metric("leader_election_master_status")
	return leads == 1
}

// ownLease gives managers a lease in the story's namespace, where no other story waits for it, with the same rights
// as in the operator's namespace. It returns the flag that sets this.
func (s *story) ownLease() string {
	s.t.Helper()
	var roles rbacv1.RoleList
	s.Expect(s.kube.List(s.t.Context(), &roles, client.InNamespace(systemNamespace))).To(gomega.Succeed())
	meta := metav1.ObjectMeta{Namespace: s.namespace, Name: "lease"}
	role := &rbacv1.Role{ObjectMeta: meta}
	for _, installed := range roles.Items {
		role.Rules = append(role.Rules, installed.Rules...)
	}
	s.Expect(s.kube.Create(s.t.Context(), role)).To(gomega.Succeed())
	s.Expect(s.kube.Create(s.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: account}},
	})).To(gomega.Succeed())
	return "--leader-election-namespace=" + s.namespace
}

// pair starts two managers for the story. The first leads.
func (s *story) pair(args ...string) (leader, standby *process) {
	s.t.Helper()
	args = append(args, "--leader-elect")
	leader = s.start(args...)
	s.eventually(40*time.Second, func(g gomega.Gomega) { g.Expect(leader.leads()).To(gomega.BeTrue()) })
	standby = s.start(args...)
	s.Expect(standby.leads()).To(gomega.BeFalse())
	return leader, standby
}

// holder returns the holder of the story's lease, or "".
func (s *story) holder() string {
	s.t.Helper()
	return s.kubectl("get", "leases", "-n", s.namespace, "-o=jsonpath={.items[*].spec.holderIdentity}")
}

func TestStandbyTakesOverFromAKilledLeader(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	leader, standby := s.pair(s.ownLease())
	s.readyUser("before")
	leader.Kill()
	u := s.user("after")
	s.reports(40*time.Second, u, "Synced")
	s.Expect(standby.leads()).To(gomega.BeTrue())
}

func TestStandbyTakesOverAtOnceFromAStoppedLeader(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	leader, standby := s.pair(s.ownLease())
	s.readyUser("before")
	held := s.holder()
	leader.Signal(syscall.SIGTERM)
	s.Expect(leader.exit(20 * time.Second)).To(gomega.BeZero())
	s.Expect(s.holder()).NotTo(gomega.Equal(held), "the leader releases the lease")
	s.readyUser("after")
	s.Expect(standby.leads()).To(gomega.BeTrue())
}

func TestResumedFormerLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	leader, _ := s.pair(s.ownLease(), "--hash-cores=1") // leaves time to stop it during its work
	shared := s.secret("shared", canary+" shared")
	const users = 40
	for i := range users {
		s.user(fmt.Sprintf("user-%02d", i), secret("shared"), roles("viewer"))
	}
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(len(s.rows())).To(gomega.BeNumerically(">", 3)) })
	leader.Signal(syscall.SIGSTOP)

	s.eventually(time.Minute, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(users)) })
	s.rotate(shared, canary+" rotated")
	all := s.users()
	for i := range all {
		switch u := &all[i]; i % 3 {
		case 0:
			s.edit(u, roles("admin"))
		case 1:
			s.delete(u)
			s.gone(soon, u)
			if i%2 == 0 {
				s.user(u.Name, roles("operator"))
			}
		}
	}
	before := ""
	s.Eventually(func() bool { // until nothing changes
		last := before
		before = s.everything()
		return last == before && s.countReady() == len(s.users())
	}).WithTimeout(time.Minute).WithPolling(2 * time.Second).Should(gomega.BeTrue())

	leader.Signal(syscall.SIGCONT)
	s.Expect(leader.exit(25*time.Second)).NotTo(gomega.BeZero(), "a manager that lost the lease exits with an error")
	s.Expect(s.everything()).To(gomega.Equal(before))
}

// everything returns all rows, ownership records and resources of the story, each with its version.
func (s *story) everything() string {
	s.t.Helper()
	var notes string
	s.Expect(s.db.QueryRow(s.t.Context(), `SELECT coalesce(string_agg(xmin::text || n::text, E'\n' ORDER BY username), '')
		FROM shardinguser_ownership n`).Scan(&notes)).To(gomega.Succeed())
	text := fmt.Sprintln(s.rows(), notes)
	for _, u := range s.users() {
		text += fmt.Sprintln(u.Name, u.UID, u.ResourceVersion)
	}
	return text
}

// A replica that stops is still routed to for a while, on kept connections too.
func TestAStoppingReplicaServesLoginsForTheShutdownDelay(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	leader, standby := s.pair(s.ownLease(), "--shutdown-delay=4s")
	s.member("alice")
	s.logsIn(leader, "alice", http.StatusOK) // leaves a kept connection
	leader.Signal(syscall.SIGTERM)

	s.eventually(4*time.Second, func(g gomega.Gomega) {
		g.Expect(leader.probe("/readyz")).To(gomega.Equal(http.StatusInternalServerError))
	})
	s.Expect(leader.probe("/healthz")).To(gomega.Equal(http.StatusOK))
	answer, err := leader.Verify(t.Context(), basic("alice", canary+" alice"))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(answer.Status).To(gomega.Equal(http.StatusOK))
	s.Expect(answer.Closes).To(gomega.BeTrue(), "a client of a kept connection continues elsewhere")
	s.eventually(4*time.Second, func(g gomega.Gomega) { g.Expect(standby.leads()).To(gomega.BeTrue()) })
	s.logsIn(leader, "alice", http.StatusOK) // on a new connection
	s.Expect(leader.exit(20 * time.Second)).To(gomega.BeZero())
	s.Expect(leader.said()).To(gomega.MatchRegexp(`The probe fails.*readyz.*the process is stopping`))
}
