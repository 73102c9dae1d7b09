// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Not parallel: its manager watches the whole cluster.
func TestSamplesAreReconciledAndListedByKubectl(t *testing.T) {
	s := newStory(t)
	s.launchOn(s.dsn, "--leader-elect").begin(t).ready()
	samples := filepath.Join(root, "config/samples")
	t.Cleanup(func() {
		_, _ = plane.Kubectl(context.WithoutCancel(t.Context()), "delete", "--ignore-not-found", "--wait=false", "-k", samples)
		s.clear("sharding-system")
	})
	s.kubectl("apply", "-k", samples)
	s.kubectl("-n", "sharding-system", "wait", "--for=condition=Ready", "shardingusers", "--all", "--timeout=30s")
	rows := s.rows()
	s.Expect(rows).To(gomega.HaveLen(3))
	for _, name := range []string{"admin", "operator", "viewer"} {
		s.Expect(rows[name].Roles).To(gomega.MatchJSON(`["` + name + `"]`))
		s.Expect(bcrypt.CompareHashAndPassword([]byte(rows[name].Hash), []byte(name+"123"))).To(gomega.Succeed())
	}

	columns := strings.Fields(firstLine(s.kubectl("-n", "sharding-system", "get", "shardingusers")))
	s.Expect(columns).To(gomega.Equal(strings.Fields("NAME USERNAME ROLES ACTIVE READY LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE")))
	wide := s.kubectl("-n", "sharding-system", "get", "suser", "admin", "-o", "wide")
	s.Expect(strings.Fields(firstLine(wide))).To(gomega.ContainElement("REASON"))
	s.Expect(strings.Fields(strings.Split(wide, "\n")[1])).To(gomega.ContainElements("admin", `["admin"]`, "true", "True", "Synced", "false"))
	s.Expect(s.kubectl("-n", "sharding-system", "get", "sharding", "-o", "name")).To(gomega.ContainSubstring("shardinguser.sharding.io/viewer"))
	s.Expect(s.kubectl("-n", "sharding-system", "get", "suser", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="WeakPassword")].status}`)).
		To(gomega.Equal("True True True"))

	// A label selects the locked user.
	s.sql(`UPDATE users SET failed_login_attempts = 5, last_login_at = now() AT TIME ZONE 'UTC',
		locked_until = (now() AT TIME ZONE 'UTC') + interval '15 minutes' WHERE username = 'operator'`)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kubectl("get", "suser", "-A", "--field-selector=status.locked=true", "-o", "name")).
			To(gomega.Equal("shardinguser.sharding.io/operator\n"))
	})
	line := strings.Split(s.kubectl("-n", "sharding-system", "get", "suser", "operator", "--no-headers"), "\n")[0]
	s.Expect(line).To(gomega.MatchRegexp(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "when the lock expires")
	s.Expect(line).NotTo(gomega.ContainSubstring("<invalid>"))
	s.Expect(s.kubectl("get", "suser", "-A", "--field-selector=spec.active=false", "-o", "name")).To(gomega.BeEmpty())
	s.Expect(s.kubectl("get", "suser", "-A", "--field-selector=status.username=viewer", "-o", "name")).
		To(gomega.Equal("shardinguser.sharding.io/viewer\n"))
	s.kubectl("-n", "sharding-system", "annotate", "suser", "operator", "sharding.io/unlock-requested-at=now")
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("operator").Failed).To(gomega.BeZero()) })

	// A rotation as the sample's comment describes it.
	file := s.kubectl("-n", "sharding-system", "create", "secret", "generic", "admin-password",
		"--from-literal=password="+canary+" rotated", "--dry-run=client", "-o", "yaml")
	_, err := plane.Apply(t.Context(), file)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("admin").Hash).NotTo(gomega.Equal(rows["admin"].Hash)) })
	s.Expect(bcrypt.CompareHashAndPassword([]byte(s.row("admin").Hash), []byte(canary+" rotated"))).To(gomega.Succeed())

	// Users, Secrets and namespace are deleted together, in any order. Nothing hangs once the last admin may be deleted.
	s.kubectl("-n", "sharding-system", "annotate", "suser", "admin", v1alpha1.AnnotationAllowLastAdministrator+"=true")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = plane.Kubectl(ctx, "delete", "-k", samples)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(s.rows()).To(gomega.BeEmpty())
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
