// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The stories of docs/backup-and-restore.md.

// statementsOf returns the blocks of SQL below a heading of the page.
func (s *story) statementsOf(heading string) []string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup-and-restore.md"))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	_, section, isFound := strings.Cut(string(content), "\n"+heading+"\n")
	s.Expect(isFound).To(gomega.BeTrue(), heading)
	section, _, _ = strings.Cut(section, "\n#")
	var statements []string
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(section, -1) {
		if strings.Contains(block[1], "SELECT") {
			continue
		}
		statements = append(statements, strings.ReplaceAll(block[1], "UID of the namespace kube-system", clusterID))
	}
	s.Expect(statements).NotTo(gomega.BeEmpty(), heading)
	return statements
}

// opens reports whether a row's hash is that of a password.
func (s *story) opens(op *operator, username, plain string) bool {
	s.t.Helper()
	r := s.row(username)
	if r == nil || password.IsStandIn(r.Hash) || !strings.HasPrefix(r.Hash, "$2") {
		return false
	}
	matches, err := op.hasher.Matches(s.t.Context(), r.Hash, []byte(plain))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	return matches
}

// locksRow locks an account as five failed logins do.
func (s *story) locksRow(u *v1alpha1.ShardingUser) {
	s.t.Helper()
	s.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '1 hour'
		WHERE username = $1`, user.Username(u))
	s.isLocked(u, true)
}

// The database comes first: it is restored from an older dump beside a running operator, and the cluster is as it was.
func TestARestoredDatabaseFollowsTheResourcesAgain(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.settings = []func(*postgres.Settings){func(p *postgres.Settings) { p.ResyncInterval, p.PollInterval = time.Second, time.Second }}
	op := s.start()
	secret := s.secret("rotated", "password", canary+" old")
	edited, rotated := s.readyUser("edited", roles("viewer")), s.readyUser("rotated", secretRef("rotated", ""))
	leaver, unlocked := s.readyUser("leaver"), s.readyUser("unlocked")
	s.locksRow(unlocked)
	dump := filepath.Join(t.TempDir(), "dump")
	s.Expect(testenv.Dump(t.Context(), s.dsn, dump)).To(gomega.Succeed())

	s.edit(edited, roles("operator"), active(false))
	s.put(secret, "password", canary+" new")
	s.edit(unlocked, annotation(v1alpha1.AnnotationUnlockRequestedAt, "after the dump"))
	s.isLocked(unlocked, false)
	s.remove(leaver)
	s.secret("late", "password", canary+" late")
	late := s.readyUser("late", secretRef("late", ""))
	s.ready(edited)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.opens(op, "rotated", canary+" new")).To(gomega.BeTrue()) })

	s.Expect(testenv.Restore(t.Context(), s.dsn, dump, "--clean", "--if-exists", "--single-transaction")).To(gomega.Succeed())
	s.findsOrphans(op, "leaver")
	s.eventually(func(g gomega.Gomega) {
		r := s.row("edited")
		g.Expect(r.Roles).To(gomega.MatchJSON(`["operator"]`))
		g.Expect(r.Active).To(gomega.BeFalse())
		g.Expect(s.opens(op, "rotated", canary+" new")).To(gomega.BeTrue(), "the rotation is repeated")
		g.Expect(s.opens(op, "late", canary+" late")).To(gomega.BeTrue(), "a later user has its account again")
	})
	for _, u := range []*v1alpha1.ShardingUser{edited, rotated, late} {
		s.ready(u)
	}
	s.isLocked(unlocked, false)
	s.Expect(unlocked.Status.LastHandledUnlock).To(gomega.Equal("after the dump"), "the unlock is repeated")
}

// The cluster comes first: a backup of resources, of the kind that Velero makes, brings them back with new UIDs and without statuses.
func TestRestoredResourcesWithNewUIDsKeepTheirAccounts(t *testing.T) {
	t.Parallel()
	for name, secretsFirst := range map[string]bool{"Secrets before the users": true, "Secrets after the users": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			op := s.start()
			s.secret("alice", "password", canary+" alice")
			alice, bob := s.readyUser("alice", secretRef("alice", ""), roles("operator")), s.readyUser("bob")
			s.sql(`UPDATE users SET password_hash = '$2a$10$another.programs.hash' WHERE username = 'bob'`) // its user has no spec.password
			s.locksRow(alice)
			rows := map[string]*row{"alice": s.row("alice"), "bob": s.row("bob")}
			op.stop()

			// The namespace is lost, and so are its Secrets and users.
			s.strip(alice, bob)
			s.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "alice"}})
			for _, statement := range s.statementsOf("### Resources with new UIDs") {
				s.sql(statement)
			}
			op = s.start()
			if secretsFirst {
				s.secret("alice", "password", canary+" alice")
			}
			again := s.user("alice", secretRef("alice", ""), roles("operator"))
			s.Expect(again.UID).NotTo(gomega.Equal(alice.UID))
			s.readyUser("bob")
			if !secretsFirst {
				s.reports(again, v1alpha1.ReasonSecretNotFound)
				s.secret("alice", "password", canary+" alice")
			}
			s.ready(again)
			s.isLocked(again, true)
			for username, before := range rows {
				after := s.row(username)
				s.Expect(after.Hash).To(gomega.Equal(before.Hash), username)
				s.Expect(after.Created).To(gomega.Equal(before.Created), username)
				s.Expect(after.Failed).To(gomega.Equal(before.Failed), username)
				s.Expect(after.LockedUntil).To(gomega.Equal(before.LockedUntil), username)
			}
			s.Expect(op.hasher.Computed()).To(gomega.BeZero(), "no password is hashed")
			s.Expect(s.note("alice").Owner.UID).To(gomega.BeEquivalentTo(again.UID))
		})
	}
}

// A dump of the table users alone has no ownership records.
func TestAccountsWithoutOwnershipRecordsAreAdopted(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	s.secret("alice", "password", canary+" alice")
	alice := s.readyUser("alice", secretRef("alice", ""), roles("operator"))
	before := s.row("alice")
	s.sql(`DROP TABLE shardinguser_ownership`)
	s.reports(alice, v1alpha1.ReasonRowExists)
	s.Expect(s.row("alice").Version).To(gomega.Equal(before.Version), "the row is unchanged")

	s.edit(alice, adopt(v1alpha1.AdoptionIfUnowned))
	s.ready(alice)
	after := s.row("alice")
	s.Expect(after.Created).To(gomega.Equal(before.Created))
	s.Expect(after.Hash).To(gomega.Equal(before.Hash))
}
