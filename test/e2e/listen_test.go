// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// file writes a file that is deleted with the test, and returns its path.
func (s *story) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	s.Expect(os.WriteFile(path, []byte(content), 0o600)).To(gomega.Succeed())
	return path
}

// notifying waits until changes arrive by notifications (1), or by polling (0).
func (s *story) notifying(p *process, active float64) {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		is, found := p.metric("shardinguser_notifications_active")
		g.Expect(found).To(gomega.BeTrue())
		g.Expect(is).To(gomega.Equal(active))
	})
}

func TestLocksMadeWithoutAListenerAreReported(t *testing.T) {
	t.Parallel()
	users := orShort(1000, 100)
	s := newStory(t)
	proxy, direct := testenv.DatabaseProxy(t, s.dsn)
	p := s.start("--listen-dsn-file=" + s.file("direct", direct))
	each := func(do func(name string) error) {
		var work errgroup.Group
		work.SetLimit(8)
		for i := range users {
			work.Go(func() error { return do(fmt.Sprintf("user-%03d", i)) })
		}
		s.Expect(work.Wait()).To(gomega.Succeed())
	}
	each(func(name string) error { return s.kube.Create(t.Context(), s.resource(name)) })
	seldom := func(check func(g gomega.Gomega)) { // polls seldom, to spare the API server
		s.Eventually(check).WithTimeout(3 * time.Minute).WithPolling(500 * time.Millisecond).Should(gomega.Succeed())
	}
	seldom(func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(users)) })
	s.notifying(p, 1)

	areLocked := func(number int) {
		t.Helper()
		s.Eventually(func(g gomega.Gomega) {
			var locked v1alpha1.ShardingUserList
			g.Expect(s.kube.List(t.Context(), &locked, client.InNamespace(s.namespace), client.MatchingFields{"status.locked": "true"})).To(gomega.Succeed())
			g.Expect(locked.Items).To(gomega.HaveLen(number))
		}).WithTimeout(3 * time.Minute).WithPolling(200 * time.Millisecond).Should(gomega.Succeed())
	}

	proxy.Cut()
	s.notifying(p, 0)
	s.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = now() AT TIME ZONE 'UTC' + interval '1 hour'`)
	proxy.Restore()
	from := time.Now()
	areLocked(users)
	took := time.Since(from)
	s.notifying(p, 1)

	// The time for as many statuses while the manager listens.
	from = time.Now()
	s.sql(`UPDATE users SET failed_login_attempts = 0, locked_until = NULL`)
	areLocked(0)
	usual := time.Since(from)
	t.Logf("%d locks were in the statuses after %v, as many unlocks with a listener after %v", users, took, usual)
	s.Expect(took).To(gomega.BeNumerically("<=", 5*time.Second+2*usual))
}
