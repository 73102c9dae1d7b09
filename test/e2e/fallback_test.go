// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// fallen waits until a replica decides log-ins from memory, or until it does not any more.
func (s *story) fallen(p *process, active float64) {
	s.t.Helper()
	s.eventually(30*time.Second, func(g gomega.Gomega) {
		is, found := p.metric("shardinguser_fallback_active")
		g.Expect(found).To(gomega.BeTrue())
		g.Expect(is).To(gomega.Equal(active))
	})
}

// logsIn tries the password that a user of these stories has, and wants this status.
func (s *story) logsIn(p *process, username string, want int) {
	s.t.Helper()
	status, _ := p.logIn(username, canary+" "+username)
	s.ExpectWithOffset(1, status).To(gomega.Equal(want), username)
}

// fails makes so many failed log-ins.
func (s *story) fails(p *process, username string, times int) {
	s.t.Helper()
	for range times {
		status, body := p.logIn(username, canary+" wrong")
		s.ExpectWithOffset(1, status).To(gomega.Equal(http.StatusUnauthorized))
		s.ExpectWithOffset(1, body).To(gomega.MatchJSON(refused))
	}
}

// locked waits until a user's status says that it is locked.
func (s *story) locked(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeTrue())
		g.Expect(u.Status.LockedUntil).NotTo(gomega.BeNil())
	})
}

// member makes a user whose password is known to the story.
func (s *story) member(name string) *v1alpha1.ShardingUser {
	s.t.Helper()
	s.secret(name, canary+" "+name)
	return s.readyUser(name, secret(name), roles("operator"))
}

// basic is the Authorization header of Basic credentials.
func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// attempts is how many attempts of a user are on record with this outcome.
func (s *story) attempts(username, outcome string) (n int) {
	s.t.Helper()
	s.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM login_attempts WHERE username = $1 AND outcome = $2`, username, outcome).
		Scan(&n)).To(gomega.Succeed())
	return n
}

func TestLogInsGoOnWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	for name, fault := range variants(t, map[string]fault{
		"connections are cut and refused": faults["connections are cut and refused"],
		"connections are half open":       faults["connections are half open"],
		"it became a read-only node":      faults["it became a read-only node"],
		"the role may not log in":         faults["the role may not log in"],
	}, "connections are half open", "the role may not log in") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			proxy, through := testenv.DatabaseProxy(t, s.dsn)
			launch := s.launchOn(through, "--watch-namespaces="+s.namespace)
			launch.env = []string{"POD_NAME=pod-of-" + s.namespace}
			p := launch.begin(t).ready()
			s.member("alice")
			bob, carol := s.member("bob"), s.member("carol")
			s.fails(p, "bob", 5)
			s.locked(bob)
			s.fails(p, "carol", 2)

			fault.begin(s, proxy)
			s.fallen(p, 1)
			s.logsIn(p, "alice", http.StatusOK)
			s.logsIn(p, "bob", http.StatusUnauthorized)
			s.logsIn(p, "admin", http.StatusUnauthorized)
			status, _ := p.logIn("admin", "admin123")
			s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "a default password that nobody created")
			s.fails(p, "alice", 3)
			s.fails(p, "carol", 3)
			s.logsIn(p, "carol", http.StatusUnauthorized)
			s.locked(carol) // everybody sees it during the outage

			fault.end(s, proxy)
			s.fallen(p, 0)
			s.Expect(s.row("alice").Failed).To(gomega.Equal(3))
			s.Expect(s.row("carol").Failed).To(gomega.Equal(5))
			s.logsIn(p, "carol", http.StatusUnauthorized)
			s.logsIn(p, "alice", http.StatusOK)
			s.eventually(soon, func(g gomega.Gomega) {
				g.Expect(s.attempts("alice", "failed")).To(gomega.Equal(3))
				g.Expect(s.attempts("alice", "success")).To(gomega.Equal(2))
				g.Expect(s.attempts("bob", "locked")).To(gomega.Equal(1))
			})
			decided, _ := p.metric("shardinguser_fallback_attempts_total")
			s.Expect(decided).To(gomega.BeNumerically(">=", 11))
			s.Expect(p.said()).To(gomega.ContainSubstring(`"fallback":true`))
			s.announced()
		})
	}
}

// announced wants one Event of the beginning and one of the end, about the story's replica.
func (s *story) announced() {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		var events eventsv1.EventList
		g.Expect(s.kube.List(s.t.Context(), &events)).To(gomega.Succeed())
		count := map[string]int{}
		for _, e := range events.Items {
			if e.Regarding.Kind == "Pod" && e.Regarding.Name == "pod-of-"+s.namespace {
				count[e.Reason]++
			}
		}
		g.Expect(count).To(gomega.Equal(map[string]int{status.EventFallbackBegan: 1, status.EventFallbackEnded: 1}))
	})
}

func TestWithoutFallbackNobodyLogsInWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	p := s.launchOn(through, "--watch-namespaces="+s.namespace, "--fallback=off").begin(t).ready()
	s.member("alice")
	proxy.Cut()
	s.logsIn(p, "alice", http.StatusServiceUnavailable)
	active, found := p.metric("shardinguser_fallback_active")
	s.Expect(found).To(gomega.BeTrue())
	s.Expect(active).To(gomega.BeZero())
	proxy.Restore()
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("alice", canary+" alice")
		g.Expect(status).To(gomega.Equal(http.StatusOK))
	})
}

// A restart in the midst of an outage: what is left is the cluster.
func TestAReplicaThatStartsWithoutTheDatabaseDecidesByTheCluster(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	begin := func() *process { return s.launchOn(through, "--watch-namespaces="+s.namespace).begin(t).ready() }
	p := begin()
	alice := s.member("alice")
	bob, carol := s.member("bob"), s.member("carol")
	hash, err := bcrypt.GenerateFromPassword([]byte(canary+" dave"), 10)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.secret("dave", string(hash))
	s.readyUser("dave", secret("dave"), hashed)
	s.fails(p, "bob", 5)
	s.locked(bob)
	proxy.Cut()
	s.fallen(p, 1)
	s.fails(p, "carol", 5)
	s.locked(carol)
	p.Kill()

	p = begin()
	s.fallen(p, 1)
	s.logsIn(p, "alice", http.StatusOK)
	s.logsIn(p, "bob", http.StatusUnauthorized)
	s.logsIn(p, "carol", http.StatusUnauthorized)
	s.logsIn(p, "dave", http.StatusOK)
	s.logsIn(p, "mallory", http.StatusUnauthorized)
	s.fails(p, "dave", 2)
	s.edit(alice, func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(false) })
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("alice", canary+" alice")
		g.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	})

	proxy.Restore()
	s.fallen(p, 0)
	var locked bool
	s.Expect(s.db.QueryRow(t.Context(), `SELECT locked_until > now() AT TIME ZONE 'UTC' FROM users WHERE username = 'carol'`).
		Scan(&locked)).To(gomega.Succeed())
	s.Expect(locked).To(gomega.BeTrue(), "the lock of the first process")
	s.Expect(s.row("dave").Failed).To(gomega.Equal(2))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
}

// Two replicas on one database: log-ins on both, and locks of an outage on both.
func TestReplicasTellEachOtherOfTheLocksOfAnOutage(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	lease := s.ownLease()
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	begin := func() *process {
		return s.launchOn(through, "--watch-namespaces="+s.namespace, lease, "--leader-elect").begin(t).ready()
	}
	here, there := begin(), begin()
	alice := s.member("alice")
	s.logsIn(here, "alice", http.StatusOK)
	s.logsIn(there, "alice", http.StatusOK)
	proxy.Cut()
	s.fallen(here, 1)
	s.fallen(there, 1)
	s.fails(there, "alice", 5)
	s.locked(alice)
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := here.logIn("alice", canary+" alice")
		g.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	})
	proxy.Restore()
	s.fallen(here, 0)
	s.fallen(there, 0)
	s.logsIn(here, "alice", http.StatusUnauthorized)
	s.logsIn(there, "alice", http.StatusUnauthorized)
}

// What somebody else changes in the table counts for what a gateway asks next, though the password was recognised before.
func TestAGatewayIsRefusedWithinASecondWhereverTheChangeWasMade(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.member("alice")
	verify := func() int {
		answer, err := p.Verify(t.Context(), basic("alice", canary+" alice"))
		s.Expect(err).NotTo(gomega.HaveOccurred())
		return answer.Status
	}
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(verify()).To(gomega.Equal(http.StatusOK)) })
	s.sql(`UPDATE users SET locked_until = now() + interval '1 hour' WHERE username = 'alice'`)
	s.eventually(time.Second, func(g gomega.Gomega) { g.Expect(verify()).To(gomega.Equal(http.StatusUnauthorized)) })
}

// The API server and the lease are the reconciler's matter.
func TestLogInsNeedNoAPIServer(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	s.member("alice")
	s.Expect(first.Stop(20 * time.Second)).To(gomega.Succeed())

	nowhere := rest.CopyConfig(rights)
	nowhere.Host = "https://127.0.0.1:1"
	kubeconfig, err := plane.KubeconfigFor(nowhere)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	p := s.launch("--kubeconfig=" + kubeconfig).begin(t)
	s.eventually(30*time.Second, func(g gomega.Gomega) {
		answer, err := p.LogIn(t.Context(), "alice", canary+" alice")
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(answer.Status).To(gomega.Equal(http.StatusOK))
	})
	s.fails(p, "alice", 5)
	s.logsIn(p, "alice", http.StatusUnauthorized)
	s.Expect(p.Stop(20 * time.Second)).To(gomega.Succeed())
}
