// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A fault makes the database unavailable in one realistic way, and ends.
type fault struct {
	begin, end func(s *story, p *testenv.Proxy)
	says       string // what the message has to contain
}

// writtenTables are the tables that the operator writes.
var writtenTables = []string{"users", "shardinguser_ownership", "login_attempts", "shardinguser_merges", "shardinguser_probes", "shardinguser_familiar"}

var faults = map[string]fault{
	"connections are cut and refused": {
		func(_ *story, p *testenv.Proxy) { p.Cut() },
		func(_ *story, p *testenv.Proxy) { p.Restore() },
		"(?i)reach|connect",
	},
	"connections are half open": {
		func(_ *story, p *testenv.Proxy) { p.Stall() },
		func(_ *story, p *testenv.Proxy) { p.Restore() },
		"(?i)answer|time|reach|slow",
	},
	"responses time out": {
		func(_ *story, p *testenv.Proxy) { p.Delay(7 * time.Second) },
		func(_ *story, p *testenv.Proxy) { p.Restore() },
		"(?i)answer|time|reach|slow",
	},
	"the node became read-only": {
		func(s *story, _ *testenv.Proxy) {
			s.sql(`ALTER DATABASE ` + s.database + ` SET default_transaction_read_only = on`)
			s.disconnect()
		},
		func(s *story, _ *testenv.Proxy) {
			s.sql(`ALTER DATABASE ` + s.database + ` RESET default_transaction_read_only`)
			s.disconnect()
		},
		"(?i)read-only|standby|writ",
	},
	"the role cannot log in": {
		func(s *story, _ *testenv.Proxy) { s.sql(`ALTER ROLE ` + s.role + ` NOLOGIN`); s.disconnect() },
		func(s *story, _ *testenv.Proxy) { s.sql(`ALTER ROLE ` + s.role + ` LOGIN`) },
		"(?i)log-?in|role|refuse|credential",
	},
	"the password changed": {
		func(s *story, _ *testenv.Proxy) {
			s.sql(`CREATE TABLE kept AS SELECT rolpassword FROM pg_authid WHERE rolname = $1`, s.role)
			s.sql(`ALTER ROLE ` + s.role + ` PASSWORD 'another'`)
			s.disconnect()
		},
		func(s *story, _ *testenv.Proxy) {
			s.sql(`UPDATE pg_authid SET rolpassword = (SELECT rolpassword FROM kept) WHERE rolname = $1`, s.role)
		},
		"(?i)password|credential|log-?in",
	},
	"there are too many connections": {
		func(s *story, _ *testenv.Proxy) {
			s.sql(`ALTER ROLE ` + s.role + ` CONNECTION LIMIT 0`)
			s.disconnect()
		},
		func(s *story, _ *testenv.Proxy) { s.sql(`ALTER ROLE ` + s.role + ` CONNECTION LIMIT -1`) },
		"(?i)connections",
	},
	// A test cannot fill a disk without rights over the machine. Triggers on all tables raise the server's error instead.
	"the disk is full": {
		func(s *story, _ *testenv.Proxy) {
			s.sql(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$`)
			for _, table := range writtenTables {
				s.sql(`CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON ` + table + ` EXECUTE FUNCTION full_disk()`)
			}
		},
		func(s *story, _ *testenv.Proxy) {
			for _, table := range writtenTables {
				s.sql(`DROP TRIGGER full_disk ON ` + table)
			}
		},
		"(?i)disk is full",
	},
	"the right to write is missing": {
		func(s *story, _ *testenv.Proxy) {
			s.sql(`ALTER TABLE users OWNER TO CURRENT_USER`)
			s.sql(`GRANT SELECT ON users TO ` + s.role)
		},
		func(s *story, _ *testenv.Proxy) { s.sql(`ALTER TABLE users OWNER TO ` + s.role) },
		"(?i)grant",
	},
}

// disconnect ends the manager's sessions, as a failover does (57P01).
func (s *story) disconnect() {
	s.t.Helper()
	s.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, s.role)
}

func TestDatabaseFaultIsReportedAndWorkResumesAfterIt(t *testing.T) {
	t.Parallel()
	for name, fault := range variants(t, faults,
		"connections are cut and refused", "connections are half open", "the node became read-only", "the disk is full") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			proxy, through := testenv.DatabaseProxy(t, s.dsn)
			p := s.launchOn(through, "--watch-namespaces="+s.namespace).begin(t).ready()
			s.outage(p, func() { fault.begin(s, proxy) }, func() { fault.end(s, proxy) }, fault.says)
		})
	}
	for name, end := range variants(t, map[string]func(*testenv.Postgres, context.Context) error{
		"the server stops and starts":     (*testenv.Postgres).Halt,
		"the server crashes and recovers": (*testenv.Postgres).Crash,
	}, "the server crashes and recovers") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The shared server runs without fsync, for speed, and loses recent commits in a crash.
			server, err := testenv.StartPostgres(t.Context(), "synchronous_commit=on")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Stop(); err != nil {
					t.Error(err)
				}
			})
			s := storyOn(t, server)
			s.outage(s.start(), func() {
				s.Expect(end(server, t.Context())).To(gomega.Succeed())
			}, func() {
				s.Expect(server.Start(t.Context())).To(gomega.Succeed())
				s.db.Reset()
			}, "(?i)reach|connect")
		})
	}
}

// outage checks a fault from its beginning to its end.
func (s *story) outage(p *process, begin, end func(), says string) {
	s.t.Helper()
	edited, doomed := s.readyUser("edited", roles("viewer")), s.readyUser("doomed")
	retained := s.readyUser("retained", deletion(v1alpha1.DeletionRetain))
	left := s.row("retained")

	begin()
	s.edit(edited, roles("admin"))
	s.delete(doomed)
	s.delete(retained)
	created := s.user("created")
	s.eventually(30*time.Second, func(g gomega.Gomega) { // the first message may be about a session that was ended
		g.Expect(s.message(g, edited)).To(gomega.MatchRegexp(says))
		g.Expect(s.message(g, created)).To(gomega.MatchRegexp(says))
		g.Expect(s.message(g, doomed)).To(gomega.And(gomega.ContainSubstring("deletion waits"), gomega.MatchRegexp(says)))
	})
	s.gone(10*time.Second, retained) // Retain does not wait for the database
	s.eventually(30*time.Second, func(g gomega.Gomega) {
		up, found := p.metric("shardinguser_database_up")
		g.Expect(found).To(gomega.BeTrue())
		g.Expect(up).To(gomega.BeZero())
	})
	s.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK), "an outage restarts no replica")
	s.Expect(p.probe("/readyz")).To(gomega.Equal(http.StatusOK), "an outage takes no replica out of service")

	end()
	from := time.Now()
	s.reports(30*time.Second, edited, v1alpha1.ReasonSynced)
	s.reports(30*time.Second, created, v1alpha1.ReasonSynced)
	s.gone(30*time.Second, doomed)
	s.Expect(time.Since(from)).To(gomega.BeNumerically("<", 25*time.Second))
	s.Expect(s.row("edited").Roles).To(gomega.MatchJSON(`["admin"]`))
	s.Expect(s.row("created")).NotTo(gomega.BeNil())
	s.Expect(s.row("doomed")).To(gomega.BeNil())
	s.Expect(s.row("retained")).To(gomega.Equal(left))
	s.Expect(p.Running()).To(gomega.BeTrue())
	s.eventually(soon, func(g gomega.Gomega) {
		up, _ := p.metric("shardinguser_database_up")
		g.Expect(up).To(gomega.BeEquivalentTo(1))
	})
	// A resource of the same namespace and name adopts the row whose release the database did not record.
	s.readyUser("retained", roles("admin"))
	// Rows are watched again, too.
	s.sql(`UPDATE users SET active = false WHERE username = 'edited'`)
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("edited").Active).To(gomega.BeTrue()) })
}

// message returns why a user is not ready. The reason has to be the database.
func (s *story) message(g gomega.Gomega, u *v1alpha1.ShardingUser) string {
	g.Expect(s.kube.Get(s.t.Context(), key(u), u)).To(gomega.Succeed())
	c := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	g.Expect(c).NotTo(gomega.BeNil())
	g.Expect(c.Reason).To(gomega.Equal(v1alpha1.ReasonDatabaseUnavailable))
	return c.Message
}

func TestManagerStartsBeforeItsDatabase(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	proxy.Cut()
	p := s.launchOn(through, "--watch-namespaces="+s.namespace).begin(t).ready()
	s.secret("alice", aHash)
	u := s.user("alice", secret("alice"), hashed)
	s.reports(soon, u, v1alpha1.ReasonDatabaseUnavailable)
	s.delete(s.user("bob", deletion(v1alpha1.DeletionRetain)))

	proxy.Restore()
	from := time.Now()
	s.reports(soon, u, v1alpha1.ReasonSynced)
	s.Expect(time.Since(from)).To(gomega.BeNumerically("<", 25*time.Second))
	s.Expect(s.row("alice").Hash).To(gomega.Equal(aHash))
	s.Expect(p.Running()).To(gomega.BeTrue())
}

func TestUsersCreatedBeforeTheTablesAreAccepted(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	u := s.user("early")
	s.start()
	s.reports(soon, u, v1alpha1.ReasonSynced)
	s.Consistently(func(g gomega.Gomega) {
		g.Expect(s.events(g, "early")).To(gomega.Equal(map[string]int{v1alpha1.EventCreated: 1}))
	}).
		WithTimeout(time.Second).WithPolling(100 * time.Millisecond).Should(gomega.Succeed())
}

func TestMissingGrantToCreateTablesIsReported(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.sql(`REVOKE CREATE ON SCHEMA public FROM ` + s.role)
	s.start()
	u := s.user("alice")
	s.Expect(s.reports(soon, u, v1alpha1.ReasonDatabaseUnavailable)).To(gomega.MatchRegexp(`GRANT .*CREATE`))
	s.sql(`GRANT CREATE ON SCHEMA public TO ` + s.role)
	s.reports(40*time.Second, u, v1alpha1.ReasonSynced)
}

// docs/upgrade.md: an older version created the tables, and the role of the newer version may not change them.
func TestUpgradeWithoutMigrationRightReportsMissingGrants(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	older := s.start()
	alice := s.member("alice")
	s.logsIn(older, "alice", http.StatusOK)
	older.Signal(syscall.SIGTERM)
	s.Expect(older.exit(20 * time.Second)).To(gomega.BeZero())
	s.sql(`ALTER TABLE shardinguser_ownership DROP COLUMN suspended, DROP COLUMN lockout_attempts, DROP COLUMN lockout_duration,
		DROP COLUMN lockout_longest, DROP COLUMN lockout_exempt`)
	s.sql(`DELETE FROM shardinguser_migrations WHERE version_id >= 4`)
	s.sql(`REVOKE CREATE ON SCHEMA public FROM ` + s.role)

	newer := s.start()
	s.fallen(newer, 1)
	s.eventually(soon, func(g gomega.Gomega) { // until it has read the cluster's accounts
		status, _ := newer.logIn("alice", canary+" alice")
		g.Expect(status).To(gomega.Equal(http.StatusOK))
	})
	s.edit(alice, roles("viewer"))
	s.Expect(s.reports(soon, alice, v1alpha1.ReasonDatabaseUnavailable)).To(gomega.MatchRegexp(`GRANT .*CREATE`))

	s.sql(`GRANT CREATE ON SCHEMA public TO ` + s.role)
	s.fallen(newer, 0)
	s.reports(40*time.Second, alice, v1alpha1.ReasonSynced)
	s.logsIn(newer, "alice", http.StatusOK)
}

func TestTableOfTheShardingManagerIsUsedUnchanged(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.sql(`CREATE TABLE users (username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255), roles JSONB NOT NULL DEFAULT '[]'::jsonb,
		active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMPTZ NOT NULL DEFAULT now(), updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
		last_login_at TIMESTAMPTZ, failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMPTZ, email TEXT)`)
	s.sql(`INSERT INTO users (username, email) VALUES ('theirs', 'a@example.com')`)
	s.sql(`GRANT SELECT, INSERT, UPDATE, DELETE ON users TO ` + s.role) // without a trigger: the manager polls
	p := s.start()
	u := s.readyUser("ours")
	s.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = now() + interval '1 hour' WHERE username = 'ours'`)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeTrue())
	})
	s.Expect(u.Status.LockedUntil.Time).To(gomega.BeTemporally("~", time.Now().Add(time.Hour), time.Minute))
	s.Expect(s.row("theirs")).NotTo(gomega.BeNil())
	_, body := p.scrape(scraperToken(t))
	s.Expect(body).To(gomega.MatchRegexp(`(?m)^shardinguser_[a-z_]*(notif|poll)[a-z_]* [01]$`), "a metric reports polling")
}
