// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// serverOfItsOwn starts a Postgres server that stops with the test.
func serverOfItsOwn(t *testing.T, settings ...string) *testenv.Postgres {
	t.Helper()
	server, err := testenv.StartPostgres(t.Context(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// standbys makes commits wait for a synchronous standby of this name, or for none. It returns once they do.
func (s *story) standbys(name string, hang bool) {
	s.t.Helper()
	s.sql(`ALTER SYSTEM SET synchronous_standby_names = '` + name + `'`)
	s.sql(`SELECT pg_reload_conf()`)
	s.eventually(soon, func(g gomega.Gomega) {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		_, err := s.db.Exec(ctx, `SELECT pg_logical_emit_message(true, 'story', 'a commit')`)
		g.Expect(err != nil).To(gomega.Equal(hang))
	})
}

// Without its synchronous standby a database is unavailable: reads work, and no commit returns.
func TestFallbackServesLoginsWhileCommitsHang(t *testing.T) {
	t.Parallel()
	s := storyOn(t, serverOfItsOwn(t, "synchronous_commit=on"))
	p := s.start("--login-source-rate=0")
	alice, bob := s.member("alice"), s.member("bob")
	calm := s.usually(func(int) { s.logsIn(p, "alice", http.StatusOK) })
	s.fallen(p, 0)
	s.standbys("lost", true)

	began := time.Now()
	served := make(chan time.Duration, 100)
	var attempts sync.WaitGroup
	tries := func(username string) {
		attempts.Go(func() {
			answer, err := p.LogIn(t.Context(), username, canary+" "+username)
			switch {
			case err != nil:
				t.Error(err)
			case answer.Status == http.StatusOK:
				served <- time.Since(began)
			case answer.Status != http.StatusServiceUnavailable:
				t.Errorf("a correct password got status %d", answer.Status)
			}
		})
	}
	for range 6 {
		tries("bob")
	}
	s.Eventually(func() int { tries("alice"); return len(served) }).
		WithTimeout(soon).WithPolling(500 * time.Millisecond).ShouldNot(gomega.BeZero())
	first := <-served
	t.Logf("the fallback serves after %v", first.Round(time.Millisecond))
	s.Expect(first).To(gomega.BeNumerically("<=", 5*time.Second+3*calm))
	s.fallen(p, 1)
	attempts.Wait()
	for range 6 {
		s.logsIn(p, "alice", http.StatusOK)
		s.logsIn(p, "bob", http.StatusOK)
	}
	s.isLocked(alice, false)
	s.isLocked(bob, false)

	s.standbys("", false)
	s.fallen(p, 0)
	s.eventually(soon, func(g gomega.Gomega) {
		for _, username := range []string{"alice", "bob"} {
			var clean bool
			g.Expect(s.db.QueryRow(t.Context(), `SELECT failed_login_attempts = 0 AND locked_until IS NULL FROM users WHERE username = $1`, username).
				Scan(&clean)).To(gomega.Succeed())
			g.Expect(clean).To(gomega.BeTrue(), "%s has a clean counter", username)
		}
		var others int
		g.Expect(s.db.QueryRow(t.Context(), `SELECT count(*) FROM login_attempts WHERE outcome NOT IN ('success', 'unchecked')`).
			Scan(&others)).To(gomega.Succeed())
		g.Expect(others).To(gomega.BeZero())
		g.Expect(s.attempts("alice", "success")).To(gomega.BeNumerically(">=", 3+1+6))
	})
	s.Expect(s.attempts("bob", "unchecked")).NotTo(gomega.BeZero(), "no attempt was aborted")
	s.logsIn(p, "bob", http.StatusOK)
	s.isLocked(alice, false)
	s.isLocked(bob, false)
}
