// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// pooled returns the story's DSN through a PgBouncer that is configured as docs/database.md requires.
func (s *story) pooled() string {
	s.t.Helper()
	pooler, err := testenv.StartPgBouncer(s.t.Context(), s.dsn, "ignore_startup_parameters = search_path")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the last output of PgBouncer:\n%s", pooler.Tail())
		}
		if err := pooler.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	s.sql(`ALTER ROLE ` + s.role + ` SET search_path = public`)
	dsn, err := pooler.DSN("default_query_exec_mode=exec")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return dsn
}

func TestManagerWorksBehindPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		direct    bool
		notifying float64
	}{
		"without a direct DSN the manager polls the table": {direct: false, notifying: 0},
		"with a direct DSN the manager gets notifications": {direct: true, notifying: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			args := []string{"--watch-namespaces=" + s.namespace}
			if tt.direct {
				args = append(args, "--listen-dsn-file="+s.file("direct", s.dsn))
			}
			p := s.launchOn(s.pooled(), args...).begin(t).ready()
			alice, bob := s.member("alice"), s.member("bob")
			s.logsIn(p, "alice", http.StatusOK)
			s.fails(p, "bob", 5)
			s.locked(bob)
			s.edit(alice, roles("admin"))
			s.reports(soon, alice, v1alpha1.ReasonSynced)
			s.eventually(soon, func(g gomega.Gomega) {
				is, found := p.metric("shardinguser_notifications_active")
				g.Expect(found).To(gomega.BeTrue())
				g.Expect(is).To(gomega.Equal(tt.notifying))
			})
			s.sql(`UPDATE users SET locked_until = now() + interval '1 hour' WHERE username = 'alice'`)
			s.locked(alice)
			s.sql(`UPDATE users SET active = false WHERE username = 'alice'`)
			s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Active).To(gomega.BeTrue()) })
			s.delete(bob)
			s.gone(soon, bob)
			s.Expect(s.row("bob")).To(gomega.BeNil())
			up, _ := p.metric("shardinguser_database_up")
			s.Expect(up).To(gomega.BeEquivalentTo(1))
			s.Expect(p.said()).NotTo(gomega.MatchRegexp("prepared statement|pooler"))
		})
	}
}
