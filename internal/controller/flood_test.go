// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

func TestTenThousandFailedLoginsOfOneUserAreTwoStatusWritesAtMost(t *testing.T) {
	t.Parallel()
	s, op := begin(t)
	u := s.readyUser("victim")
	s.told("victim", map[string]int{v1alpha1.EventCreated: 1})
	before := op.writes.count()

	// The sharding manager's own SQL, each attempt in a transaction of its own.
	s.sql(`DO $$ BEGIN
		FOR i IN 1..10000 LOOP
			UPDATE users SET failed_login_attempts = failed_login_attempts + 1,
				locked_until = CASE WHEN failed_login_attempts + 1 >= 5
					THEN (clock_timestamp() AT TIME ZONE 'UTC') + interval '15 minutes' ELSE locked_until END
				WHERE username = 'victim';
			COMMIT;
		END LOOP;
	END $$`)
	s.isLocked(u, true)
	// The next change is noticed after all that: nothing of it is under way any more.
	s.readyUser("bystander")
	s.Expect(s.row("victim").Failed).To(gomega.Equal(10000))
	s.Expect(op.writes.count()-before).To(gomega.BeNumerically("<=", 3), "two for the victim, one for the bystander")
	s.told("victim", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventLocked: 1})
	s.Expect(op.metric(t, "shardinguser_lockouts_total")).To(gomega.BeEquivalentTo(1))
}

// crowd is how many users are too many to write their statuses at once. In a short run they are as many as are needed to see that
// the writes wait in line.
func crowd() int {
	if testing.Short() {
		return 200
	}
	return 1000
}

func TestAThousandUsersThatCanNeverSucceed(t *testing.T) {
	s := newStory(t)
	s.settings = append(s.settings, wholePool)
	op := s.start()
	s.secret("unusable", "password", "")
	good := s.readyUser("good", roles("viewer"))
	s.newUsers("bad", crowd(), secretRef("unusable", ""))
	s.Eventually(func() int { return s.count("bad", v1alpha1.ReasonPasswordInvalid) }).
		WithTimeout(3 * time.Minute).WithPolling(250 * time.Millisecond).Should(gomega.Equal(crowd()))

	t.Run("do not keep one good edit from its row", func(t *testing.T) {
		s := s.within(t)
		before, from := reconciles(t), time.Now()
		s.edit(good, roles("admin"))
		s.eventually(func(g gomega.Gomega) { g.Expect(s.row("good").Roles).To(gomega.MatchJSON(`["admin"]`)) })
		s.Expect(time.Since(from)).To(gomega.BeNumerically("<", prompt))
		s.ready(good)
		s.Expect(reconciles(t)-before).To(gomega.BeNumerically("<", 20), "nobody tries over and over")
	})

	dropped := func() float64 { return op.metric(t, "shardinguser_events_dropped_total", corev1.EventTypeWarning) }
	attacked, droppedBefore := time.Now(), dropped()
	t.Run("cost at most twenty status writes a second when an attack locks all of them", func(t *testing.T) {
		s := s.within(t)
		before := op.writes.count()
		// The sharding manager's own SQL, each lock in a transaction of its own.
		s.sql(`DO $$ DECLARE name text; BEGIN
			FOR name IN SELECT username FROM users WHERE username LIKE 'bad-%' LOOP
				UPDATE users SET failed_login_attempts = 5,
					locked_until = (clock_timestamp() AT TIME ZONE 'UTC') + interval '1 hour' WHERE username = name;
				COMMIT;
			END LOOP;
		END $$`)
		s.Eventually(func() int { return op.writes.count() - before }).
			WithTimeout(time.Minute).WithPolling(50 * time.Millisecond).Should(gomega.BeNumerically(">=", 100))
		// Over a few seconds, since a busy machine may hold up writes whose turn has come, and then let them out at once.
		s.Expect(op.writes.most(4*time.Second, before)).To(gomega.BeNumerically("<=", 4*20))
		s.Expect(s.locked()).To(gomega.BeNumerically("<", crowd()*3/4), "the others wait in line")

		// The locks that wait in line do not hold up anything else.
		from := time.Now()
		s.edit(good, roles("viewer", "admin"))
		s.ready(good)
		s.Expect(time.Since(from)).To(gomega.BeNumerically("<", prompt))
	})

	t.Run("are reported without a wait when one statement locks all of them", func(t *testing.T) {
		s := s.within(t)
		s.sql(`UPDATE users SET locked_until = (now() AT TIME ZONE 'UTC') + interval '2 hours' WHERE username LIKE 'bad-%'`)
		// In turns it would take longer than that.
		s.Eventually(s.locked).WithTimeout(time.Minute).WithPolling(250 * time.Millisecond).Should(gomega.Equal(crowd()))
		// Counted when it is first reported, and not each time.
		s.Expect(op.metric(t, "shardinguser_lockouts_total")).To(gomega.BeEquivalentTo(crowd()))
		// Fifty Events at once, and ten a second: a busy machine takes so long that few are too many.
		s.Expect(dropped() - droppedBefore).To(gomega.BeNumerically(">=", float64(crowd()-50)-10*(time.Since(attacked).Seconds()+1)))

		s.sql(`UPDATE users SET locked_until = NULL, failed_login_attempts = 0 WHERE username LIKE 'bad-%'`)
		s.Eventually(s.locked).WithTimeout(time.Minute).WithPolling(250 * time.Millisecond).Should(gomega.BeZero())
	})
}

// locked is how many users the statuses say to be locked.
func (s *story) locked() int {
	s.t.Helper()
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace), client.MatchingFields{"status.locked": "true"})).To(gomega.Succeed())
	return len(list.Items)
}

// within is the same story as a part of the test tells it.
func (s *story) within(t *testing.T) *story {
	t.Helper()
	part := *s
	part.t, part.WithT = t, gomega.NewWithT(t)
	return &part
}

// count is how many users whose name begins so have this reason not to be ready.
func (s *story) count(prefix, reason string) int {
	s.t.Helper()
	var list v1alpha1.ShardingUserList
	s.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	n := 0
	for _, u := range list.Items {
		for _, c := range u.Status.Conditions {
			if len(u.Name) > len(prefix) && u.Name[:len(prefix)] == prefix && c.Type == v1alpha1.ConditionReady && c.Reason == reason {
				n++
			}
		}
	}
	return n
}

// reconciles is how many have ended in this process.
func reconciles(t *testing.T) float64 {
	t.Helper()
	return metric(t, ctrlmetrics.Registry, "controller_runtime_reconcile_total")
}
