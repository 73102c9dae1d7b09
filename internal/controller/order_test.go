// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// newUsers creates so many ShardingUsers at once, and waits for nothing.
func (s *story) newUsers(prefix string, n int, edits ...edit) {
	s.t.Helper()
	var creating errgroup.Group
	creating.SetLimit(16)
	for i := range n {
		creating.Go(func() error {
			u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: fmt.Sprintf("%s-%d", prefix, i)}}
			for _, change := range edits {
				change(u)
			}
			return s.kube.Create(s.t.Context(), u)
		})
	}
	s.Expect(creating.Wait()).To(gomega.Succeed())
}

// allReady waits until so many of these users are.
func (s *story) allReady(prefix string, n int) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.count(prefix, v1alpha1.ReasonSynced)).To(gomega.Equal(n)) })
}

func TestAnEditDoesNotWaitForNewUsersInBulk(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.costly = true
	op := s.start()
	edited := s.readyUser("edited")
	s.secret("passwords", "password", canary+" of them all")
	const many = 150
	s.newUsers("new", many, secretRef("passwords", "")) // each costs a hash

	before := op.hasher.Computed()
	s.edit(edited, roles("admin"))
	s.ready(edited)
	s.Expect(op.hasher.Computed()-before).To(gomega.BeNumerically("<", many/2), "it waited for most of them")
	s.Expect(s.row("edited").Roles).To(gomega.MatchJSON(`["admin"]`))
}

func TestAFloodOfAFewUsersDelaysNoOther(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	s.newUsers("busy", 5)
	s.allReady("busy", 5)

	ctx, end := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	t.Cleanup(func() { end(); flood.Wait() })
	flood.Go(func() {
		for ctx.Err() == nil { // each notifies of all five of them
			_, _ = s.db.Exec(ctx, `UPDATE users SET locked_until = CASE WHEN locked_until IS NULL
				THEN (clock_timestamp() AT TIME ZONE 'UTC') + interval '1 hour' END WHERE username LIKE 'busy-%'`)
		}
	})

	s.newUsers("new", 20)
	s.allReady("new", 20)
	op.stop()
	s.newUsers("listed", 20)
	s.start()
	s.allReady("listed", 20)
}
