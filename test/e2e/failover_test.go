// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// replicated returns a primary and its standby, which stop with the test.
func replicated(t *testing.T) (primary, standby *testenv.Postgres) {
	t.Helper()
	start := func(server *testenv.Postgres, err error) *testenv.Postgres {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
		return server
	}
	primary = start(testenv.StartPostgres(t.Context()))
	return primary, start(primary.NewStandby(t.Context()))
}

// moveTo makes the story use another server from now on.
func (s *story) moveTo(server *testenv.Postgres) {
	s.t.Helper()
	dsn, err := server.On(s.db.Config().ConnString())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.db, err = pgxpool.New(s.t.Context(), dsn)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(s.db.Close)
}

// A failover decides how a manager's DSN leads to the current primary, and what happens before the primary is lost.
var failovers = map[string]struct {
	dsn  func(s *story, primary, standby *testenv.Postgres) (dsn string, move func())
	says string
}{
	// As a list of hosts in the DSN. The first host is always available, and is read-only at first.
	"two hosts in the DSN": {
		func(s *story, primary, standby *testenv.Postgres) (string, func()) {
			dsn, err := testenv.WithHosts(s.dsn, standby, primary)
			s.Expect(err).NotTo(gomega.HaveOccurred())
			return dsn, func() {}
		},
		"(?i)no host of the DSN|reach|connect",
	},
	// As a virtual address or a Service that leads to the standby before its promotion (25006).
	"an address that moves to a read-only node": {
		func(s *story, _, standby *testenv.Postgres) (string, func()) {
			proxy, dsn := testenv.DatabaseProxy(s.t, s.dsn)
			there, err := url.Parse(standby.DSN())
			s.Expect(err).NotTo(gomega.HaveOccurred())
			return dsn, func() { proxy.Move(there.Host) }
		},
		"(?i)read-only",
	},
}

func TestWorkResumesOnAPromotedStandby(t *testing.T) {
	t.Parallel()
	for name, failover := range variants(t, failovers, "an address that moves to a read-only node") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, standby := replicated(t)
			s := storyOn(t, primary)
			dsn, move := failover.dsn(s, primary, standby)
			p := s.launchOn(dsn, "--watch-namespaces="+s.namespace).begin(t).ready()
			alice, bob, carol := s.member("alice"), s.member("bob"), s.member("carol")
			s.fails(p, "bob", 5)
			s.locked(bob)
			s.fails(p, "carol", 2)
			calm := s.usually(func(i int) {
				s.edit(alice, roles(v1alpha1.Role(fmt.Sprint("calm-", i))))
				s.reports(soon, alice, v1alpha1.ReasonSynced)
			})
			s.Expect(standby.CatchUp(t.Context(), primary)).To(gomega.Succeed())
			s.Expect(primary.Kill(t.Context())).To(gomega.Succeed())
			move()

			s.fallen(p, 1)
			s.logsIn(p, "alice", http.StatusOK)
			s.logsIn(p, "bob", http.StatusUnauthorized)
			s.fails(p, "carol", 3)
			s.edit(alice, roles("admin"))
			created := s.user("created")
			s.eventually(soon, func(g gomega.Gomega) {
				g.Expect(s.message(g, alice)).To(gomega.MatchRegexp(failover.says))
				g.Expect(s.message(g, created)).To(gomega.MatchRegexp(failover.says))
			})

			s.Expect(standby.Promote(t.Context())).To(gomega.Succeed())
			from := time.Now()
			s.moveTo(standby)
			s.reports(soon, alice, v1alpha1.ReasonSynced)
			s.reports(soon, created, v1alpha1.ReasonSynced)
			s.within(10*time.Second+3*calm, from, "writes resume once a primary is available")
			s.fallen(p, 0)
			s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["admin"]`))
			s.Expect(s.row("created")).NotTo(gomega.BeNil())
			s.Expect(s.row("bob").Failed).To(gomega.Equal(5))
			s.Expect(s.row("carol").Failed).To(gomega.Equal(5))
			s.logsIn(p, "carol", http.StatusUnauthorized)
			s.logsIn(p, "alice", http.StatusOK)
			s.locked(carol)
			s.sql(`UPDATE users SET active = false WHERE username = 'alice'`)
			s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Active).To(gomega.BeTrue()) })
			s.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK))
			s.Expect(p.Running()).To(gomega.BeTrue())
		})
	}
}
