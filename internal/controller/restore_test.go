// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestARemovedFinalizerIsAddedAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("alice")
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Finalizers).To(gomega.ConsistOf(v1alpha1.Finalizer))
	})
	s.remove(u)
	s.Expect(s.row("alice")).To(gomega.BeNil())
}

// An API server that was restored from a backup has resources with the same UIDs and older generations.
func TestAResourceFromAnOlderBackupRulesItsRowAgain(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	u := s.readyUser("bob", roles("viewer"))
	s.sql(`UPDATE shardinguser_ownership SET generation = 99, revision = DEFAULT WHERE username = 'bob'`)
	s.edit(u, roles("admin"))
	s.ready(u)
	s.Expect(s.row("bob").Roles).To(gomega.MatchJSON(`["admin"]`))
	s.Expect(s.note("bob").Generation).To(gomega.Equal(u.Generation))
	s.remove(u)
	s.Expect(s.row("bob")).To(gomega.BeNil())
}

func TestAResourceThatWasDeletedAfterTheBackupGetsItsRowBack(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("carol", roles("viewer"))
	// Only a notification reports a row that is deleted with its ownership record.
	s.eventually(func(g gomega.Gomega) { g.Expect(op.health().Notified).To(gomega.BeTrue()) })
	// In one statement, as the operator has it: between two it might look.
	s.sql(`WITH buried AS (UPDATE shardinguser_ownership SET state = 'deleted', revision = DEFAULT WHERE username = 'carol')
		DELETE FROM users WHERE username = 'carol'`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("carol")).NotTo(gomega.BeNil()) })
	s.ready(u)
}

func TestAUserThatNeverOwnedItsNameLeavesATombstone(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('dave', '!')`)
	s.start()
	u := s.user("dave")
	s.reports(u, v1alpha1.ReasonRowExists)
	s.remove(u)
	s.Expect(s.row("dave")).NotTo(gomega.BeNil(), "it is another resource's")
	note := s.note("dave")
	s.Expect(note).NotTo(gomega.BeNil())
	s.Expect(note.State).To(gomega.Equal(user.Deleted), "so that a create of it that is under way comes too late")
	s.Expect(note.Owner.UID).To(gomega.BeEquivalentTo(u.UID))
}

// outage is a store that can be unavailable.
type outage struct {
	rows.Store
	away atomic.Bool
}

func (o *outage) Observe(ctx context.Context, username string) (user.Observed, error) {
	if o.away.Load() {
		return user.Observed{}, &store.UnavailableError{Sentence: "It is unavailable."}
	}
	return o.Store.Observe(ctx, username)
}

func TestARowRetainedDuringAnOutageIsReleasedAfterIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	database := &outage{}
	s.wrap = func(accounts rows.Store) rows.Store {
		database.Store = accounts
		return database
	}
	s.start()
	u := s.readyUser("erin", roles("viewer"))
	before := s.row("erin")

	database.away.Store(true)
	s.edit(u, deletion(v1alpha1.DeletionRetain)) // too late to be noted
	s.remove(u)
	s.Expect(s.note("erin").State).To(gomega.Equal(user.Owned))

	again := s.user("erin", roles("admin")) // in the place of the one whose row has yet to be released
	s.reports(again, v1alpha1.ReasonDatabaseUnavailable)
	database.away.Store(false)
	s.ready(again)
	after := s.row("erin")
	s.Expect(after.Created).To(gomega.Equal(before.Created), "the row was retained and taken over, not created again")
	s.Expect(after.Roles).To(gomega.MatchJSON(`["admin"]`))
}
