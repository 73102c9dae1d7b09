// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// leads tells whether a manager says that it is the leader.
func (p *process) leads() bool {
	p.t.Helper()
	leads, _ := p.metric("leader_election_master_status")
	return leads == 1
}

// pair starts two managers for the story of which the first leads.
func (s *story) pair() (leader, standby *process) {
	s.t.Helper()
	leader = s.start("--leader-elect")
	s.eventually(40*time.Second, func(g gomega.Gomega) { g.Expect(leader.leads()).To(gomega.BeTrue()) })
	standby = s.start("--leader-elect")
	s.Expect(standby.leads()).To(gomega.BeFalse())
	return leader, standby
}

// Not parallel, and nor are the next: there is one lease.
func TestStandbyTakesOverFromALeaderThatWasKilled(t *testing.T) {
	s := newStory(t)
	leader, standby := s.pair()
	s.readyUser("before")
	leader.Kill()
	u := s.user("after")
	s.reports(40*time.Second, u, "Synced")
	s.Expect(standby.leads()).To(gomega.BeTrue())
}

func TestStandbyTakesOverAtOnceFromALeaderThatEndedCleanly(t *testing.T) {
	s := newStory(t)
	leader, standby := s.pair()
	s.readyUser("before")
	leader.Signal(syscall.SIGTERM)
	s.Expect(leader.exit(20 * time.Second)).To(gomega.BeZero())
	from := time.Now()
	s.readyUser("after")
	s.Expect(time.Since(from)).To(gomega.BeNumerically("<", 6*time.Second))
	s.Expect(standby.leads()).To(gomega.BeTrue())
}

func TestFormerLeaderThatWakesUpWritesNothing(t *testing.T) {
	s := newStory(t)
	leader, _ := s.pair()
	shared := s.secret("shared", canary+" shared")
	const users = 40
	for i := range users {
		s.user(fmt.Sprintf("user-%02d", i), secret("shared"), roles("viewer"))
	}
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(len(s.rows())).To(gomega.BeNumerically(">", 3)) })
	leader.Signal(syscall.SIGSTOP) // in the midst of it
	s.Expect(len(s.rows())).To(gomega.BeNumerically("<", users))

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
	s.Eventually(func() bool { // until nothing changes any more
		last := before
		before = s.everything()
		return last == before && s.countReady() == len(s.users())
	}).WithTimeout(time.Minute).WithPolling(2 * time.Second).Should(gomega.BeTrue())

	leader.Signal(syscall.SIGCONT)
	s.Expect(leader.exit(25*time.Second)).NotTo(gomega.BeZero(), "who lost the lease ends, and says so")
	s.Expect(s.everything()).To(gomega.Equal(before))
}

// everything is all rows, notes and resources of the story, each with its version.
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
