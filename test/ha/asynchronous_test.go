// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

const newPassword = "the new password"

// With asynchronous replication, the new primary lacks what the former one committed last.
func TestWhatAsynchronousReplicationLosesIsWrittenAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("TestWorkResumesOnAPromotedStandby of test/e2e is the short form")
	}
	ctx := t.Context()
	usePair(t)
	s := &story{t: t, old: pair.Primary(ctx), writers: newWriters(t)}
	s.primary = pair.Other(s.old)
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		c := newCrew(t, way)
		for _, name := range []string{alice, dave, "edited", "deleted"} {
			c.member(name)
		}
		s.crews = append(s.crews, c)
	}
	if err := pair.Synchronous(ctx, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.crews {
		c.eventually(soon, func(g gomega.Gomega) {
			rows, err := c.rows(ctx, s.primary)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(rows).To(gomega.HaveLen(4))
		})
	}

	s.old.StopReplication()
	for _, c := range s.crews {
		c.changes()
		rows, err := c.rows(ctx, s.primary)
		c.Expect(err).NotTo(gomega.HaveOccurred())
		c.Expect(rows).NotTo(gomega.HaveKey("created"))
	}
	began := time.Now()
	if err := s.old.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	promoted := s.promoted(nil)
	t.Logf("the new primary accepts writes after %s", seconds(promoted.Sub(began)))
	for _, c := range s.crews {
		c.writesAgain(s, promoted)
	}
	for _, c := range s.crews {
		c.comesBack(s)
	}

	s.writers.end()
	if err := pair.Repair(ctx); err != nil {
		t.Fatal(err)
	}
	s.follows()
}

// changes makes changes of every kind, and waits until the statuses report them.
func (c *crew) changes() {
	c.t.Helper()
	ctx := c.t.Context()
	c.member("created")
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = c.namespace, alice
	c.Expect(c.kube.Patch(ctx, secret, client.RawPatch("application/merge-patch+json",
		[]byte(`{"stringData":{"password":"`+newPassword+`"}}`)))).To(gomega.Succeed())
	user := func(name string) *v1alpha1.ShardingUser {
		u := &v1alpha1.ShardingUser{}
		u.Namespace, u.Name = c.namespace, name
		return u
	}
	c.Expect(c.kube.Patch(ctx, user("edited"), client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"roles":["admin"]}}`)))).To(gomega.Succeed())
	c.Expect(c.kube.Delete(ctx, user("deleted"))).To(gomega.Succeed())
	c.fails(dave, 5)
	c.eventually(soon, func(g gomega.Gomega) {
		users, err := c.list(ctx)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(users).To(gomega.HaveLen(4), "without the deleted one")
		for _, u := range users {
			g.Expect(reasonOf(&u)).To(gomega.Equal(v1alpha1.ReasonSynced), u.Name)
			g.Expect(u.Status.Locked).To(gomega.Equal(u.Name == dave), u.Name)
		}
		answer, err := c.manager.LogIn(ctx, alice, newPassword)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(answer.Status).To(gomega.Equal(http.StatusOK))
	})
}

// writesAgain expects that a crew's manager writes the lost rows and edits on the new primary.
func (c *crew) writesAgain(s *story, promoted time.Time) {
	c.t.Helper()
	c.eventually(2*time.Minute, func(g gomega.Gomega) {
		rows, err := c.rows(c.t.Context(), s.primary)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(rows).To(gomega.HaveKey("created"))
		g.Expect(rows["edited"].Roles).To(gomega.MatchJSON(`["admin"]`))
	})
	c.t.Logf("%s: the lost rows are written again at most %s after the promotion", c.way, seconds(time.Since(promoted)))
}

// comesBack expects that the new primary has all that the resources and their statuses say.
func (c *crew) comesBack(s *story) {
	c.t.Helper()
	ctx := c.t.Context()
	c.eventually(soon, func(g gomega.Gomega) {
		users, err := c.list(ctx)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		for _, u := range users {
			g.Expect(reasonOf(&u)).To(gomega.Equal(v1alpha1.ReasonSynced), u.Name)
			g.Expect(u.Status.Locked).To(gomega.Equal(u.Name == dave), u.Name)
		}
		rows, err := c.rows(ctx, s.primary)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(rows[dave].Locked).To(gomega.BeTrue(), "by its status")
		g.Expect(rows).To(gomega.HaveKey("deleted"), "an account without a resource")
		for password, want := range map[string]int{newPassword: http.StatusOK, right: http.StatusUnauthorized} {
			answer, err := c.manager.LogIn(ctx, alice, password)
			g.Expect(err).NotTo(gomega.HaveOccurred())
			g.Expect(answer.Status).To(gomega.Equal(want), password)
		}
	})
	c.eventually(2*time.Minute, func(g gomega.Gomega) {
		g.Expect(c.metric(ctx, "shardinguser_orphaned_accounts")).To(gomega.BeEquivalentTo(1))
	})
}
