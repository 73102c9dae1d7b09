// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// isUp expects that the database counts as available, and that the database decides logins.
func (s *story) isUp(g gomega.Gomega, p *process) {
	for name, want := range map[string]float64{"shardinguser_database_up": 1, "shardinguser_fallback_active": 0} {
		is, found := p.metric(name)
		g.Expect(found).To(gomega.BeTrue(), name)
		g.Expect(is).To(gomega.Equal(want), name)
	}
}

// An error that another program's trigger raises for one row looks like a database fault, but affects that row only.
func TestTriggerErrorOnOneRowAffectsOnlyThatUser(t *testing.T) {
	t.Parallel()
	const missingFunction = `PERFORM no_such_function(NEW.username); RETURN NEW;`
	for name, tt := range variants(t, map[string]struct {
		body, code string
		superuser  bool
	}{
		"a missing right": {body: `RAISE insufficient_privilege;`, code: "42501"},
		"a missing right, and the role is a superuser": {body: `RAISE insufficient_privilege;`, code: "42501", superuser: true},
		"a missing function":                           {body: missingFunction, code: "42883"},
		"a missing right to a foreign table":           {body: `PERFORM * FROM secrets; RETURN NEW;`, code: "42501"},
		"a missing table":                              {body: `PERFORM * FROM no_such_table; RETURN NEW;`, code: "42P01"},
		"a shutdown that the trigger reports":          {body: `RAISE admin_shutdown;`, code: "57P01"},
	}, "a missing right", "a shutdown that the trigger reports") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			if tt.superuser {
				s.sql(`ALTER ROLE ` + s.role + ` SUPERUSER`)
			}
			p := s.start()
			alice, bob := s.member("alice"), s.member("bob")
			s.sql(`CREATE TABLE secrets ()`)
			s.sql(`CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + tt.body + ` END $$`)
			s.sql(`CREATE TRIGGER theirs BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.username = 'alice') EXECUTE FUNCTION theirs()`)

			s.edit(alice, roles("admin"))
			message := s.reports(soon, alice, v1alpha1.ReasonDatabaseRejected)
			s.Expect(message).To(gomega.And(gomega.ContainSubstring("trigger"), gomega.ContainSubstring("theirs"), gomega.ContainSubstring(tt.code)))
			s.Expect(message).NotTo(gomega.ContainSubstring("GRANT"))
			for range 3 {
				_, _ = p.logIn("alice", canary+" alice")
				s.logsIn(p, "bob", http.StatusOK)
				s.isUp(s, p)
			}
			s.edit(bob, roles("viewer"))
			s.reports(soon, bob, v1alpha1.ReasonSynced)
			s.Expect(s.row("bob").Roles).To(gomega.MatchJSON(`["viewer"]`))
			s.Consistently(func(g gomega.Gomega) { s.isUp(g, p) }).
				WithTimeout(3 * time.Second).WithPolling(200 * time.Millisecond).Should(gomega.Succeed())

			s.sql(`DROP TRIGGER theirs ON users`)
			s.edit(alice, roles("viewer")) // retries at once
			s.reports(soon, alice, v1alpha1.ReasonSynced)
			s.logsIn(p, "alice", http.StatusOK)
		})
	}
}

// foreignOwner makes the administrator own the table users, and grants these rights to the operator's role.
func (s *story) foreignOwner(rights string) {
	s.t.Helper()
	s.sql(`ALTER TABLE users OWNER TO CURRENT_USER; GRANT ` + rights + ` ON users TO ` + s.role) // in one transaction
}

// No grant helps here: row-level security refuses, hides or skips the row.
func TestRowLevelSecurityIsReportedWithoutAdvisingAGrant(t *testing.T) {
	t.Parallel()
	for name, policies := range variants(t, map[string][]string{
		"no policy":                    nil,
		"a policy for SELECT only":     {`CREATE POLICY reading ON users FOR SELECT USING (true)`},
		"a policy that rejects values": {`CREATE POLICY theirs ON users USING (true) WITH CHECK (active AND NOT roles ? 'admin')`},
		"a policy that hides the row":  {`CREATE POLICY theirs ON users USING (roles ? 'admin') WITH CHECK (true)`},
		"a restrictive policy": {
			`CREATE POLICY everything ON users USING (true)`,
			`CREATE POLICY theirs ON users AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (NOT roles ? 'admin')`,
		},
	}, "a policy that rejects values", "a policy that hides the row") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			p := s.start()
			alice := s.readyUser("alice", roles("viewer"))
			s.foreignOwner("SELECT, INSERT, UPDATE, DELETE")
			for _, policy := range policies {
				s.sql(policy)
			}
			s.sql(`ALTER TABLE users ENABLE ROW LEVEL SECURITY`)

			s.edit(alice, roles("admin"))
			message := s.reports(soon, alice, v1alpha1.ReasonDatabaseRejected)
			s.Expect(message).To(gomega.ContainSubstring("row-level security"))
			s.Expect(message).NotTo(gomega.ContainSubstring("GRANT"))
			s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer"]`))
			s.isUp(s, p)

			s.sql(`ALTER ROLE ` + s.role + ` BYPASSRLS`)
			// An open session keeps its earlier plans, which the right does not invalidate.
			s.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, s.role)
			s.edit(alice, roles("operator"))
			s.reports(2*soon, alice, v1alpha1.ReasonSynced) // by the first retry, which may follow after 30 s
			s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["operator"]`))
		})
	}
}

// A row that no policy lets the operator's role delete still exists, and can log in.
func TestDeletionSkippedByRowLevelSecurityWaits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy  v1alpha1.DeletionPolicy
		missing string // the command that no policy permits
		says    string
	}{
		"Delete":     {v1alpha1.DeletionDelete, "DELETE", "still exists"},
		"Deactivate": {v1alpha1.DeletionDeactivate, "UPDATE", "can log in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			p := s.start()
			alice := s.readyUser("alice", deletion(tt.policy))
			s.foreignOwner("SELECT, INSERT, UPDATE, DELETE")
			for command, clause := range map[string]string{"SELECT": "USING", "INSERT": "WITH CHECK", "UPDATE": "USING", "DELETE": "USING"} {
				if command != tt.missing {
					s.sql(`CREATE POLICY may_` + command + ` ON users FOR ` + command + ` ` + clause + ` (true)`)
				}
			}
			s.sql(`ALTER TABLE users ENABLE ROW LEVEL SECURITY`)

			s.delete(alice)
			s.eventually(soon, func(g gomega.Gomega) {
				g.Expect(s.kube.Get(t.Context(), key(alice), alice)).To(gomega.Succeed())
				c := meta.FindStatusCondition(alice.Status.Conditions, v1alpha1.ConditionReady)
				g.Expect(c).NotTo(gomega.BeNil())
				g.Expect(c.Reason).To(gomega.Equal(v1alpha1.ReasonDatabaseRejected))
				g.Expect(c.Message).To(gomega.And(gomega.ContainSubstring("row-level security"), gomega.ContainSubstring(tt.says)))
				g.Expect(c.Message).NotTo(gomega.ContainSubstring("GRANT"))
				g.Expect(s.events(g, "alice")).To(gomega.HaveKey(v1alpha1.ReasonDatabaseRejected))
			})
			s.Expect(s.row("alice").Active).To(gomega.BeTrue())
			s.Expect(s.events(s, "alice")).NotTo(gomega.Or(gomega.HaveKey(v1alpha1.EventDeleted), gomega.HaveKey(v1alpha1.EventDeactivated)))
			s.isUp(s, p)

			s.sql(`CREATE POLICY may_` + tt.missing + ` ON users FOR ` + tt.missing + ` USING (true)`)
			s.edit(alice, func(u *v1alpha1.ShardingUser) { // retries at once
				u.Annotations = map[string]string{v1alpha1.AnnotationUnlockRequestedAt: "now"}
			})
			s.gone(soon, alice)
			left := s.row("alice")
			s.Expect(left != nil).To(gomega.Equal(tt.policy == v1alpha1.DeletionDeactivate))
			s.Expect(left == nil || !left.Active).To(gomega.BeTrue())
		})
	}
}

// The SQLSTATE is the same as that of row-level security, but here a GRANT helps.
func TestMissingRightIsReportedWithItsGrant(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	alice := s.readyUser("alice", roles("viewer"))
	s.foreignOwner("SELECT, INSERT, DELETE")
	s.edit(alice, roles("admin"))
	message := s.reports(soon, alice, v1alpha1.ReasonDatabaseUnavailable)
	s.Expect(message).To(gomega.MatchRegexp(`GRANT [A-Z, ]*UPDATE[A-Z, ]* ON TABLE "users" TO "?` + s.role))
	s.Expect(message).NotTo(gomega.ContainSubstring("row-level security"))
	s.sql(`GRANT UPDATE ON users TO ` + s.role)
	s.reports(2*soon, alice, v1alpha1.ReasonSynced)
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["admin"]`))
}

// A column that pads the hash must not make logins look like a database fault.
func TestLoginsWorkWithAPaddedHashColumn(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	alice := s.member("alice")
	s.sql(`ALTER TABLE users ALTER password_hash TYPE CHAR(72)`)
	s.edit(alice, roles("viewer"))
	s.Expect(s.reports(soon, alice, v1alpha1.ReasonDatabaseRejected)).To(gomega.ContainSubstring("password_hash"))
	bob := s.user("bob", secret("alice"))
	s.Expect(s.reports(soon, bob, v1alpha1.ReasonDatabaseRejected)).To(gomega.ContainSubstring("password_hash"))
	for _, username := range []string{"alice", "bob"} {
		for range 3 {
			status, _ := p.logIn(username, canary+" alice")
			s.Expect(status).To(gomega.BeElementOf(http.StatusOK, http.StatusUnauthorized), username)
			status, _ = p.logIn(username, canary+" wrong")
			s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), username)
		}
	}
	s.isUp(s, p)
}
