// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// seen counts by username how often the operator looked at a row, and panics where it is told to.
type seen struct {
	rows.Store
	counts  chan string
	panicky string
}

func (a *seen) Observe(ctx context.Context, username string) (user.Observed, error) {
	if username == a.panicky {
		panic("a defect, made up for a test")
	}
	o, err := a.Store.Observe(ctx, username)
	if err == nil {
		a.counts <- username
	}
	return o, err
}

// watchAccounts lets the story tell when the operator has looked at each of its users.
func (s *story) watchAccounts() *seen {
	a := &seen{counts: make(chan string, 10000)}
	s.wrap = func(accounts rows.Store) rows.Store {
		a.Store = accounts
		return a
	}
	return a
}

// lookedAt waits until the operator has looked at that many users.
func (s *story) lookedAt(a *seen, users int) {
	s.t.Helper()
	names := map[string]bool{}
	s.Eventually(func() int {
		for {
			select {
			case name := <-a.counts:
				names[name] = true
			default:
				return len(names)
			}
		}
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Equal(users))
}

func TestARestartWithEverythingInPlaceHashesAndWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.table()
	s.sql(`INSERT INTO users (username, password_hash) VALUES ('exists', 'theirs')`)
	first := s.start()
	s.secret("plain", "password", canary+" plain", "empty", "")
	s.secret("hashed", "password", aHash)

	users := []*v1alpha1.ShardingUser{
		s.readyUser("plain", secretRef("plain", ""), roles("viewer", "admin")),
		s.readyUser("hashed", hashedSecret("hashed")),
		s.readyUser("open"),
		s.readyUser("unlocked", annotation(v1alpha1.AnnotationUnlockRequestedAt, "once")),
		s.readyUser("locked"),
	}
	s.lock("locked", "1 hour")
	s.isLocked(users[4], true)
	exists, missing := s.user("exists"), s.user("missing", secretRef("nowhere", ""))
	invalid, taken := s.user("invalid", secretRef("plain", "empty")), s.user("taken", username("open"))
	paused := s.user("paused", annotation(v1alpha1.AnnotationPaused, "true"))
	s.reports(exists, v1alpha1.ReasonRowExists)
	s.reports(missing, v1alpha1.ReasonSecretNotFound)
	s.reports(invalid, v1alpha1.ReasonPasswordInvalid)
	s.reports(taken, v1alpha1.ReasonUsernameTaken)
	s.reports(paused, v1alpha1.ReasonPaused)
	users = append(users, exists, missing, invalid, taken, paused)
	first.stop()

	before := s.everything(users)
	a := s.watchAccounts()
	second := s.start()
	s.lookedAt(a, len(users)-1) // two of them have one username
	// A change that comes after all that has been noticed shows that nothing is under way any more.
	s.edit(users[2], roles("marker"))
	s.ready(users[2])
	s.Expect(second.hasher.Computed()).To(gomega.BeZero())
	s.Expect(second.hasher.Compared()).To(gomega.BeZero())
	s.Expect(second.writes.count()).To(gomega.Equal(1), "the marker's")
	after := s.everything(users)
	delete(before, "open")
	delete(after, "open")
	delete(before, "taken") // has the username of the marker
	delete(after, "taken")
	s.Expect(after).To(gomega.Equal(before))
}

// everything is what there is about these users: the row, the note about it, the version of the resource, the Events.
func (s *story) everything(users []*v1alpha1.ShardingUser) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, u := range users {
		s.refresh(u)
		all[u.Name] = fmt.Sprintf("%+v %+v %s %v", s.row(user.Username(u)), s.note(user.Username(u)), u.ResourceVersion, s.events(s, u.Name))
	}
	return all
}

func TestRestartReadsManyRowsInOneStatement(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	many := 300
	if testing.Short() {
		many = 120 // each in a statement of its own would still be too many statements
	}
	users := make([]*v1alpha1.ShardingUser, many)
	for i := range users {
		users[i] = s.user(fmt.Sprintf("user-%03d", i))
	}
	for _, u := range users {
		s.ready(u)
	}
	first.stop()
	s.sql(`UPDATE users SET locked_until = now() + INTERVAL '1 hour' WHERE username = 'user-007'`)

	a := s.watchAccounts()
	second := s.start()
	s.lookedAt(a, many)
	s.isLocked(users[7], true)
	s.counts(second, "ready", many)
	s.counts(second, "notready", 0)
	s.counts(second, "locked", 1)
	s.counts(second, "inactive", 0)
	s.Expect(s.kube.Delete(t.Context(), users[7])).To(gomega.Succeed())
	s.counts(second, "locked", 0)
	s.counts(second, "ready", many-1)
	s.Expect(second.reads()).To(gomega.BeNumerically("<=", many/100+10))
	s.Expect(second.writes.count()).To(gomega.Equal(1), "the lock's")
}

func TestAPasswordChangedWhileTheOperatorIsDownIsAppliedLater(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	same, other := s.secret("same", "password", canary+" same"), s.secret("other", "password", canary+" other")
	users := []*v1alpha1.ShardingUser{s.readyUser("same", secretRef("same", "")), s.readyUser("other", secretRef("other", ""))}
	before := s.row("same")
	first.stop()

	s.put(same, "unrelated", "new")
	s.put(other, "password", canary+" other, changed")
	second := s.start()
	s.appliedVersion(same, users[0])
	s.appliedVersion(other, users[1])
	s.Expect(s.row("same").Hash).To(gomega.Equal(before.Hash))
	s.Expect(s.row("same").Updated).To(gomega.Equal(before.Updated))
	s.Expect(s.row("other").isOf(canary + " other, changed")).To(gomega.BeTrue())
	s.Expect(second.hasher.Computed()).To(gomega.BeEquivalentTo(1))
	s.Expect(second.hasher.Compared()).To(gomega.BeEquivalentTo(2))
}

func TestADeletionBegunWhileTheOperatorIsDownIsDoneLater(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	u := s.readyUser("gone")
	first.stop()
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.Expect(s.row("gone")).NotTo(gomega.BeNil())
	s.start()
	s.gone(u)
	s.Expect(s.row("gone")).To(gomega.BeNil())
}

func TestAPanickingReconcileIsCountedAndOthersContinue(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.watchAccounts().panicky = "panicky"
	s.start()
	before := panics(t)
	s.user("panicky")
	s.Eventually(func() float64 { return panics(t) - before }).WithTimeout(soon).WithPolling(poll).Should(gomega.BeNumerically(">=", 2))
	from := time.Now()
	s.readyUser("calm")
	s.Expect(time.Since(from)).To(gomega.BeNumerically("<", prompt))
}

// panics is how many reconciles have panicked in this process.
func panics(t *testing.T) float64 {
	t.Helper()
	return metric(t, ctrlmetrics.Registry, "controller_runtime_reconcile_panics_total")
}
