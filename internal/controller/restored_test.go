// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// observed is what the store in memory has of a username.
func (o *operator) observed(t *testing.T, username string) user.Observed {
	t.Helper()
	observed, err := o.memory.Observe(t.Context(), username)
	if err != nil {
		t.Fatal(err)
	}
	return observed
}

// fails makes so many failed attempts.
func (o *operator) fails(t *testing.T, username string, times int) {
	t.Helper()
	for range times {
		c, err := o.memory.Charge(t.Context(), store.Attempt{Username: username}, store.Limits{Attempts: 5, Duration: time.Hour})
		if err == nil {
			_, err = o.memory.Settle(t.Context(), c, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// isHashOf waits until a row has a bcrypt hash of the password.
func (s *story) isHashOf(op *operator, username, plain string) user.Observed {
	s.t.Helper()
	var o user.Observed
	s.eventually(func(g gomega.Gomega) {
		o = op.observed(s.t, username)
		g.Expect(o.Row).NotTo(gomega.BeNil())
		g.Expect(password.IsStandIn(o.Row.PasswordHash)).To(gomega.BeFalse())
		matches, err := op.hasher.Matches(s.t.Context(), o.Row.PasswordHash, []byte(plain))
		g.Expect(err).NotTo(gomega.HaveOccurred())
		g.Expect(matches).To(gomega.BeTrue())
	})
	return o
}

func TestARestartWithoutADatabaseForgetsNothingThatWasReported(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.inMemory = true
	first := s.start()
	s.secret("alice", "password", canary+" alice")
	s.secret("weak", "password", "admin123")
	alice := s.readyUser("alice", secretRef("alice", ""), roles("operator"))
	bob := s.readyUser("bob", secretRef("weak", ""))
	late := s.user("a-late-one", username("alice"), secretRef("weak", ""))
	s.reports(late, v1alpha1.ReasonUsernameTaken)
	first.fails(t, "alice", 5)
	s.isLocked(alice, true)
	told := map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1}
	s.told("alice", told)
	first.stop()
	s.tells(bob, func(status *v1alpha1.ShardingUserStatus) { status.FailedLoginAttempts = 3 }) // it takes its time to

	second := s.start()
	s.refresh(alice)
	o := s.isHashOf(second, "alice", canary+" alice")
	s.Expect(o.Locked()).To(gomega.BeTrue(), "the hash is the same password's, and lifts no lock")
	s.Expect(*o.Row.LockedUntil).To(gomega.BeTemporally("==", alice.Status.LockedUntil.Time))
	s.Expect(o.Row.FailedLoginAttempts).To(gomega.Equal(5))
	s.Expect(*o.Ownership.PasswordChangedAt).To(gomega.BeTemporally("==", alice.Status.PasswordChangedTime.Time))
	s.Expect(o.Ownership.Owner.UID).To(gomega.BeEquivalentTo(alice.UID), "the contested username stays with its owner")
	o = s.isHashOf(second, "bob", "admin123")
	s.Expect(o.Row.FailedLoginAttempts).To(gomega.Equal(3))
	s.Expect(second.hasher.Computed()).To(gomega.BeEquivalentTo(2))

	// A change that comes after all that shows that nothing is under way any more: nobody was told anything new.
	s.readyUser("marker")
	s.Expect(second.writes.count()).To(gomega.Equal(1), "the marker's")
	s.told("alice", told)
	s.told("bob", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ConditionWeakPassword: 1})
	s.reports(late, v1alpha1.ReasonUsernameTaken)

	s.remove(alice)
	s.ready(late)
	s.Expect(second.observed(t, "alice").Ownership.Owner.UID).To(gomega.BeEquivalentTo(late.UID))
	s.Expect(second.observed(t, "alice").Locked()).To(gomega.BeFalse())
}

func TestRequestsDuringARestartWithoutADatabaseAreDoneLater(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.inMemory = true
	first := s.start()
	secret := s.secret("rotated", "password", canary+" first")
	unlocked, rotated := s.readyUser("unlocked"), s.readyUser("rotated", secretRef("rotated", ""))
	deleted, expired := s.readyUser("deleted"), s.readyUser("expired")
	ended := s.readyUser("ended")
	for _, u := range []*v1alpha1.ShardingUser{unlocked, rotated, expired, ended} {
		first.fails(t, u.Name, 5)
		s.isLocked(u, true)
	}
	s.told("unlocked", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1})
	first.memory.Edit("ended", func(row *user.Row) *user.Row { row.LockedUntil = new(time.Now()); return row })
	s.condition(ended, v1alpha1.ConditionLocked, v1alpha1.ReasonLockExpired)
	first.stop()

	s.edit(unlocked, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"))
	s.put(secret, "password", canary+" second")
	s.Expect(s.kube.Delete(t.Context(), deleted)).To(gomega.Succeed())
	heir := s.user("heir", username("deleted"))
	s.tells(expired, func(status *v1alpha1.ShardingUserStatus) {
		status.LockedUntil = new(metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second)))
	})
	s.secret("new", "password", canary+" new")
	newcomer := s.user("new", secretRef("new", ""))

	second := s.start()
	s.condition(unlocked, v1alpha1.ConditionLocked, v1alpha1.ReasonUnlocked)
	s.Expect(unlocked.Status.Locked).To(gomega.BeFalse())
	s.Expect(unlocked.Status.LastHandledUnlock).To(gomega.Equal("now"))
	s.told("unlocked", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1, v1alpha1.EventUnlocked: 1})
	o := s.isHashOf(second, "rotated", canary+" second")
	s.Expect(o.Locked()).To(gomega.BeTrue(), "nobody can tell that it is another password")
	s.gone(deleted)
	s.ready(heir)
	s.condition(expired, v1alpha1.ConditionLocked, v1alpha1.ReasonLockExpired)
	s.ready(newcomer)
	s.isHashOf(second, "new", canary+" new")
	s.told("new", map[string]int{v1alpha1.EventCreated: 1})
	s.Expect(newcomer.Status.PasswordChangedTime).NotTo(gomega.BeNil())

	// An expired lock leaves a new budget, and not the last attempt of the old one.
	for _, name := range []string{"expired", "ended"} {
		second.fails(t, name, 4)
		s.Expect(second.observed(t, name).Locked()).To(gomega.BeFalse(), name)
	}
}

// early is a store in memory that counts what is asked of it before there is anything in it.
type early struct {
	rows.Store
	asked chan string
}

func (a *early) Observe(ctx context.Context, username string) (user.Observed, error) {
	o, err := a.Store.Observe(ctx, username)
	if o.Row == nil {
		a.asked <- username
	}
	return o, err
}

func TestNothingIsReconciledBeforeAllIsRestored(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.inMemory = true
	store := &early{asked: make(chan string, 1000)}
	s.wrap = func(accounts rows.Store) rows.Store { store.Store = accounts; return store }
	first := s.start()
	s.secret("shared", "password", canary+" shared")
	var users []*v1alpha1.ShardingUser
	for _, name := range []string{"alice", "bob", "carol", "dave", "erin", "frank"} {
		users = append(users, s.readyUser(name, secretRef("shared", "")))
	}
	first.stop()
	for len(store.asked) > 0 {
		<-store.asked
	}
	second := s.start()
	for _, u := range users {
		s.isHashOf(second, u.Name, canary+" shared")
	}
	s.Expect(store.asked).To(gomega.BeEmpty())
}
