// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"os"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// dsnsOf maps a setup to the DSNs by which a manager reaches a story's database, by the flag that names their file.
var dsnsOf = map[string]func(s *story) map[string]string{
	"one role": func(s *story) map[string]string {
		return map[string]string{"--user-database-dsn-file": s.dsn}
	},
	"a role for logins": func(s *story) map[string]string {
		controller, login := s.twoRoles(testenv.Server(s.t))
		return map[string]string{"--user-database-dsn-file": controller, "--login-database-dsn-file": login}
	},
	"a DSN for listening": func(s *story) map[string]string {
		return map[string]string{"--user-database-dsn-file": s.dsn, "--listen-dsn-file": s.dsn}
	},
}

// The DSN files change to another database while the manager runs, and the former database stays available.
func TestANewDSNMovesAllSessionsUsersAndLogins(t *testing.T) {
	t.Parallel()
	for name, dsns := range variants(t, dsnsOf, "a role for logins", "a DSN for listening") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, there := newStory(t), newStory(t)
			from, to := dsns(s), dsns(there)
			files, args := map[string]string{}, []string{"--watch-namespaces=" + s.namespace}
			for flag, dsn := range from {
				files[flag] = s.file(flag, dsn)
				args = append(args, flag+"="+files[flag])
			}
			p := s.launchOn(s.dsn, args...).begin(t).ready() // the last of repeated flags is used
			alice, bob := s.member("alice"), s.member("bob")
			carol := s.readyUser("carol", roles("viewer"))
			s.logsIn(p, "alice", http.StatusOK)
			s.notifying(p, 1)

			for flag, dsn := range to {
				s.Expect(os.WriteFile(files[flag], []byte(dsn), 0o600)).To(gomega.Succeed())
			}
			s.eventually(soon, func(g gomega.Gomega) {
				for _, dsn := range from {
					g.Expect(s.sessions(g, dsn)).To(gomega.BeZero(), "sessions in the former database")
				}
				for _, username := range []string{"alice", "bob", "carol"} {
					g.Expect(there.row(username)).NotTo(gomega.BeNil(), username)
				}
			})
			for _, u := range []*v1alpha1.ShardingUser{alice, bob, carol} {
				s.reports(soon, u, v1alpha1.ReasonSynced)
			}
			s.fallen(p, 0)
			s.notifying(p, 1)
			s.Expect(there.row("carol").Roles).To(gomega.MatchJSON(`["viewer"]`))
			s.logsIn(p, "alice", http.StatusOK)
			s.fails(p, "bob", 5)
			s.logsIn(p, "bob", http.StatusUnauthorized)
			s.locked(bob)
			s.Expect(there.attempts("alice", "success")).To(gomega.Equal(1))
			s.Expect(there.row("bob").Failed).To(gomega.Equal(5))
			s.Expect(s.attempts("alice", "success")).To(gomega.Equal(1), "the login before the change")
			s.Expect(s.row("bob").Failed).To(gomega.BeZero())
			s.edit(carol, roles("operator"))
			s.reports(soon, carol, v1alpha1.ReasonSynced)
			s.Expect(there.row("carol").Roles).To(gomega.MatchJSON(`["operator"]`))
			s.Expect(s.row("carol").Roles).To(gomega.MatchJSON(`["viewer"]`))
			for _, dsn := range from {
				s.Expect(s.sessions(s, dsn)).To(gomega.BeZero(), "no new session in the former database")
			}
		})
	}
}
