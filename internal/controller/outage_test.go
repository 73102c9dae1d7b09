// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// TestAnOutagePausesTheWorkOfAThousandUsersAndItsEndResumesIt reconciles all users while the database is unavailable. It gets
// no call for each of them, their statuses report it one after the other, and users with pending changes come first.
func TestAnOutagePausesTheWorkOfAThousandUsersAndItsEndResumesIt(t *testing.T) {
	s := newStory(t)
	s.settings = append(s.settings, wholePool)
	var proxy *testenv.Proxy
	proxy, s.dsn = testenv.DatabaseProxy(t, s.dsn)
	op := s.start()
	shared := s.secret("shared", "password", canary+" of them all")
	s.newUsers("user", crowd(), secretRef("shared", ""))
	s.crowdReady("user")
	edited := s.readyUser("edited", roles("viewer"))
	s.sql(`CREATE TABLE before AS SELECT username, password_hash FROM users`)

	proxy.Cut()
	s.Eventually(func() error { return op.health().Reading }).WithTimeout(soon).WithPolling(poll).Should(gomega.HaveOccurred())
	reads, written, looks := op.reads(), op.writes.count(), reconciles(t)
	from := time.Now()
	s.put(shared, "password", canary+" of them all, the second")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(reconciles(t)-looks).To(gomega.BeNumerically(">=", crowd()), "all are looked at")
	})
	s.edit(edited, roles("admin"))
	s.reports(edited, v1alpha1.ReasonDatabaseUnavailable)
	s.Eventually(func() int { return s.count("user", v1alpha1.ReasonDatabaseUnavailable) }).WithTimeout(soon).WithPolling(poll).
		Should(gomega.BeNumerically(">=", 50), "they are reported one after the other")
	seconds := time.Since(from).Seconds()
	s.Expect(op.reads()-reads).To(gomega.BeNumerically("<=", seconds+1), "one asks for all of them")
	s.Expect(op.writes.count() - written).To(gomega.BeNumerically("<=", 20*(seconds+1)))
	s.Expect(op.writes.most(4*time.Second, written)).To(gomega.BeNumerically("<=", 4*20))
	s.Expect(reconciles(t)-looks).To(gomega.BeNumerically("<", 5*crowd()), "nobody tries over and over")

	mostConnections := s.watchConnections()
	proxy.Restore()
	s.ready(edited)
	s.Expect(s.row("edited").Roles).To(gomega.MatchJSON(`["admin"]`))
	s.Eventually(func(g gomega.Gomega) {
		var changed int
		g.Expect(s.db.QueryRow(t.Context(), `SELECT count(*) FROM before b JOIN users u USING (username)
			WHERE u.password_hash <> b.password_hash`).Scan(&changed)).To(gomega.Succeed())
		g.Expect(changed).To(gomega.Equal(crowd()))
	}).WithTimeout(3 * time.Minute).WithPolling(poll).Should(gomega.Succeed())
	s.crowdReady("user")
	// The pool's, the one that listens, and one that checks.
	s.Expect(mostConnections()).To(gomega.And(gomega.BeNumerically(">", 1), gomega.BeNumerically("<=", 25+2)))
}

// crowdReady is allReady of a crowd, which takes a busy machine its time.
func (s *story) crowdReady(prefix string) {
	s.t.Helper()
	s.Eventually(func() int { return s.count(prefix, v1alpha1.ReasonSynced) }).WithTimeout(3 * time.Minute).WithPolling(250 * time.Millisecond).
		Should(gomega.Equal(crowd()))
}

// watchConnections begins to count the connections that the database has, but the story's own. The returned function ends that, and
// tells how many there were at most.
func (s *story) watchConnections() (most func() int) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	conn, err := s.db.Acquire(ctx)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	result := make(chan int, 1)
	go func() {
		defer conn.Release()
		highest := 0
		for {
			var now int
			if conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
				AND application_name = 'shardinguser-operator'`).Scan(&now) != nil {
				result <- highest
				return
			}
			highest = max(highest, now)
		}
	}()
	return func() int {
		cancel()
		return <-result
	}
}
