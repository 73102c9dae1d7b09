// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// Every process's output is checked for secrets at the end of each story (see process.finish). This story
// provokes errors that could contain secrets, and checks all other output that users see.
func TestOutputHasNoPasswordHashOrDSNSecret(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	proxy, through := testenv.DatabaseProxy(t, s.dsn)
	l := s.launchOn(through, "--watch-namespaces="+s.namespace, "--zap-devel", "--zap-log-level=10")
	p := l.begin(t).ready()
	good := s.secret("good", canary+" good")
	plain := s.readyUser("plain", secret("good"))
	for name, value := range map[string]string{
		"long": canary + string(make([]byte, 80)), "broken": canary + "\xff", "short": canary[:5],
	} {
		s.secret(name, value)
		s.reports(soon, s.user(name, secret(name)), v1alpha1.ReasonPasswordInvalid)
	}
	s.secret("bad-hash", "$2x$10$"+aHash[7:])
	s.reports(soon, s.user("bad-hash", secret("bad-hash"), hashed), v1alpha1.ReasonPasswordInvalid)
	s.secret("hash", aHash)
	s.readyUser("hash", secret("hash"), hashed)
	s.sql(`UPDATE users SET password_hash = $1 WHERE username = 'plain'`, "drift "+canary)
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("plain").Hash).NotTo(gomega.ContainSubstring(canary)) })
	// The database rejects the row with a message that quotes it.
	s.sql(`ALTER TABLE users ADD CONSTRAINT no_admins CHECK (roles <> '["admin"]')`)
	s.rotate(good, canary+" rotated")
	s.edit(plain, roles("admin"))
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), key(plain), plain)).To(gomega.Succeed())
		g.Expect(plain.Status.Conditions).To(gomega.ContainElement(gomega.HaveField("Reason", v1alpha1.ReasonDatabaseRejected)))
	})
	s.sql(`ALTER TABLE users DROP CONSTRAINT no_admins`)
	talk := func() {
		for _, username := range []string{"plain", "nobody", canary + " typed into the wrong field"} {
			p.logIn(username, canary+" wrong")
			_, err := p.Verify(t.Context(), basic(username, canary+" wrong"))
			s.Expect(err).NotTo(gomega.HaveOccurred())
		}
		_, err := p.Ask(t.Context(), http.MethodPost, testenv.LoginPath, `{"username": "`+canary, "Bearer "+canary)
		s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	talk()
	proxy.Cut()
	s.reports(soon, s.user("away", secret("good")), v1alpha1.ReasonDatabaseUnavailable)
	s.fallen(p, 1)
	talk()
	s.sql(`ALTER ROLE ` + s.role + ` PASSWORD 'another'`)
	proxy.Restore()
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(p.said()).To(gomega.MatchRegexp("(?i)password|credential")) })
	s.sql(`ALTER ROLE ` + s.role + ` PASSWORD '` + l.secrets[0] + `'`)

	s.fallen(p, 0)
	_, metrics := p.scrape(scraperToken(t))
	var record string
	s.Expect(s.db.QueryRow(t.Context(), `SELECT string_agg(a::text, E'\n') FROM login_attempts a`).Scan(&record)).To(gomega.Succeed())
	printed := map[string]string{
		"the audit trail": record,
		"the log":         p.said(),
		"the metrics":     metrics,
		"the Events":      s.kubectl("get", "events.events.k8s.io", "--namespace="+s.namespace, "-o", "yaml"),
		"the statuses":    s.kubectl("get", "shardingusers", "--namespace="+s.namespace, "-o", "yaml"),
	}
	for where, text := range printed {
		s.Expect(text).NotTo(gomega.BeEmpty(), where)
		for _, secret := range append(l.secrets, canary, aHash[7:]) {
			// A matcher would print the text.
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s: %q", where, text[max(0, i-300):min(len(text), i+100)])
			}
		}
		s.Expect(aHashIsIn(text)).To(gomega.BeFalse(), where)
	}
	s.Expect(printed["the Events"]).To(gomega.ContainSubstring(v1alpha1.EventDriftCorrected))
	s.Expect(printed["the statuses"]).To(gomega.ContainSubstring(v1alpha1.ReasonPasswordInvalid))
}
