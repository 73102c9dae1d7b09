// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// twoRoles makes the tables by the story's one role, as an operator that is there already has done, and gives the story two
// others by config/database/roles.sql.
func (s *story) twoRoles(server *testenv.Postgres) (controller, login string) {
	s.t.Helper()
	one := s.start()
	s.readyUser("earlier")
	s.Expect(one.Stop(25 * time.Second)).To(gomega.Succeed())
	admin := s.db.Config().ConnString()
	for _, dsn := range []*string{&controller, &login} {
		var err error
		*dsn, err = server.NewRole(s.t.Context(), admin)
		s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	testenv.GrantRoles(s.t, admin, controller, login)
	return controller, login
}

// launchTwo is launch with a role for log-ins.
func (s *story) launchTwo(controller, login string, args ...string) launch {
	s.t.Helper()
	l := s.launchOn(controller, append([]string{"--watch-namespaces=" + s.namespace}, args...)...)
	l.login = login
	l.secrets = append(l.secrets, s.launchOn(login).secrets...)
	return l
}

// sessions is how many a role has.
func (s *story) sessions(g gomega.Gomega, dsn string) (n int) {
	g.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = $1`, roleOf(g, dsn)).Scan(&n)).
		To(gomega.Succeed())
	return n
}

func roleOf(g gomega.Gomega, dsn string) string {
	config, err := pgx.ParseConfig(dsn)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	return config.User
}

func TestTwoDatabaseRolesDoTogetherWhatOneDoes(t *testing.T) {
	t.Parallel()
	server, err := testenv.StartPostgres(t.Context(), "log_line_prefix=%u ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := storyOn(t, server)
	controller, login := s.twoRoles(server)
	p := s.launchTwo(controller, login).begin(t).ready()

	password := s.secret("alice", canary+" alice")
	u := s.readyUser("alice", secret("alice"), roles("operator"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.sessions(g, controller)).NotTo(gomega.BeZero())
		g.Expect(s.sessions(g, login)).NotTo(gomega.BeZero())
		g.Expect(s.sessions(g, s.dsn)).To(gomega.BeZero())
		for name, want := range map[string]float64{"shardinguser_database_up": 1, "shardinguser_notifications_active": 1} {
			is, _ := p.metric(name)
			g.Expect(is).To(gomega.Equal(want), name)
		}
	})
	for role, most := range map[string]float64{"controller": 25, "login": 10} {
		is, found := p.metric("pgxpool_max_conns", `role="`+role+`"`)
		s.Expect(found).To(gomega.BeTrue())
		s.Expect(is).To(gomega.Equal(most), role)
	}

	s.logsIn(p, "alice", http.StatusOK)
	for range 5 {
		status, _ := p.logIn("alice", canary+" wrong")
		s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	}
	s.logsIn(p, "alice", http.StatusUnauthorized)
	s.isLocked(u, true)
	s.edit(u, func(u *v1alpha1.ShardingUser) {
		u.Annotations = map[string]string{v1alpha1.AnnotationUnlockRequestedAt: "now"}
	})
	s.isLocked(u, false)
	s.logsIn(p, "alice", http.StatusOK)
	s.rotate(password, canary+" rotated")
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("alice", canary+" rotated")
		g.Expect(status).To(gomega.Equal(http.StatusOK))
	})
	s.sql(`UPDATE users SET roles = '["admin"]' WHERE username = 'alice'`)
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["operator"]`)) })
	s.edit(u, deletion(v1alpha1.DeletionDelete))
	s.delete(u)
	s.gone(soon, u)
	s.Expect(s.row("alice")).To(gomega.BeNil())
	s.Expect(s.row("earlier")).NotTo(gomega.BeNil())

	outcomes := map[string]int{}
	found, err := s.db.Query(t.Context(), `SELECT outcome, count(*) FROM login_attempts WHERE username = 'alice' GROUP BY outcome`)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	var outcome string
	var times int
	_, err = pgx.ForEachRow(found, []any{&outcome, &times}, func() error { outcomes[outcome] = times; return nil })
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(outcomes["success"]).To(gomega.Equal(3))
	s.Expect(outcomes["failed"]).To(gomega.BeNumerically(">=", 5))
	s.Expect(outcomes["locked"]).To(gomega.BeNumerically(">=", 1))

	log, err := server.Log()
	s.Expect(err).NotTo(gomega.HaveOccurred())
	logged, err := os.ReadFile(log)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(string(logged)).NotTo(gomega.BeEmpty())
	for line := range strings.Lines(string(logged)) {
		s.Expect(line).NotTo(gomega.ContainSubstring("permission denied"))
		s.Expect(line).NotTo(gomega.ContainSubstring("must be owner"))
	}
	s.Expect(p.said()).NotTo(gomega.MatchRegexp(`permission denied|lacks a right|GRANT`))
}

// One of two passwords changes in the database first and in its Secret later.
func TestCredentialOfEitherRoleIsRotatedByItself(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	controller, login := s.twoRoles(testenv.Server(t))
	files := map[string]string{}
	write := func(dsn, content string) {
		s.Expect(os.WriteFile(files[dsn], []byte(content), 0o600)).To(gomega.Succeed())
	}
	folder := t.TempDir()
	for name, dsn := range map[string]string{"controller": controller, "login": login} {
		files[dsn] = filepath.Join(folder, name)
		write(dsn, dsn)
	}
	l := s.launchTwo(controller, login, "--user-database-dsn-file="+files[controller], "--login-database-dsn-file="+files[login])
	p := l.begin(t).ready()
	s.secret("alice", canary+" alice")
	u := s.readyUser("alice", secret("alice"))
	s.logsIn(p, "alice", http.StatusOK)

	changePassword := func(dsn string) {
		s.sql(`ALTER ROLE ` + roleOf(s, dsn) + ` PASSWORD 'another'`)
		s.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, roleOf(s, dsn))
	}
	followIn := func(dsn string) {
		config, err := pgx.ParseConfig(dsn)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		write(dsn, strings.Replace(dsn, config.Password, "another", 1))
	}
	up := func(want float64) {
		s.eventually(soon, func(g gomega.Gomega) {
			is, _ := p.metric("shardinguser_database_up")
			g.Expect(is).To(gomega.Equal(want))
		})
	}

	changePassword(login)
	s.fallen(p, 1) // as when the whole database is away
	up(0)
	s.logsIn(p, "alice", http.StatusOK)
	s.edit(u, roles("operator"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.message(g, u)).To(gomega.ContainSubstring("The login DSN: "))
	})
	followIn(login)
	s.fallen(p, 0)
	s.reports(2*soon, u, v1alpha1.ReasonSynced)
	up(1)

	changePassword(controller)
	up(0)
	s.edit(u, roles("viewer"))
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.message(g, u)).To(gomega.ContainSubstring("The controller's DSN: ")) })
	s.logsIn(p, "alice", http.StatusOK)
	s.fallen(p, 0) // log-ins do not lean on that role
	followIn(controller)
	s.reports(2*soon, u, v1alpha1.ReasonSynced)
	up(1)
}
