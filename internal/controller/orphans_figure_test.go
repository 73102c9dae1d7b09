// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// searchReads counts what the search for orphans reads of the store.
type searchReads struct {
	rows.Batches
	orphans.Records
	pages, snapshots, observations atomic.Int64
}

func (c *searchReads) Owned(ctx context.Context, scope store.Scope, after string, limit int) ([]store.Owned, error) {
	c.pages.Add(1)
	return c.Records.Owned(ctx, scope, after, limit)
}

func (c *searchReads) Snapshot(ctx context.Context, usernames []string) (map[string]user.Observed, error) {
	c.snapshots.Add(1)
	return c.Batches.Snapshot(ctx, usernames)
}

func (c *searchReads) Observe(ctx context.Context, username string) (user.Observed, error) {
	c.observations.Add(1)
	return c.Batches.Observe(ctx, username)
}

// requestCounts counts the operator's requests to the API server by method and path. Watches are not counted.
type requestCounts struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *requestCounts) add(r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[r.Method+" "+r.URL.Path]++
}

// take returns the counts since the last call.
func (c *requestCounts) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[string]int{}
	return counts
}

// A database is restored: 100 users that were deleted since are among 10,000 that were not. The wait before a search is the usual one.
func TestOrphansAmongManyUsersAreFoundWithoutANeedlessRead(t *testing.T) {
	t.Parallel()
	users, gone := 10_000, 100
	if testing.Short() {
		users, gone = 250, 30
	}
	s := newStory(t)
	s.orphans = &orphans.Options{Rest: 50 * time.Millisecond}
	s.reads = &searchReads{}
	requests := &requestCounts{counts: map[string]int{}}
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) { requests.add(r); return next.RoundTrip(r) })
		})
	}
	op := s.start()
	s.createMany(users)
	s.Eventually(func() float64 { return op.metric(t, "shardinguser_users", "ready") }).WithTimeout(10 * time.Minute).WithPolling(poll).
		Should(gomega.BeEquivalentTo(users))
	s.findsOrphans(op)
	s.Eventually(func(g gomega.Gomega) { g.Expect(op.health().Notified).To(gomega.BeTrue()) }).WithTimeout(soon).Should(gomega.Succeed())

	requests.take()
	s.reads.pages.Store(0)
	s.reads.snapshots.Store(0)
	s.reads.observations.Store(0)
	began := time.Now()
	s.sql(`WITH records AS (INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
			password_version, password_hash, password_weak, unlock_handled)
		SELECT 'gone-' || n, $1, $2, 'gone-' || n, 'gone', 'owned', 1, 'Delete', '', '', false, '' FROM generate_series(1, $3::integer) AS n
		RETURNING username) INSERT INTO users (username, password_hash) SELECT username, '!' FROM records`, clusterID, s.namespace, gone)
	s.Eventually(func() float64 { return op.metric(t, "shardinguser_orphaned_accounts") }).WithTimeout(time.Minute).WithPolling(poll).
		Should(gomega.BeEquivalentTo(gone))
	took := time.Since(began)
	t.Logf("%d orphans among %d users: found in %s, by %d pages of ownership records, %d batches of accounts and %d requests", gone, users,
		took.Round(10*time.Millisecond), s.reads.pages.Load(), s.reads.snapshots.Load(), gone)
	if !testing.Short() {
		s.Expect(took).To(gomega.BeNumerically("<", 5*time.Second))
	}
	pages := int64((users + gone + 1000) / 1000) // a full last page has one more that is empty
	s.Expect(s.reads.pages.Load()).To(gomega.Equal(pages))
	s.Expect(s.reads.snapshots.Load()).To(gomega.BeNumerically("<=", pages+3),
		"one for each page with orphans, and few for the changed rows, which arrive in several notifications")
	s.Expect(s.reads.observations.Load()).To(gomega.BeZero())
	s.confirmedOnce(requests.take(), gone)
}

// confirmedOnce expects one GET for each orphan, and no other read of users.
func (s *story) confirmedOnce(requests map[string]int, gone int) {
	s.t.Helper()
	confirmed := 0
	for request, count := range requests {
		if !strings.Contains(request, "/shardingusers") {
			continue
		}
		s.Expect(request).To(gomega.ContainSubstring("GET /apis/sharding.io/v1alpha1/namespaces/" + s.namespace + "/shardingusers/gone-"))
		s.Expect(count).To(gomega.Equal(1), request)
		confirmed++
	}
	s.Expect(confirmed).To(gomega.Equal(gone))
}

// createMany creates users, several at a time.
func (s *story) createMany(count int) {
	s.t.Helper()
	names := make(chan string)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for name := range names {
				u := &v1alpha1.ShardingUser{}
				u.Namespace, u.Name = s.namespace, name
				if err := s.kube.Create(s.t.Context(), u); err != nil {
					s.t.Errorf("create %s: %v", name, err)
				}
			}
		})
	}
	for i := range count {
		names <- fmt.Sprintf("user-%05d", i)
	}
	close(names)
	workers.Wait()
}
