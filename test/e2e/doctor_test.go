// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// publishes lets the manager publish its findings in the story's namespace, as config/rbac does in the operator's namespace.
func (s *story) publishes() {
	s.t.Helper()
	s.kubectl("-n", s.namespace, "create", "role", "publisher", "--verb=create,get,patch", "--resource=configmaps")
	s.kubectl("-n", s.namespace, "create", "rolebinding", "publisher", "--role=publisher", "--serviceaccount="+systemNamespace+":"+account)
}

func TestDoctorListsFindingsAndOrphansWithoutADSN(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.publishes()
	p := s.start("--leader-election-namespace=" + s.namespace)
	s.readyUser("fine")
	sh := s.newShell()
	s.eventually(time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("doctor")
		g.Expect(got.code).To(gomega.BeZero(), got.out)
		g.Expect(got.out).To(gomega.MatchRegexp(`ok +Table .*(?s:.*)ok +Orphans `))
	})

	// A restored dump brings back a row and the ownership record of a deleted user.
	s.sql(`CREATE UNIQUE INDEX no_case ON users (lower(username))`)
	s.sql(`INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
		password_version, password_hash, password_weak, unlock_handled)
		SELECT 'leaver', cluster, namespace, 'leaver', 'gone', 'owned', 1, 'Delete', '', '', false, ''
		FROM shardinguser_ownership WHERE username = 'fine'`)
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('leaver', '!')`)
	s.eventually(2*time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("doctor")
		g.Expect(got.code).To(gomega.Equal(1))
		g.Expect(got.out).To(gomega.MatchRegexp(`WRONG +Orphans +The ShardingUser ` + s.namespace + `/leaver does not exist, and its account "leaver" can log in`))
	})
	orphans, found := p.metric("shardinguser_orphaned_accounts")
	s.Expect(found).To(gomega.BeTrue())
	s.Expect(orphans).To(gomega.BeEquivalentTo(1))
	p.Kill()

	// The manager inspects the table when it starts. The sharding manager inserted an account.
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('admin', '$2a$10$LtlhX7.r1Rf9Fl7XjR9VKeaZvwU7PJK6tlWF5rXdxe1fg55wurAnW')`)
	p = s.start("--leader-election-namespace=" + s.namespace)
	s.eventually(2*time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("doctor", "-o", "json")
		g.Expect(got.out).To(gomega.ContainSubstring(`unique-constraint no_case: The database refuses`))
		g.Expect(got.out).To(gomega.ContainSubstring(`The account \"admin\" has a well-known default password of the sharding manager`))
	})
	defaults, _ := p.metric("shardinguser_well_known_passwords")
	s.Expect(defaults).To(gomega.BeEquivalentTo(1))
	s.Expect(p.said()).To(gomega.MatchRegexp(`Accounts have a well-known default password of the sharding manager.*"usernames":\["admin"\]`))
	findings, _ := p.metric("shardinguser_table_findings", `kind="`+store.FindingUniqueConstraint+`"`)
	s.Expect(findings).To(gomega.BeEquivalentTo(1))
	s.Expect(p.said()).To(gomega.ContainSubstring("The table users has a finding"))
	s.sql(`DROP INDEX no_case`)
}
