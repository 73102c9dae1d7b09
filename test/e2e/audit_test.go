// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// auditor creates a ServiceAccount that is bound as config/rbac documents.
func (s *story) auditor(name string) *rest.Config {
	s.t.Helper()
	config, err := plane.ServiceAccount(s.t.Context(), s.namespace, name)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.kubectl("create", "clusterrolebinding", s.namespace+"-"+name, "--clusterrole=shardinguser-auditor", "--serviceaccount="+s.namespace+":"+name)
	s.t.Cleanup(func() {
		if _, err := plane.Kubectl(context.WithoutCancel(s.t.Context()), "delete", "clusterrolebinding", s.namespace+"-"+name); err != nil {
			s.t.Error(err)
		}
	})
	return config
}

// The trail is told to auditors only, from the resource to the table and back, and holds no password and no hash.
func TestAuditorsReadEachChangeAndEachAttempt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "localhost")
	dir := t.TempDir()
	for name, content := range map[string]string{"tls.crt": certificate, "tls.key": key, "ca.crt": ca.certificate} {
		s.Expect(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)).To(gomega.Succeed())
	}
	p := s.start("--metrics-cert-dir=" + dir)
	s.secret("alice", canary+" alice")
	alice := s.readyUser("alice", secret("alice"))
	s.edit(alice, func(u *v1alpha1.ShardingUser) { u.Spec.Roles = []v1alpha1.Role{"admin"} })
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Roles).To(gomega.Equal(`["admin"]`)) })
	s.sql(`UPDATE users SET roles = '["root"]' WHERE username = 'alice'`)
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("alice").Roles).To(gomega.Equal(`["admin"]`)) })
	status, _ := p.logIn("alice", "wrong")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))

	url := func(path string) string { return "https://" + p.Metrics + path }
	nobody, err := plane.ServiceAccount(t.Context(), s.namespace, "nobody")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	auditor := s.auditor("auditor")
	for _, path := range []string{audit.AttemptsPath, audit.ChangesPath} {
		s.eventually(soon, func(g gomega.Gomega) {
			status, _ := testenv.Get(t.Context(), url(path), "")
			g.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "without a token")
		})
		for who, token := range map[string]string{"a request without the right": nobody.BearerToken, "a scraper of the metrics": scraperToken(t)} {
			status, body := testenv.Get(t.Context(), url(path), token)
			s.Expect(status).To(gomega.Equal(http.StatusForbidden), who)
			s.Expect(body).NotTo(gomega.ContainSubstring("alice"), who)
		}
	}
	var changes audit.Changes
	s.eventually(soon, func(g gomega.Gomega) { // the binding takes a moment
		status, body := testenv.Get(t.Context(), url(audit.ChangesPath+"?username=alice&since=1h"), auditor.BearerToken)
		g.Expect(status).To(gomega.Equal(http.StatusOK))
		g.Expect(body).NotTo(gomega.Or(gomega.ContainSubstring(canary), gomega.ContainSubstring("$2a$")))
		g.Expect(json.Unmarshal([]byte(body), &changes)).To(gomega.Succeed())
	})
	status, _ = testenv.Get(t.Context(), url("/metrics"), auditor.BearerToken)
	s.Expect(status).To(gomega.Equal(http.StatusForbidden), "an auditor reads no metrics")
	var actions, managers []string
	for _, c := range changes.Items {
		actions, managers = append(actions, string(c.Action)), append(managers, c.Manager)
	}
	s.Expect(actions).To(gomega.Equal([]string{"drift", "roles", "created"}))
	s.Expect(managers[0]).To(gomega.BeEmpty(), "nobody asks for drift")
	s.Expect(managers[1:]).To(gomega.HaveEach(gomega.Equal(managers[1])))
	s.Expect(managers[1]).NotTo(gomega.BeEmpty(), "the field manager of the spec")
	s.Expect(changes.Items[0].OldRoles).To(gomega.Equal([]string{"root"}))
	s.Expect(changes.Items[0].NewRoles).To(gomega.Equal([]string{"admin"}))
	s.Expect(changes.Items[1].Resource.UID).To(gomega.Equal(string(alice.UID)))
	s.Expect(changes.Items[1].Resource.Generation).To(gomega.BeEquivalentTo(2))
	status, body := testenv.Get(t.Context(), url(audit.AttemptsPath+"?username=alice&outcome=failed"), auditor.BearerToken)
	s.Expect(status).To(gomega.Equal(http.StatusOK))
	s.Expect(body).To(gomega.ContainSubstring(`"source":"127.0.0.1"`))
	status, _ = testenv.Get(t.Context(), url(audit.ChangesPath+"?limit=9999"), auditor.BearerToken)
	s.Expect(status).To(gomega.Equal(http.StatusBadRequest))
	s.Expect(strings.Count(p.said(), "Recorded a change of an account")).To(gomega.Equal(3))

	s.historyByAddress(p, dir)
}

// historyByAddress reads the story above by the plugin. An administrator with a client certificate needs a ServiceAccount.
func (s *story) historyByAddress(p *process, dir string) {
	s.t.Helper()
	sh := s.newShell()
	_, port, err := net.SplitHostPort(p.Metrics)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	at := []string{"--audit-url=https://localhost:" + port, "--audit-certificate-authority=" + filepath.Join(dir, "ca.crt")}
	account := "--service-account=" + s.namespace + "/auditor"
	refused := sh.plugin(append([]string{"history", "alice"}, at...)...)
	s.Expect(refused.code).To(gomega.Equal(2))
	s.Expect(refused.errOut).To(gomega.ContainSubstring("--service-account"))

	rows := lines(sh.done(append([]string{"history", "alice", account}, at...)...))
	s.Expect(rows).To(gomega.HaveLen(4))
	s.Expect(rows[1][1:4]).To(gomega.Equal([]string{"drift", "roles", "[root]->[admin]"}))
	s.Expect(lines(sh.done(append([]string{"history", "alice", account, "--action=roles"}, at...)...))).To(gomega.HaveLen(2))
	s.Expect(lines(sh.done(append([]string{"logins", "alice", account}, at...)...))).To(gomega.HaveLen(2))
	s.Expect(lines(sh.done("history", "alice", "--dsn-file", "dsn.txt"))).To(gomega.Equal(rows), "from the database")
}
