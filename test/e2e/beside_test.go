// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/shardingmanager"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A neighbour is a stand-in for the sharding manager on the story's table.
type neighbour struct {
	*shardingmanager.Manager
	s *story
}

// share runs config/database/sharding-manager.sql for the operator's role and a new role. It returns the DSN of the new role,
// for the sharding manager.
func (s *story) share() string {
	s.t.Helper()
	admin := s.db.Config().ConnString()
	dsn := testenv.Role(s.t, admin)
	config, err := pgx.ParseConfig(dsn)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.sql(`REVOKE CREATE ON SCHEMA public FROM ` + s.role)
	_, err = testenv.Psql(s.t.Context(), admin, "config/database/sharding-manager.sql", "manager="+config.User, "operator="+s.role)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return dsn
}

// beside starts a sharding manager. It expects that the manager uses the database and not its memory.
func (s *story) beside(options shardingmanager.Options) *neighbour {
	s.t.Helper()
	m, err := shardingmanager.Start(s.t.Context(), options)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	s.Expect(m.FellBack()).To(gomega.BeFalse(), m.Log())
	return &neighbour{m, s}
}

// newer returns the options of a sharding manager of the newer generation.
func newer(dsn string) shardingmanager.Options {
	return shardingmanager.Options{DSN: dsn, Generation: shardingmanager.Newer}
}

func older(dsn string) shardingmanager.Options {
	return shardingmanager.Options{DSN: dsn, Generation: shardingmanager.Older}
}

// tries logs in to the sharding manager with a password, and returns the status.
func (n *neighbour) tries(username, password string) int {
	n.s.t.Helper()
	answer, err := n.LogIn(n.s.t.Context(), username, password)
	n.s.Expect(err).NotTo(gomega.HaveOccurred())
	return answer.Status
}

// logsIn tries the password that the users of these stories have.
func (n *neighbour) logsIn(username string, want int) {
	n.s.t.Helper()
	n.s.ExpectWithOffset(1, n.tries(username, canary+" "+username)).To(gomega.Equal(want), "%s:\n%s", username, n.Log())
}

// keepsOut tries the right password more often than the cache of the sharding manager could reject.
func (n *neighbour) keepsOut(username string) {
	n.s.t.Helper()
	for try := range 6 {
		n.s.ExpectWithOffset(1, n.tries(username, canary+" "+username)).To(gomega.Equal(http.StatusUnauthorized), "try %d of %s", try, username)
	}
}

// hasNoDefaults expects that the sharding manager rejects all default passwords.
func (n *neighbour) hasNoDefaults() {
	n.s.t.Helper()
	for username, password := range shardingmanager.Defaults() {
		n.s.Expect(n.tries(username, password)).To(gomega.Equal(http.StatusUnauthorized), username)
	}
}

// findsNothing expects that the operator finds no problem in the roles and time zones of both programs.
func (s *story) findsNothing(p *process) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		for _, kind := range []string{"open-schema", "manager-rights", "foreign-owner", "missing-right", "session-time-zone", "notification-trigger", "foreign-trigger", "oauth-guard"} {
			found, isThere := p.metric("shardinguser_table_findings", `kind="`+kind+`"`)
			g.Expect(isThere).To(gomega.BeTrue(), kind)
			g.Expect(found).To(gomega.BeZero(), "%s:\n%s", kind, p.Tail())
		}
		notifying, _ := p.metric("shardinguser_notifications_active")
		g.Expect(notifying).To(gomega.BeEquivalentTo(1))
	})
}

func TestBothProgramsStartInAnyOrderOnOneTable(t *testing.T) {
	t.Parallel()
	for name, start := range variants(t, map[string]func(s *story) (*process, *neighbour){
		"the operator starts first": func(s *story) (*process, *neighbour) {
			managers := s.share()
			p := s.start()
			s.member("alice")
			n := s.beside(older(managers))
			n.hasNoDefaults()
			return p, n
		},
		"the manager starts first": func(s *story) (*process, *neighbour) {
			managers := s.share()
			n := s.beside(newer(managers))
			p := s.start()
			s.member("alice")
			n.hasNoDefaults()
			return p, n
		},
		"both start at once on an empty database": func(s *story) (*process, *neighbour) {
			managers := s.share()
			p := s.launch().begin(s.t)
			n := s.beside(older(managers))
			p.ready()
			s.member("alice")
			return p, n
		},
		"the manager joins the operator": func(s *story) (*process, *neighbour) {
			p := s.start()
			s.member("alice")
			managers := s.share() // the table gets another owner and three columns while the operator runs
			n := s.beside(newer(managers))
			n.hasNoDefaults()
			return p, n
		},
	}, "the manager starts first", "the manager joins the operator") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			p, n := start(s)
			s.logsIn(p, "alice", http.StatusOK)
			n.logsIn("alice", http.StatusOK)
			s.Expect(n.tries("alice", canary+" wrong")).To(gomega.Equal(http.StatusUnauthorized))
			s.findsNothing(p)
		})
	}
}

func TestLocksAndPasswordsApplyToBothPrograms(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	managers := s.share()
	p := s.start()
	password := s.secret("alice", canary+" alice")
	alice := s.readyUser("alice", secret("alice"), roles("operator"))
	n := s.beside(newer(managers))

	for range 5 {
		n.tries("alice", canary+" wrong")
	}
	s.locked(alice)
	s.Expect(time.Until(alice.Status.LockedUntil.Time)).To(gomega.BeNumerically("~", 15*time.Minute, time.Minute))
	s.logsIn(p, "alice", http.StatusUnauthorized)
	n.logsIn("alice", http.StatusUnauthorized)

	unlock := func(value string) {
		t.Helper()
		s.edit(alice, func(u *v1alpha1.ShardingUser) {
			metav1.SetMetaDataAnnotation(&u.ObjectMeta, v1alpha1.AnnotationUnlockRequestedAt, value)
		})
		s.isLocked(alice, false)
	}
	unlock("once")
	n.logsIn("alice", http.StatusOK)
	s.logsIn(p, "alice", http.StatusOK)

	s.fails(p, "alice", 5)
	s.locked(alice)
	n.logsIn("alice", http.StatusUnauthorized)
	unlock("again")
	n.logsIn("alice", http.StatusOK)

	s.rotate(password, canary+" rotated")
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("alice", canary+" rotated")
		g.Expect(status).To(gomega.Equal(http.StatusOK))
	})
	s.Expect(n.tries("alice", canary+" rotated")).To(gomega.Equal(http.StatusOK))
	n.logsIn("alice", http.StatusUnauthorized)

	s.edit(alice, roles("viewer"))
	s.reports(soon, alice, v1alpha1.ReasonSynced)
	answer, err := n.LogIn(t.Context(), "alice", canary+" rotated")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(answer.Roles).To(gomega.Equal([]string{"viewer"}))

	s.delete(alice)
	s.gone(soon, alice)
	s.Expect(n.tries("alice", canary+" rotated")).To(gomega.Equal(http.StatusUnauthorized))
	s.Expect(n.tries("alice", canary+" rotated")).To(gomega.Equal(http.StatusUnauthorized))
}

// inactive waits until the row is inactive.
func (s *story) inactive(username string) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row(username).Active).To(gomega.BeFalse()) })
}

func TestInactiveAccountCannotLogInToTheShardingManager(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	managers := s.share()
	p := s.start()
	given := s.member("given")
	n := s.beside(newer(managers))
	for name, leave := range map[string]func(u *v1alpha1.ShardingUser){
		"deactivated": func(u *v1alpha1.ShardingUser) {
			s.edit(u, func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(false) })
		},
		"deleted": func(u *v1alpha1.ShardingUser) {
			s.edit(u, deletion(v1alpha1.DeletionDeactivate))
			s.delete(u)
		},
	} {
		u := s.member(name)
		n.logsIn(name, http.StatusOK)
		leave(u)
		s.inactive(name)
		n.keepsOut(name)
		s.logsIn(p, name, http.StatusUnauthorized)
	}
	n.logsIn(given.Name, http.StatusOK)

	// An account that is active again has its password again, once the failures are forgiven.
	back := s.resource("deactivated")
	s.Expect(s.kube.Get(t.Context(), key(back), back)).To(gomega.Succeed())
	s.edit(back, func(u *v1alpha1.ShardingUser) {
		u.Spec.Active = new(true)
		metav1.SetMetaDataAnnotation(&u.ObjectMeta, v1alpha1.AnnotationUnlockRequestedAt, "now")
	})
	s.reports(soon, back, v1alpha1.ReasonSynced)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(back), back)).To(gomega.Succeed())
		g.Expect(back.Status.LastHandledUnlock).To(gomega.Equal("now"))
		g.Expect(meta.IsStatusConditionTrue(back.Status.Conditions, v1alpha1.ConditionLocked)).To(gomega.BeFalse())
	})
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(n.tries("deactivated", canary+" deactivated")).To(gomega.Equal(http.StatusOK))
	})
}

// Any user can lock an account. An OAuth user of the same name must not get access when the operator corrects the row.
func TestOAuthDoesNotTakeOverALockedAccount(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	managers := s.share()
	s.start()
	s.secret("admin", canary+" admin")
	s.readyUser("admin", secret("admin"), roles("admin"))
	n := s.beside(newer(managers))
	for range 5 {
		n.tries("admin", canary+" wrong")
	}
	before := s.row("admin")
	_, err := n.LogInByOAuth(t.Context(), "github", "666", "Admin")
	s.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("not overwritten")))
	after := s.row("admin")
	s.Expect(after.Hash).To(gomega.Equal(before.Hash))
	s.Expect(after.Roles).To(gomega.Equal(before.Roles))
}

// Not parallel: policies are cluster-wide.
func TestSuspendedAccountCannotLogInToTheShardingManager(t *testing.T) {
	s := newStory(t)
	managers := s.share()
	s.start()
	alice := s.member("alice")
	n := s.beside(newer(managers))
	n.logsIn("alice", http.StatusOK)
	s.policy("others", func(p *v1alpha1.ShardingUserPolicySpec) { p.Usernames = []v1alpha1.Glob{"nobody"} })
	s.reports(soon, alice, v1alpha1.ReasonNotPermitted)
	s.inactive("alice")
	n.keepsOut("alice")
}

func TestDoctorFindsTimeZoneMismatchOfTheShardingManager(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.publishes()
	managers := s.share()
	first := s.start()
	s.member("alice")
	inTokyo := newer(managers)
	inTokyo.Zone = time.FixedZone("", 9*60*60)
	n := s.beside(inTokyo)
	for range 5 {
		n.tries("alice", canary+" wrong")
	}
	s.Expect(first.Stop(25 * time.Second)).To(gomega.Succeed())

	// The manager inspects the table when it starts.
	p := s.start("--leader-election-namespace=" + s.namespace)
	sh := s.newShell()
	s.eventually(time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("doctor")
		g.Expect(got.code).To(gomega.Equal(1), got.out)
		g.Expect(got.out).To(gomega.MatchRegexp(`WRONG +Table +lock-time-zone "locked_until": .*UTC\+9 .*TZ=UTC`))
	})
	findings, _ := p.metric("shardinguser_table_findings", `kind="lock-time-zone"`)
	s.Expect(findings).To(gomega.BeEquivalentTo(1))
}

// Import turns the rows of the newer sharding manager into ShardingUsers if their names permit it.
func TestImportReadsTheTableOfTheNewerShardingManager(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	n := s.beside(newer(s.share()))
	_, err := n.LogInByOAuth(t.Context(), "github", "7", "Zoë Müller")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	_, err = n.LogInByOAuth(t.Context(), "github", "8", "carol")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(n.Add(t.Context(), "admin", aHash, "admin")).To(gomega.Succeed())
	for _, username := range []string{"Bob Smith", "ADMIN", "dave@example.com"} {
		s.Expect(n.Add(t.Context(), username, aHash)).To(gomega.Succeed()) // with null roles
	}
	s.sql(`INSERT INTO users (username, password_hash, roles, active) VALUES ('gone', '!' || substr($1, 2), '["viewer"]', false)`, aHash)
	before := s.rows()
	sh := s.newShell()

	code, report := sh.imports("--apply")
	s.Expect(code).To(gomega.Equal(3), "%v", report.Remarks)
	s.Expect(report.Users).To(gomega.Equal(5))
	s.Expect(report.Secrets).To(gomega.Equal(4), "carol has no password")
	s.Expect(report.kinds()).To(gomega.Equal(map[string]int{"LeftOut": 2, "WithoutPassword": 1}), "%v", report.Remarks)
	s.Expect(report.Remarks).To(gomega.ContainElements(
		gomega.And(gomega.HaveField("Username", "Bob Smith"), gomega.HaveField("Message", gomega.ContainSubstring("U+0020"))),
		gomega.And(gomega.HaveField("Username", "zoë_müller"), gomega.HaveField("Message", gomega.ContainSubstring("U+00EB"))),
	))
	got := sh.plugin("import", "--dsn-file=dsn.txt", "--apply")
	s.Expect(got.code).To(gomega.Equal(3))
	s.Expect(got.errOut).To(gomega.ContainSubstring("2 rows were skipped"))

	s.start()
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(5)) })
	after := s.rows()
	s.Expect(after).To(gomega.HaveLen(7))
	for username, row := range after {
		s.Expect(row.Hash).To(gomega.Equal(before[username].Hash), username)
		s.Expect(row.Active).To(gomega.Equal(before[username].Active), username)
	}
	s.Expect(s.value("gone-password")).To(gomega.Equal(aHash))
}
