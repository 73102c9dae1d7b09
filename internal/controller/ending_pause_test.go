// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// While a resource is paused, its row has the end that was recorded before, or none.
func TestAPauseKeepsNoAccountBeyondTheLifetimeOfAPolicy(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	pause := annotation(v1alpha1.AnnotationPaused, "true")
	forGood := s.readyUser("alice")
	s.edit(forGood, pause, endsAt(s.now().Add(30*time.Minute)))
	s.reports(forGood, v1alpha1.ReasonPaused)
	s.policy("contractors", ending(time.Hour))
	s.reports(forGood, v1alpha1.ReasonNotPermitted)
	s.turns("alice", false)

	end := s.now().Add(5 * time.Second).Truncate(time.Second)
	ends := s.readyUser("bob", endsAt(end))
	s.edit(ends, pause, endsAt(end.Add(30*time.Minute)))
	s.reports(ends, v1alpha1.ReasonPaused)
	s.Expect(s.turns("bob", false)).To(gomega.BeTemporally(">=", end))
	s.reports(ends, v1alpha1.ReasonNotPermitted)

	s.edit(ends, annotation(v1alpha1.AnnotationPaused, "false"))
	s.ready(ends)
	s.Expect(s.row("bob").Active).To(gomega.BeTrue())
}

// The operator changes nothing of a paused resource. Its row is still active then.
func TestADeletionOfAPausedUserThatEndedRetainsNoActiveRow(t *testing.T) {
	t.Parallel()
	s, _ := begin(t)
	end := s.now().Add(4 * time.Second).Truncate(time.Second)
	alice := s.readyUser("alice", endsAt(end), deletion(v1alpha1.DeletionRetain))
	s.edit(alice, annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(alice, v1alpha1.ReasonPaused)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.now()).To(gomega.BeTemporally(">", end)) })
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.remove(alice)
	s.turns("alice", false)
}
