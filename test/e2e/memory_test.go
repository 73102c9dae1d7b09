// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestManagerWithoutADSNServesFromMemoryAndReportsIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	start := func() *process { return launch{args: []string{"--watch-namespaces=" + s.namespace}}.begin(t).ready() }
	first := start()
	s.Expect(first.said()).To(gomega.MatchRegexp(`"level":"warn".*memory.*DSN`))
	inMemory := func(p *process) {
		s.eventually(soon, func(g gomega.Gomega) {
			value, found := p.metric("shardinguser_in_memory_store")
			g.Expect(found).To(gomega.BeTrue())
			g.Expect(value).To(gomega.BeEquivalentTo(1))
		})
	}
	inMemory(first)
	shared := s.secret("alice", canary+" alice")
	alice, bob := s.readyUser("alice", secret("alice")), s.readyUser("bob", roles("viewer"))
	second := s.user("also-alice", username("alice"))
	s.reports(soon, second, "UsernameTaken")
	s.delete(second)
	s.rotate(shared, canary+" alice, again")
	hashed := func(p *process, want int) {
		s.eventually(soon, func(g gomega.Gomega) {
			hashes, _ := p.metric("shardinguser_password_hashes_total")
			g.Expect(hashes).To(gomega.BeEquivalentTo(want))
		})
	}
	hashed(first, 2)
	first.Signal(syscall.SIGTERM)
	s.Expect(first.exit(20 * time.Second)).To(gomega.BeZero())

	// The resources restore the accounts that the memory lost.
	last := start()
	inMemory(last)
	hashed(last, 1)
	s.edit(bob, roles("operator"))
	s.reports(soon, bob, "Synced")
	s.reports(soon, alice, "Synced")
	s.delete(bob)
	s.gone(soon, bob)
}

// startInMemory starts a manager without a database for the story's namespace.
func (s *story) startInMemory(args ...string) *process {
	s.t.Helper()
	return launch{args: append([]string{"--watch-namespaces=" + s.namespace}, args...)}.begin(s.t).ready()
}

// serves reports whether the login API answers.
func (p *process) serves() bool {
	connection, err := new(net.Dialer).DialContext(p.t.Context(), "tcp", p.Login)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

// serving waits until the manager serves logins: without a database, some time after it is ready.
func (s *story) serving(p *process) *process {
	s.t.Helper()
	s.eventually(40*time.Second, func(g gomega.Gomega) { g.Expect(p.serves()).To(gomega.BeTrue()) })
	return p
}

// locks fails five times, and waits until the status reports the lock.
func (s *story) locks(p *process, u *v1alpha1.ShardingUser) {
	s.t.Helper()
	for range 5 {
		status, _ := p.logIn(u.Name, canary+" wrong")
		s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	}
	s.isLocked(u, true)
}

func (s *story) isLocked(u *v1alpha1.ShardingUser, locked bool) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(s.t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.Equal(locked))
	})
}

func TestKilledManagerInMemoryModeKeepsLocksAndOwners(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const lockout = "--lockout-duration=30s"
	first := s.serving(s.startInMemory(lockout))
	s.secret("shared", canary+" shared")
	s.secret("thief", canary+" thief")
	waits, unlocked := s.readyUser("waits", secret("shared")), s.readyUser("unlocked", secret("shared"))
	s.readyUser("calm", secret("shared"), roles("operator"))
	thief := s.user("a-thief", username("calm"), secret("thief"), roles("admin"))
	s.reports(soon, thief, "UsernameTaken")
	s.locks(first, waits)
	s.locks(first, unlocked)
	until := *waits.Status.LockedUntil
	first.Kill()

	second := s.serving(s.startInMemory(lockout))
	tries := func(username string) int {
		status, _ := second.logIn(username, canary+" shared")
		return status
	}
	s.Expect(tries("waits")).To(gomega.Equal(http.StatusUnauthorized), "a locked account rejects the right password")
	s.Expect(tries("unlocked")).To(gomega.Equal(http.StatusUnauthorized), "a locked account rejects the right password")
	status, body := second.logIn("calm", canary+" shared")
	s.Expect(status).To(gomega.Equal(http.StatusOK), "possibly before the hash is made")
	s.Expect(body).To(gomega.MatchJSON(`{"username":"calm","roles":["operator"]}`))
	status, _ = second.logIn("calm", canary+" thief")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	s.eventually(soon, func(g gomega.Gomega) { // by now the hashes are made
		hashes, _ := second.metric("shardinguser_password_hashes_total")
		g.Expect(hashes).To(gomega.BeEquivalentTo(3))
	})
	s.Expect(tries("calm")).To(gomega.Equal(http.StatusOK))
	s.Expect(tries("waits")).To(gomega.Equal(http.StatusUnauthorized), "a new hash of the same password keeps the lock")
	s.Expect(s.kubectl("get", "shardingusers", "-n", s.namespace, "--field-selector=status.locked=true", "-o=name")).To(
		gomega.And(gomega.ContainSubstring("/waits"), gomega.ContainSubstring("/unlocked")))
	s.isLocked(waits, true)
	s.Expect(waits.Status.LockedUntil.Equal(&until)).To(gomega.BeTrue())
	s.reports(soon, thief, "UsernameTaken")

	s.edit(unlocked, func(u *v1alpha1.ShardingUser) {
		u.Annotations = map[string]string{v1alpha1.AnnotationUnlockRequestedAt: "now"}
	})
	s.isLocked(unlocked, false)
	s.Expect(tries("unlocked")).To(gomega.Equal(http.StatusOK))
	s.eventually(40*time.Second, func(g gomega.Gomega) { g.Expect(tries("waits")).To(gomega.Equal(http.StatusOK)) })
	s.Expect(time.Now()).To(gomega.BeTemporally(">=", until.Time))
	s.isLocked(waits, false)
}

func TestOnlyTheLeaderServesLoginsInMemoryMode(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	lease := s.ownLease()
	leader := s.serving(s.startInMemory(lease, "--leader-elect"))
	standby := s.startInMemory(lease, "--leader-elect")
	s.secret("alice", canary+" alice")
	s.secret("bob", canary+" bob")
	alice := s.readyUser("alice", secret("alice"))
	s.readyUser("bob", secret("bob"))
	s.locks(leader, alice)
	s.Expect(standby.serves()).To(gomega.BeFalse())
	leader.Signal(syscall.SIGTERM)
	s.Expect(leader.exit(20 * time.Second)).To(gomega.BeZero())

	s.serving(standby)
	status, _ := standby.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "the former leader's lock")
	status, _ = standby.logIn("bob", canary+" bob")
	s.Expect(status).To(gomega.Equal(http.StatusOK))
}
