// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/status"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/postgres"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// searching is a story whose operator searches for orphans, with short waits.
func searching(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	s.orphans = &orphans.Options{Delay: 10 * time.Millisecond, Rest: 50 * time.Millisecond, Grace: 100 * time.Millisecond, Confirm: 100 * time.Millisecond}
	return s
}

// searchForOrphans adds the search to a story's manager.
func (s *story) searchForOrphans(
	mgr ctrl.Manager, op *operator, batches rows.Batches, watcher rows.Watcher, options controller.Options, watched []string,
) error {
	search := *s.orphans
	search.Accounts, search.Rows, search.Cluster, search.Registry = batches, watcher, options.Cluster, op.registry
	search.Namespace, search.WatchNamespaces, search.Restored = s.namespace, watched, options.Restored
	search.ProtectedRoles, search.Policies = s.protected, options.Policies
	search.Replica = status.Replica{Namespace: s.namespace, Name: "the-replica"}
	search.Findings = func() []store.Finding { return nil }
	search.DefaultPasswords = func() store.DefaultPasswords { return store.DefaultPasswords{} }
	search.Records = op.memory
	if op.database != nil {
		search.Records = op.database
		search.Findings = func() []store.Finding { return op.database.Health().Findings }
		search.DefaultPasswords = func() store.DefaultPasswords { return op.database.Health().DefaultPasswords }
	}
	if s.reads != nil {
		s.reads.Records, s.reads.Batches = search.Records, search.Accounts
		search.Records, search.Accounts = s.reads, s.reads
	}
	return orphans.Add(mgr, search)
}

// published is what the operator published about the database; nil where there is nothing yet.
func (s *story) published() *store.Report {
	s.t.Helper()
	var there corev1.ConfigMap
	if s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: store.ReportName}, &there) != nil {
		return nil
	}
	var report store.Report
	s.Expect(json.Unmarshal([]byte(there.Data[store.ReportKey]), &report)).To(gomega.Succeed())
	return &report
}

// findsOrphans waits until exactly these are counted and published.
func (s *story) findsOrphans(op *operator, usernames ...string) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) {
		report := s.published()
		g.Expect(report).NotTo(gomega.BeNil())
		found := []string{}
		for _, orphan := range report.Orphans {
			found = append(found, orphan.Username)
		}
		g.Expect(found).To(gomega.ConsistOf(usernames))
		g.Expect(op.metric(s.t, "shardinguser_orphaned_accounts")).To(gomega.BeEquivalentTo(len(usernames)))
	})
}

// announced counts the Events about orphans.
func (s *story) announced(g gomega.Gomega) (notes []string) {
	var list eventsv1.EventList
	g.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	for _, event := range list.Items {
		if event.Reason == orphans.EventOrphanedAccounts {
			g.Expect(event.Regarding.Name).To(gomega.Equal("the-replica"))
			g.Expect(event.Series).To(gomega.BeNil(), "it is made once")
			notes = append(notes, event.Note)
		}
	}
	return notes
}

// strip deletes a resource without its finalizer having run, while no operator is there.
func (s *story) strip(users ...*v1alpha1.ShardingUser) {
	s.t.Helper()
	for _, u := range users {
		s.edit(u, func(u *v1alpha1.ShardingUser) { u.Finalizers = nil })
		s.remove(u)
	}
}

func TestAnAccountOfAResourceWithoutFinalizerIsAnOrphan(t *testing.T) {
	t.Parallel()
	s := searching(t)
	op := s.start()
	alice := s.readyUser("alice", username("alice.a"))
	s.readyUser("bob")
	s.findsOrphans(op)
	op.stop()
	s.strip(alice)

	op = s.start()
	s.findsOrphans(op, "alice.a")
	s.eventually(func(g gomega.Gomega) {
		notes := s.announced(g)
		g.Expect(notes).To(gomega.HaveLen(1))
		g.Expect(notes[0]).To(gomega.ContainSubstring(s.namespace + "/alice"))
		g.Expect(notes[0]).NotTo(gomega.ContainSubstring("alice.a"), "it names resources")
	})
	orphan := s.published().Orphans[0]
	s.Expect(orphan).To(gomega.Equal(store.Orphan{Namespace: s.namespace, Name: "alice", Username: "alice.a", Active: true}))
	s.Expect(s.row("alice.a").Active).To(gomega.BeTrue(), "it is only reported")

	s.readyUser("alice", username("alice.a"))
	s.findsOrphans(op)
}

func TestAnOrphanIsDeactivatedWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.orphans.Deactivate, s.protected = true, []string{"admin"}
	op := s.start()
	alice, last := s.readyUser("alice", roles("viewer")), s.readyUser("last", roles("admin"))
	s.readyUser("stays") // a cluster without any user looks like one that lost them
	op.stop()
	s.strip(alice, last)

	op = s.start()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row("alice").Active).To(gomega.BeFalse()) })
	s.findsOrphans(op, "last")
	s.Expect(s.note("alice").State).To(gomega.Equal(user.Released))
	s.Expect(s.row("last").Active).To(gomega.BeTrue(), "nobody else holds a protected role")
	s.readyUser("alice", roles("viewer"))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue(), "its place takes the row up again")
}

// None of these is an orphan; the last user is, so that the search is known to have come past all of them.
func TestOnlyWhatIsSurelyGoneIsAnOrphan(t *testing.T) {
	t.Parallel()
	s := searching(t)
	elsewhere := s.newNamespace()
	op := s.start(elsewhere)
	foreign, narrowed := s.readyUser("a-foreign"), s.readyUser("b-narrowed", in(elsewhere))
	succeeded, gone := s.readyUser("c-succeeded"), s.readyUser("z-gone")
	s.readyUser("d-there")
	op.stop()
	s.strip(foreign, narrowed, succeeded, gone)
	s.sql(`UPDATE shardinguser_ownership SET cluster = 'another' WHERE username = 'a-foreign'`)
	s.user("c-succeeded", annotation(v1alpha1.AnnotationPaused, "true")) // and so does not take the row up by itself

	op = s.start() // without the other namespace
	s.findsOrphans(op, "z-gone")
}

func TestAnAPIServerThatDoesNotAnswerForAResourceMakesNoOrphan(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"it has no such kind": {http.StatusNotFound, "404 page not found\n"},
		"it refuses":          {http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`},
		"it fails":            {http.StatusInternalServerError, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := searching(t)
			op := s.start()
			alice := s.readyUser("alice")
			op.stop()
			s.strip(alice)

			var asked atomic.Int64
			var isWell atomic.Bool
			s.answering(answer.status, answer.body, func(r *http.Request) bool {
				if isWell.Load() || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/shardingusers/alice") {
					return false
				}
				asked.Add(1)
				return true
			})
			op = s.start()
			s.Eventually(asked.Load).WithTimeout(soon).WithPolling(poll).Should(gomega.BeNumerically(">=", 3))
			s.Expect(op.metric(t, "shardinguser_orphaned_accounts")).To(gomega.BeZero())
			isWell.Store(true)
			s.findsOrphans(op, "alice")
		})
	}
}

// answering has requests of the operators that are started from now on answered so, in place of the API server.
func (s *story) answering(status int, body string, instead func(*http.Request) bool) {
	s.reach = func(config *rest.Config) {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if !instead(r) {
					return next.RoundTrip(r)
				}
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
			})
		})
	}
}

// A database is restored from an older dump beside a running operator: users that were deleted since are in the table again.
func TestUsersThatReturnWithARestoredDatabaseAreReported(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.settings = []func(*postgres.Settings){func(p *postgres.Settings) { p.ResyncInterval, p.PollInterval = time.Second, time.Second }}
	op := s.start()
	stays, leaver := s.readyUser("stays", roles("viewer")), s.readyUser("leaver", roles("admin"))
	dump := filepath.Join(t.TempDir(), "dump")
	s.Expect(testenv.Dump(t.Context(), s.dsn, dump)).To(gomega.Succeed())
	s.remove(leaver)
	s.Expect(s.row("leaver")).To(gomega.BeNil())
	s.edit(stays, roles("operator"))
	s.ready(stays)
	s.findsOrphans(op)

	s.Expect(testenv.Restore(t.Context(), s.dsn, dump, "--clean", "--if-exists", "--single-transaction")).To(gomega.Succeed())
	s.findsOrphans(op, "leaver")
	s.Expect(s.row("leaver").Active).To(gomega.BeTrue(), "the dump had it")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.announced(g)).To(gomega.HaveLen(1))
		g.Expect(s.row("stays").Roles).To(gomega.MatchJSON(`["operator"]`), "the others are as their resources say")
	})
}

func TestTheReportIsWrittenOnlyWhenItChanges(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.table()
	s.sql(`CREATE UNIQUE INDEX no_case ON users (lower(username))`)
	op := s.start()
	s.findsOrphans(op)
	s.eventually(func(g gomega.Gomega) {
		report := s.published()
		g.Expect(report.Findings).To(gomega.HaveLen(1))
		g.Expect(report.Findings[0].Kind).To(gomega.Equal(store.FindingUniqueConstraint))
	})
	var before, after corev1.ConfigMap
	key := client.ObjectKey{Namespace: s.namespace, Name: store.ReportName}
	s.Expect(s.kube.Get(t.Context(), key, &before)).To(gomega.Succeed())
	op.stop()
	op = s.start() // which publishes the same
	s.eventually(func(g gomega.Gomega) { g.Expect(op.database.Health().Findings).To(gomega.HaveLen(1)) })
	s.readyUser("alice")
	s.Expect(s.kube.Get(t.Context(), key, &after)).To(gomega.Succeed())
	s.Expect(after.ResourceVersion).To(gomega.Equal(before.ResourceVersion))
}

func TestAStoreInMemoryHasNoFindings(t *testing.T) {
	t.Parallel()
	s := searching(t)
	s.inMemory = true
	op := s.start()
	s.findsOrphans(op)
	s.Expect(s.published().Findings).To(gomega.BeEmpty())
}
