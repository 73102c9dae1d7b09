// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// As if etcd was restored from a snapshot that is older than the resources, or without one.
func TestOrphanedRowsStayUnchanged(t *testing.T) {
	t.Parallel()
	const users = 20
	for name, kept := range variants(t, map[string]int{"some resources vanished": users / 2, "all resources vanished": 0}, "all resources vanished") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			first := s.start()
			for i := range users {
				s.user(fmt.Sprintf("user-%02d", i), roles("viewer"))
			}
			s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(users)) })
			before := s.rows()
			s.Expect(first.Stop(25 * time.Second)).To(gomega.Succeed())
			all := s.users()
			for i := range all[kept:] {
				u := &all[kept+i]
				s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
				s.delete(u)
				s.gone(soon, u)
			}

			second := s.start("--resync-interval=1s")
			s.readyUser("marker")
			reads, _ := second.metric("pgxpool_acquire_count")
			s.eventually(soon, func(g gomega.Gomega) { // until it has polled for changes a few times
				now, found := second.metric("pgxpool_acquire_count")
				g.Expect(found).To(gomega.BeTrue())
				g.Expect(now - reads).To(gomega.BeNumerically(">", 5))
			})
			after := s.rows()
			delete(after, "marker")
			s.Expect(after).To(gomega.Equal(before))
		})
	}
}

// A dump of an earlier version, without a trigger, is restored beside a running manager. docs/backup-and-restore.md describes it.
func TestManagerContinuesOnARestoredDatabase(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.publishes()
	p, sh := s.start("--leader-election-namespace="+s.namespace), s.newShell()
	password := s.secret("alice", canary+" old")
	alice, leaver := s.readyUser("alice", secret("alice"), roles("viewer")), s.readyUser("leaver")
	s.Expect(p.Stop(25 * time.Second)).To(gomega.Succeed())
	s.sql(`DROP FUNCTION shardinguser_notify_v1 CASCADE`)
	s.sql(`ALTER TABLE shardinguser_ownership DROP COLUMN password_suspicion`)
	s.sql(`DELETE FROM shardinguser_migrations WHERE version_id >= 7`)
	dump := filepath.Join(t.TempDir(), "sharding.dump")
	s.Expect(testenv.Dump(t.Context(), s.dsn, dump)).To(gomega.Succeed())

	p = s.start("--leader-election-namespace=" + s.namespace)
	s.edit(alice, roles("operator"))
	password.StringData = map[string]string{"password": canary + " new"}
	s.Expect(s.kube.Update(t.Context(), password)).To(gomega.Succeed())
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	s.delete(leaver)
	s.gone(soon, leaver)
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("alice", canary+" new")
		g.Expect(status).To(gomega.Equal(200))
	})

	s.Expect(testenv.Restore(t.Context(), s.dsn, dump, "--clean", "--if-exists", "--single-transaction")).To(gomega.Succeed())
	s.eventually(time.Minute, func(g gomega.Gomega) {
		for _, line := range []string{
			"The tables were replaced, as by a restore", "Created the missing parts of the database schema", "Created the triggers on the table users",
		} {
			g.Expect(p.said()).To(gomega.ContainSubstring(line))
		}
		status, body := p.logIn("alice", canary+" new")
		g.Expect(status).To(gomega.Equal(200))
		g.Expect(body).To(gomega.ContainSubstring("operator"))
	})
	if testing.Short() { // TestUsersThatReturnWithARestoredDatabaseAreReported has shorter intervals
		return
	}
	s.eventually(2*time.Minute, func(g gomega.Gomega) {
		g.Expect(sh.plugin("orphans").out).To(gomega.ContainSubstring("leaver"))
	})
}
