// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// As if etcd was restored from a snapshot that is older than the resources, or without one.
func TestOrphanedRowsStayUnchanged(t *testing.T) {
	t.Parallel()
	const users = 20
	for name, kept := range variants(t, map[string]int{"some resources vanished": users / 2, "all resources vanished": 0}, "all resources vanished") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			first := s.start()
			for i := range users {
				s.user(fmt.Sprintf("user-%02d", i), roles("viewer"))
			}
			s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(users)) })
			before := s.rows()
			s.Expect(first.Stop(25 * time.Second)).To(gomega.Succeed())
			all := s.users()
			for i := range all[kept:] {
				u := &all[kept+i]
				s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
				s.delete(u)
				s.gone(soon, u)
			}

			second := s.start("--resync-interval=1s")
			s.readyUser("marker")
			reads, _ := second.metric("pgxpool_acquire_count")
			s.eventually(soon, func(g gomega.Gomega) { // until it has polled for changes a few times
				now, found := second.metric("pgxpool_acquire_count")
				g.Expect(found).To(gomega.BeTrue())
				g.Expect(now - reads).To(gomega.BeNumerically(">", 5))
			})
			after := s.rows()
			delete(after, "marker")
			s.Expect(after).To(gomega.Equal(before))
		})
	}
}
