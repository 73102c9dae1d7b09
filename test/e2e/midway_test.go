// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// holding returns another program's open transaction, which changed the user's row.
func (s *story) holding(username string) pgx.Tx {
	s.t.Helper()
	tx, err := s.db.Begin(s.t.Context())
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(s.t.Context())) }) // else the pool waits for it if the story fails
	tag, err := tx.Exec(s.t.Context(), `UPDATE users SET updated_at = now() WHERE username = $1`, username)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(tag.RowsAffected()).To(gomega.BeEquivalentTo(1))
	return tx
}

// waiting waits until a statement of the manager waits for another program's lock.
func (s *story) waiting() {
	s.t.Helper()
	s.eventually(soon, func(g gomega.Gomega) {
		var n int
		g.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE usename = $1 AND wait_event_type = 'Lock'`, s.role).Scan(&n)).To(gomega.Succeed())
		g.Expect(n).NotTo(gomega.BeZero())
	})
}

func TestRowLockOfAnotherProgramDelaysOnlyThatUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	held, other := s.readyUser("held"), s.readyUser("other")
	tx := s.holding("held")
	s.edit(held, roles("admin"))
	s.waiting()
	s.edit(other, roles("admin"))
	s.reports(5*time.Second, other, v1alpha1.ReasonSynced)
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.message(g, held)).To(gomega.MatchRegexp("holds a lock on the row|did not answer within 5s"))
	})
	s.Expect(p.probe("/readyz")).To(gomega.Equal(http.StatusOK))
	up, found := p.metric("shardinguser_database_up")
	s.Expect(found).To(gomega.BeTrue())
	s.Expect(up).To(gomega.BeEquivalentTo(1), "a locked row is no database fault")
	s.Expect(tx.Rollback(t.Context())).To(gomega.Succeed())
	s.reports(soon, held, v1alpha1.ReasonSynced)
	s.Expect(s.row("held").Roles).To(gomega.MatchJSON(`["admin"]`))
}

// The manager cannot know whether the statement was executed. Here it is, once the row's lock is released.
func TestStatementInterruptedByAResetIsAppliedOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	wire, through := testenv.DatabaseWire(t, s.dsn)
	p := s.launchOn(through, "--watch-namespaces="+s.namespace).begin(t).ready()
	password := s.secret("edited", canary+" edited")
	edited, doomed := s.readyUser("edited", secret("edited")), s.readyUser("doomed")
	hashes, _ := p.metric("shardinguser_password_hashes_total")

	for i, act := range []func(){
		func() { s.edit(edited, roles("admin")) },
		func() { s.rotate(password, canary+" rotated") },
	} {
		tx := s.holding("edited")
		act()
		s.waiting()
		wire.Reset()
		s.Expect(tx.Commit(t.Context())).To(gomega.Succeed(), fmt.Sprint("of act ", i))
	}
	s.isPassword("edited", canary+" rotated") // sooner, each attempt would fail, and five lock the account
	s.eventually(soon, func(g gomega.Gomega) {
		status, _ := p.logIn("edited", canary+" rotated")
		g.Expect(status).To(gomega.Equal(http.StatusOK))
		g.Expect(s.row("edited").Roles).To(gomega.MatchJSON(`["admin"]`))
	})
	s.reports(soon, edited, v1alpha1.ReasonSynced)
	after, _ := p.metric("shardinguser_password_hashes_total")
	s.Expect(after-hashes).To(gomega.BeNumerically("<=", 2), "one hash for the rotation, and one more if the first was lost")

	tx := s.holding("doomed")
	s.delete(doomed)
	s.waiting()
	wire.Reset()
	s.Expect(tx.Commit(t.Context())).To(gomega.Succeed())
	s.gone(soon, doomed)
	s.Expect(s.row("doomed")).To(gomega.BeNil())
	drift, _ := p.metric("shardinguser_drift_corrections_total")
	s.Expect(drift).To(gomega.BeZero(), "the operator's own write is no drift")
	s.Expect(p.Running()).To(gomega.BeTrue())
}
