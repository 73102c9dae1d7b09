// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// orphan inserts accounts of resources that do not exist, as a restored database has them. A user has to exist.
func (s *story) orphan(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.sql(`INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
			password_version, password_hash, password_weak, unlock_handled)
			SELECT $1::text, cluster, namespace, $1::text, 'gone', 'owned', 1, 'Delete', '', '', false, '' FROM shardinguser_ownership LIMIT 1`, name)
		s.sql(`INSERT INTO users (username, password_hash) VALUES ($1::text, '!')`, name)
	}
}

func TestPluginListsOrphansAndConfirmsTheirDeactivation(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.publishes()
	args := []string{"--leader-election-namespace=" + s.namespace, "--orphans=deactivate"}
	p, sh := s.start(args...), s.newShell()
	s.readyUser("stays")
	s.eventually(time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("orphans")
		g.Expect(got.code).To(gomega.BeZero(), got.errOut)
		g.Expect(got.errOut).To(gomega.ContainSubstring("No orphaned accounts"))
	})
	got := sh.plugin("orphans", "--deactivate")
	s.Expect(got.code).To(gomega.Equal(1))
	s.Expect(got.errOut).To(gomega.ContainSubstring("The operator holds no orphans back"))
	s.Expect(p.Stop(25 * time.Second)).To(gomega.Succeed())
	const many = 5
	for i := range many {
		s.orphan(fmt.Sprintf("leaver-%d", i))
	}

	p = s.start(args...)
	s.eventually(time.Minute, func(g gomega.Gomega) {
		got := sh.plugin("orphans")
		g.Expect(got.code).To(gomega.Equal(1))
		g.Expect(lines(got.out)).To(gomega.ContainElement([]string{s.namespace, "leaver-4", "leaver-4", "Can", "log", "in"}))
		g.Expect(got.errOut).To(gomega.ContainSubstring("The operator deactivates none of the 5 orphans"))
	})
	held, _ := p.metric("shardinguser_held_orphans")
	s.Expect(held).To(gomega.BeEquivalentTo(many))
	s.Expect(sh.plugin("orphans", "-o", "name").out).To(gomega.HavePrefix("shardinguser.sharding.io/leaver-0\n"))
	s.Expect(sh.plugin("orphans", "-n", "default").out).To(gomega.BeEmpty())
	var list struct{ Items []store.Orphan }
	s.Expect(json.Unmarshal([]byte(sh.plugin("orphans", "-o", "json").out), &list)).To(gomega.Succeed())
	s.Expect(list.Items).To(gomega.HaveLen(many))
	s.Expect(sh.plugin("orphans", "--operator-namespace=default").code).To(gomega.Equal(2), "there is no report")

	got = sh.plugin("orphans", "--deactivate")
	s.Expect(got.code).To(gomega.Equal(2), "nobody is there to ask")
	s.Expect(got.errOut).To(gomega.ContainSubstring("--yes"))
	s.Expect(sh.plugin("orphans", "--deactivate", "--yes").code).To(gomega.BeZero())
	if testing.Short() { // the operator's part is TestHeldOrphansAreDeactivatedOnceThatIsConfirmed
		var report corev1.ConfigMap
		s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: store.ReportName}, &report)).To(gomega.Succeed())
		s.Expect(report.Annotations[store.AnnotationDeactivateOrphansOf("")]).To(gomega.HaveLen(16))
		return
	}
	s.eventually(3*time.Minute, func(g gomega.Gomega) {
		g.Expect(sh.plugin("orphans").code).To(gomega.BeZero())
		for _, r := range s.rows() {
			g.Expect(r.Active).To(gomega.Equal(r.Username == "stays"), r.Username)
		}
	})
}
