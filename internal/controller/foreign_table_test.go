// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// trigger is SQL that makes a row trigger on users, with this timing and body.
func trigger(name, timing, body string) string {
	return `CREATE FUNCTION ` + name + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + ` END $$;
		CREATE TRIGGER ` + name + ` ` + timing + ` ON users FOR EACH ROW EXECUTE FUNCTION ` + name + `()`
}

// A write that the database took, and did not keep as it was meant, is reported; and so is one that it refuses.
func TestARowThatTheDatabaseRefusesOrDoesNotKeepIsReported(t *testing.T) {
	t.Parallel()
	for name, tt := range refusedRows {
		if testing.Short() && !tt.short {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.table()
			s.sql(tt.given)
			if tt.existing != "" {
				s.sql(tt.existing)
			}
			op := s.start()
			s.secret("alice", "password", canary+" password")
			u := s.user("alice", append([]edit{secretRef("alice", ""), roles("viewer")}, tt.edits...)...)
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			s.Expect(c.Status).To(gomega.Equal(metav1.ConditionFalse))
			for _, words := range tt.says {
				s.Expect(c.Message).To(gomega.ContainSubstring(words))
			}
			s.Expect(c.Message).NotTo(gomega.ContainSubstring(canary))
			stalled := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionStalled)
			s.Expect(stalled).NotTo(gomega.BeNil())
			s.told("alice", map[string]int{v1alpha1.ReasonDatabaseRejected: 1})
			s.Expect(s.row("alice") != nil).To(gomega.Equal(tt.stays))

			// It concerns this user alone, and is not written over and over.
			writing := op.health().Writing
			s.Expect(writing).NotTo(gomega.HaveOccurred())
			before, writes := s.row("alice"), op.metric(t, "shardinguser_rejected_writes_total")
			s.Consistently(func() float64 { return op.metric(t, "shardinguser_rejected_writes_total") }).
				WithTimeout(2 * time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(writes))
			s.Expect(s.row("alice")).To(gomega.Equal(before))
		})
	}
}

// A deletion is over only when the row is gone, or inactive where that was asked for.
func TestADeletionThatTheDatabaseDoesNotCarryOutWaitsAndSaysWhy(t *testing.T) {
	t.Parallel()
	for name, tt := range refusedDeletions {
		if testing.Short() && !tt.short {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.start()
			u := s.readyUser("alice", deletion(tt.policy))
			s.sql(tt.given)
			s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
			c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
			for _, words := range tt.says {
				s.Expect(c.Message).To(gomega.ContainSubstring(words))
			}
			s.Expect(s.row("alice")).NotTo(gomega.BeNil())
			s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventDeleted))
			s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventDeactivated))

			// An edit has it tried again at once, where the row itself does not.
			s.sql(tt.drop)
			base := u.DeepCopy()
			annotation(v1alpha1.AnnotationUnlockRequestedAt, "now")(u)
			s.Expect(client.IgnoreNotFound(s.kube.Patch(t.Context(), u, client.MergeFrom(base)))).To(gomega.Succeed())
			s.gone(u)
			if tt.policy == v1alpha1.DeletionDeactivate {
				s.Expect(s.row("alice").Active).To(gomega.BeFalse())
			} else {
				s.Expect(s.row("alice")).To(gomega.BeNil())
			}
		})
	}
}

// A program that puts its own value back again and again is not answered with an endless loop.
func TestARowThatAnotherProgramChangesAgainAndAgainIsContended(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	u := s.readyUser("alice", roles("viewer"))
	other := s.readyUser("bob", roles("viewer"))
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_, _ = s.db.Exec(t.Context(), `UPDATE users SET roles = '["admin"]' WHERE username = 'alice' AND roles <> '["admin"]'`)
			}
		}
	}()
	c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
	s.Expect(c.Message).To(gomega.ContainSubstring("Contended"))
	s.Expect(c.Message).To(gomega.ContainSubstring("roles"))
	s.Expect(op.metric(t, "shardinguser_contended_accounts")).To(gomega.BeEquivalentTo(1))
	corrections := op.metric(t, "shardinguser_drift_corrections_total", "roles")
	s.Expect(corrections).To(gomega.BeNumerically("<=", 12))
	s.Consistently(func() float64 { return op.metric(t, "shardinguser_drift_corrections_total", "roles") }).
		WithTimeout(3 * time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Equal(corrections))
	s.sql(`UPDATE users SET active = false WHERE username = 'bob'`)
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.row("bob").Active).To(gomega.BeTrue(), "others are corrected as before")
	})
	s.ready(other)

	close(stop)
	<-stopped
	s.edit(u, roles("viewer", "operator")) // wakes it
	s.ready(u)
	s.Expect(s.row("alice").Roles).To(gomega.MatchJSON(`["viewer", "operator"]`))
}

// A trigger that locks an account again makes a request to unlock it fail, and nothing says otherwise.
func TestAnUnlockingThatATriggerUndoesIsNoUnlocking(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	u := s.readyUser("alice")
	s.sql(`UPDATE users SET locked_until = '2099-01-01'`)
	s.sql(trigger("relock", "AFTER UPDATE", `UPDATE users SET locked_until = '2099-01-01' WHERE username = NEW.username AND locked_until IS NULL;
		RETURN NULL;`))
	s.edit(u, annotation(v1alpha1.AnnotationUnlockRequestedAt, "now"))
	c := s.reports(u, v1alpha1.ReasonDatabaseRejected)
	s.Expect(c.Message).To(gomega.ContainSubstring("relock"))
	s.Expect(c.Message).To(gomega.ContainSubstring("locked again"))
	s.Expect(u.Status.LastHandledUnlock).To(gomega.BeEmpty())
	s.Expect(s.events(s, "alice")).NotTo(gomega.HaveKey(v1alpha1.EventUnlocked))
}

// A resource that is gone without its finalizer leaves no row behind once the database lets the row go.
func TestARowOfAVanishedResourceGoesOnceTheDatabaseLetsIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.retry = time.Second
	op := s.start()
	u := s.readyUser("alice")
	s.sql(trigger("keep", "BEFORE DELETE", `RAISE EXCEPTION 'no';`))
	s.Expect(s.kube.Delete(t.Context(), u)).To(gomega.Succeed())
	s.reports(u, v1alpha1.ReasonDatabaseRejected)
	refused := op.metric(t, "shardinguser_rejected_writes_total")
	s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
	s.gone(u)
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(t, "shardinguser_rejected_writes_total")).To(gomega.BeNumerically(">", refused))
	})
	s.sql(`DROP TRIGGER keep ON users`)
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice")).To(gomega.BeNil()) })
}

// Sixty rows that one long transaction locks hold up no other user, and say what stands in the way.
func TestSixtyLockedRowsHoldUpNoOtherUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.settings = append(s.settings, wholePool)
	op := s.start()
	s.newUsers("held", 60)
	s.allReady("held", 60)
	bob := s.readyUser("bob")
	tx, err := s.db.Begin(t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	_, err = tx.Exec(t.Context(), "SELECT FROM users WHERE username <> 'bob' FOR UPDATE")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	for i := range list.Items {
		if list.Items[i].Name != "bob" {
			s.edit(&list.Items[i], roles("viewer"))
		}
	}
	var longest time.Duration
	for _, role := range []v1alpha1.Role{"a", "b", "c", "d", "e", "f", "g", "h"} {
		began := time.Now()
		s.edit(bob, roles(role))
		s.eventually(func(g gomega.Gomega) { g.Expect(s.row("bob").Roles).To(gomega.MatchJSON(`["` + string(role) + `"]`)) })
		longest = max(longest, time.Since(began))
	}
	t.Logf("at most %v", longest.Round(time.Millisecond))
	s.Expect(longest).To(gomega.BeNumerically("<", prompt))
	s.readyUser("carol")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.kube.List(t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
		for _, u := range list.Items {
			ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
			g.Expect(ready).NotTo(gomega.BeNil())
			if u.Name != "bob" && u.Name != "carol" {
				g.Expect(ready.Message).To(gomega.ContainSubstring("holds a lock on the row"))
			}
		}
	})
	s.Expect(op.database.Health().Up()).To(gomega.BeTrue())
	s.Expect(tx.Rollback(t.Context())).To(gomega.Succeed())
	s.allReady("held", 60)
}
