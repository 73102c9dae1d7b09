// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/orphans"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// deactivating is a story whose operator deactivates orphans.
func deactivating(t *testing.T) *story {
	t.Helper()
	s := searching(t)
	s.orphans.Deactivate = true
	return s
}

// staff creates so many users, and waits until they are ready.
func (s *story) staff(count int, edits ...edit) (users []*v1alpha1.ShardingUser) {
	s.t.Helper()
	for i := range count {
		users = append(users, s.user(fmt.Sprintf("user-%02d", i), edits...))
	}
	for _, u := range users {
		s.ready(u)
	}
	return users
}

// inactive counts the inactive rows.
func (s *story) inactive() (count int) {
	s.t.Helper()
	s.Expect(s.db.QueryRow(s.t.Context(), `SELECT count(*) FROM users WHERE NOT active`).Scan(&count)).To(gomega.Succeed())
	return count
}

// deactivates waits until the account of a stripped resource is inactive. The search that did it has come past all the others.
func (s *story) deactivates(username string) {
	s.t.Helper()
	s.eventually(func(g gomega.Gomega) { g.Expect(s.row(username).Active).To(gomega.BeFalse()) })
}

func TestANarrowerWatchDeactivatesNobody(t *testing.T) {
	t.Parallel()
	s := deactivating(t)
	elsewhere := s.newNamespace()
	op := s.start(elsewhere)
	s.staff(4)
	var others []*v1alpha1.ShardingUser
	for i := range 4 {
		others = append(others, s.readyUser(fmt.Sprintf("other-%d", i), in(elsewhere)))
	}
	gone := s.readyUser("z-gone")
	op.stop()
	s.strip(others[0], gone) // also one that is really gone

	op = s.start() // without the other namespace
	s.deactivates("z-gone")
	s.findsOrphans(op)
	s.Expect(s.inactive()).To(gomega.Equal(1))
}

// An API server that was restored from an old backup does not have the later half of the users.
func TestAnAPIServerRestoredFromAnOldBackupDeactivatesNobody(t *testing.T) {
	t.Parallel()
	s := deactivating(t)
	op := s.start()
	users := s.staff(10)
	op.stop()
	s.strip(users[5:]...)

	op = s.start()
	s.findsOrphans(op, "user-05", "user-06", "user-07", "user-08", "user-09")
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(t, "shardinguser_held_orphans")).To(gomega.BeEquivalentTo(5))
		g.Expect(s.published().HeldOrphans).To(gomega.HaveField("Count", 5))
		notes := s.eventsOf(g, orphans.EventTooManyOrphans)
		g.Expect(notes).To(gomega.HaveLen(1))
		g.Expect(notes[0]).To(gomega.ContainSubstring("5 of 10 accounts are orphaned"))
	})
	s.Expect(s.inactive()).To(gomega.BeZero())

	// GitOps creates the resources again, under new UIDs. Each takes its account again: with one leaver left, the guard lets go.
	for _, u := range users[5:9] {
		before := s.row(u.Name)
		s.readyUser(u.Name)
		s.Expect(s.row(u.Name)).NotTo(gomega.BeNil(), "the account of %s, created %s", u.Name, before.Created)
	}
	s.deactivates("user-09")
	s.eventually(func(g gomega.Gomega) { g.Expect(op.metric(t, "shardinguser_held_orphans")).To(gomega.BeZero()) })
	s.Expect(s.inactive()).To(gomega.Equal(1))
}

func TestHeldOrphansAreDeactivatedOnceThatIsConfirmed(t *testing.T) {
	t.Parallel()
	s := deactivating(t)
	op := s.start()
	users := s.staff(10)
	op.stop()
	s.strip(users[:5]...)

	op = s.start()
	s.eventually(func(g gomega.Gomega) {
		g.Expect(op.metric(t, "shardinguser_held_orphans")).To(gomega.BeEquivalentTo(5))
	})
	s.eventually(func(g gomega.Gomega) {
		g.Expect(s.published()).To(gomega.HaveField("HeldOrphans", gomega.Not(gomega.BeNil())))
	})
	s.confirms("another list")
	s.readyUser("marker") // the operator goes on
	s.Expect(s.inactive()).To(gomega.BeZero())

	s.confirms(string(s.published().HeldOrphans.Token))
	s.eventually(func(g gomega.Gomega) { // while attempts to log in to a held account cause one search after the other
		s.sql(`UPDATE users SET failed_login_attempts = failed_login_attempts + 1 WHERE username = 'user-04'`)
		g.Expect(s.inactive()).To(gomega.Equal(5))
	})
	s.findsOrphans(op)
	s.Expect(s.note("user-00").State).To(gomega.Equal(user.Released))
	s.eventually(func(g gomega.Gomega) {
		report := s.reportMap(g)
		g.Expect(report.Annotations).NotTo(gomega.HaveKey(store.AnnotationDeactivateOrphansOf("")), "a confirmation holds once")
		g.Expect(s.published().HeldOrphans).To(gomega.BeNil())
	})
}

func (s *story) reportMap(g gomega.Gomega) *corev1.ConfigMap {
	report := &corev1.ConfigMap{}
	g.Expect(s.kube.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: store.ReportName}, report)).To(gomega.Succeed())
	return report
}

// confirms annotates the published report.
func (s *story) confirms(token string) {
	s.t.Helper()
	report := s.reportMap(s)
	base := report.DeepCopy()
	if report.Annotations == nil {
		report.Annotations = map[string]string{}
	}
	report.Annotations[store.AnnotationDeactivateOrphansOf("")] = token
	s.Expect(s.kube.Patch(s.t.Context(), report, client.MergeFrom(base))).To(gomega.Succeed())
}

// eventsOf is the notes of the Events with this reason.
func (s *story) eventsOf(g gomega.Gomega, reason string) (notes []string) {
	var list eventsv1.EventList
	g.Expect(s.kube.List(s.t.Context(), &list, client.InNamespace(s.namespace))).To(gomega.Succeed())
	for _, event := range list.Items {
		if event.Reason == reason {
			notes = append(notes, event.Note)
		}
	}
	return notes
}

func TestAPartialListDeactivatesNobody(t *testing.T) {
	t.Parallel()
	s := deactivating(t)
	op := s.start()
	users := s.staff(10)
	gone := s.readyUser("z-gone")
	op.stop()
	s.strip(gone)

	lists := s.cutLists(len(users) / 2)
	op = s.start()
	s.deactivates("z-gone")
	s.Expect(lists()).To(gomega.BeNumerically(">", 0), "the operator's list was cut")
	s.findsOrphans(op)
	s.Expect(s.inactive()).To(gomega.Equal(1))
}

// cutLists has the API server's lists of users cut to so many, for operators that are started from now on. It returns how many
// lists were cut.
func (s *story) cutLists(left int) (count func() int64) {
	var cut atomic.Int64
	s.reach = func(config *rest.Config) {
		// A list in parts of a watch has no end that could be cut.
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				isList := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/shardingusers")
				if isList && r.URL.Query().Get("sendInitialEvents") != "" {
					body := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`
					return &http.Response{
						StatusCode: 422, Header: http.Header{"Content-Type": {"application/json"}},
						Body: io.NopCloser(strings.NewReader(body)), Request: r,
					}, nil
				}
				response, err := next.RoundTrip(r)
				if err != nil || !isList || r.URL.Query().Get("watch") != "" || response.StatusCode != http.StatusOK {
					return response, err
				}
				return cutList(response, left, &cut)
			})
		})
	}
	return cut.Load
}

func cutList(response *http.Response, left int, cut *atomic.Int64) (*http.Response, error) {
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	var list map[string]any
	if json.Unmarshal(body, &list) == nil {
		if items, ok := list["items"].([]any); ok && len(items) > left {
			list["items"] = items[:left]
			cut.Add(1)
			if body, err = json.Marshal(list); err != nil {
				return nil, err
			}
		}
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	response.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return response, nil
}

// A record that is there while the connection breaks causes no notification: only the new connection causes a search.
func TestOrphansAreSearchedForAfterAReconnection(t *testing.T) {
	t.Parallel()
	s := searching(t)
	op := s.start()
	s.readyUser("alice")
	s.findsOrphans(op)
	s.sql(`INSERT INTO shardinguser_ownership (username, cluster, namespace, name, uid, state, generation, deletion_policy,
		password_version, password_hash, password_weak, unlock_handled)
		VALUES ('gone', $1, $2, 'gone', 'gone', 'owned', 1, 'Delete', '', '', false, '')`, clusterID, s.namespace)
	s.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
		AND backend_type = 'client backend'`)
	s.findsOrphans(op, "gone")
}
