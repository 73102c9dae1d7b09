// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// logIn logs in over HTTPS, and returns the status and the body.
func (p *process) logIn(username, password string) (int, string) {
	p.t.Helper()
	answer, err := p.LogIn(p.t.Context(), username, password)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer.Status, answer.Body
}

const refused = `{"error":{"code":"UNAUTHORIZED","message":"Invalid credentials"}}`

func TestUserIsLockedAfterFiveFailuresAndUnlockedOnRequest(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.secret("alice", canary+" alice")
	u := s.readyUser("alice", secret("alice"), roles("operator"))
	calm := s.calm()

	status, body := p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))
	s.Expect(body).To(gomega.MatchJSON(`{"username":"alice","roles":["operator"]}`))

	for range 5 {
		status, body = p.logIn("alice", canary+" wrong")
		s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
		s.Expect(body).To(gomega.MatchJSON(refused))
	}
	s.eventually(2*time.Second+3*calm, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeTrue())
		g.Expect(u.Status.FailedLoginAttempts).To(gomega.BeEquivalentTo(5))
	})
	status, body = p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized), "locked")
	s.Expect(body).To(gomega.MatchJSON(refused))
	unknown, sameBody := p.logIn("nobody", canary+" alice")
	s.Expect(unknown).To(gomega.Equal(status))
	s.Expect(sameBody).To(gomega.Equal(body))

	s.edit(u, func(u *v1alpha1.ShardingUser) {
		u.Annotations = map[string]string{v1alpha1.AnnotationUnlockRequestedAt: "now"}
	})
	s.eventually(soon, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeFalse())
	})
	status, _ = p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))
}

// Keycloak CVE-2024-4629: parallel guesses on several replicas.
func TestParallelGuessesOnReplicasGetFiveChecksAndOneLock(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.secret("alice", canary+" alice")
	replicas := []*process{s.start("--login-source-rate=0"), s.start("--login-source-rate=0")}
	u := s.readyUser("alice", secret("alice"))
	calm := s.calm()

	var guesses sync.WaitGroup
	for i := range 100 {
		guesses.Go(func() {
			status, _ := replicas[i%len(replicas)].logIn("alice", canary+" guess")
			if status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
				t.Errorf("a guess got status %d", status)
			}
		})
	}
	guesses.Wait()
	s.eventually(2*time.Second+3*calm, func(g gomega.Gomega) {
		g.Expect(s.kube.Get(t.Context(), client.ObjectKeyFromObject(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeTrue())
	})
	var checked, locks int
	s.Expect(s.db.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE outcome = 'failed'), count(locked_until)
		FROM login_attempts WHERE username = 'alice'`).Scan(&checked, &locks)).To(gomega.Succeed())
	s.Expect(checked).To(gomega.Equal(5))
	s.Expect(locks).To(gomega.Equal(1))
}

// Argo CD CVE-2024-21652: a crash must not reset the count of failures.
func TestKilledReplicaKeepsFailureCount(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	for range 5 {
		p.logIn("alice", canary+" wrong")
	}
	p.Kill()
	again := s.start()
	status, _ := again.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
}

// Under load, a login that gets no core is rejected and not charged. Charged logins are recorded, and probes still
// succeed.
func TestThousandConcurrentLoginsAreServedOrRejectedUncharged(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p := s.start("--login-source-rate=0", "--hash-cores=1", "--bcrypt-cost=11") // 97 logins may wait
	users, each := 20, orShort(50, 10)
	for i := range users {
		s.secret(fmt.Sprint("user-", i), canary+" storm")
		s.user(fmt.Sprint("user-", i), secret(fmt.Sprint("user-", i)))
	}
	s.eventually(time.Minute, func(g gomega.Gomega) { g.Expect(s.countReady()).To(gomega.Equal(users)) })

	var mu sync.Mutex
	count := map[int]int{}
	var storm sync.WaitGroup
	for i := range users * each {
		storm.Go(func() {
			answer, err := p.LogIn(t.Context(), fmt.Sprint("user-", i%users), canary+" wrong")
			if err != nil {
				t.Error(err)
				return
			}
			if answer.Status == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "" {
				t.Error("a rejected login has no Retry-After header")
			}
			mu.Lock()
			defer mu.Unlock()
			count[answer.Status]++
		})
	}
	calm := make(chan struct{})
	go func() { storm.Wait(); close(calm) }()
	for probes := 0; ; probes++ {
		select {
		case <-calm:
			s.Expect(probes).NotTo(gomega.BeZero())
			s.Expect(count[http.StatusUnauthorized] + count[http.StatusTooManyRequests]).To(gomega.Equal(users * each))
			var charged, checked int
			s.Expect(s.db.QueryRow(t.Context(), `SELECT sum(attempts), count(*) FILTER (WHERE outcome IN ('failed', 'pending')) FROM login_attempts`).
				Scan(&charged, &checked)).To(gomega.Succeed())
			s.Expect(charged).To(gomega.Equal(count[http.StatusUnauthorized]))
			s.Expect(count[http.StatusTooManyRequests]).NotTo(gomega.BeZero())
			s.Expect(checked).To(gomega.BeNumerically("<=", 5*users))
			return
		default:
			s.Expect(p.probe("/healthz")).To(gomega.Equal(http.StatusOK))
		}
	}
}
