// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

func TestManagerWithoutADSNServesFromMemoryAndSaysSo(t *testing.T) {
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

	// The resources rebuild what was lost.
	last := start()
	inMemory(last)
	hashed(last, 1)
	s.edit(bob, roles("admin"))
	s.reports(soon, bob, "Synced")
	s.reports(soon, alice, "Synced")
	s.delete(bob)
	s.gone(soon, bob)
}
