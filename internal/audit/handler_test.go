// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/audit"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// trail is a source that keeps the last query.
type trail struct {
	attempts store.Trail
	changes  store.ChangeQuery
	rows     int // to answer with
	err      error
	entered  chan struct{} // gets one for each read, if it is not nil
	hold     chan struct{}
}

func (s *trail) ReadAttempts(_ context.Context, q store.Trail) ([]store.CountedRecord, error) {
	s.attempts = q
	var records []store.CountedRecord
	for i := range s.rows {
		records = append(records, store.CountedRecord{
			Record:   store.Record{ID: int64(s.rows - i), Username: "alice", Outcome: store.Failed, Source: "192.0.2.1", Time: time.Unix(int64(i), 0)},
			Attempts: 1,
		})
	}
	return records, s.err
}

func (s *trail) Changes(_ context.Context, q store.ChangeQuery) ([]store.AccountChange, error) {
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.hold
		return nil, s.err
	}
	s.changes = q
	yes := true
	var changes []store.AccountChange
	for i := range s.rows {
		changes = append(changes, store.AccountChange{
			ID: int64(s.rows - i), Username: "alice", Action: user.ActionRoles, OldRoles: []string{}, NewRoles: []string{"admin"},
			OldActive: &yes, NewActive: &yes, Owner: user.Owner{Namespace: "team-a", Name: "alice"}, Generation: 2, Manager: "argocd",
		})
	}
	return changes, s.err
}

func get(t *testing.T, s audit.Source, method, target string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	audit.NewHandler(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
	return w.Code, w.Body.String(), w.Header()
}

func TestParametersSelectWhatIsRead(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]store.ChangeQuery{
		"/audit/changes":                          {Limit: 100, Actions: []user.Action{}},
		"/audit/changes?username=alice%40x":       {Username: "alice@x", Limit: 100, Actions: []user.Action{}},
		"/audit/changes?since=24h&limit=1000":     {Since: 24 * time.Hour, Limit: 1000, Actions: []user.Action{}},
		"/audit/changes?before=7&limit=1":         {Before: 7, Limit: 1, Actions: []user.Action{}},
		"/audit/changes?action=roles,drift":       {Limit: 100, Actions: []user.Action{user.ActionRoles, user.ActionDrift}},
		"/audit/changes?action=roles&action=lock": {},
	} {
		s := &trail{}
		status, body, _ := get(t, s, http.MethodGet, target)
		if strings.HasSuffix(target, "=lock") {
			if status != http.StatusBadRequest || !strings.Contains(body, `the action \"lock\" is unknown; use created,`) {
				t.Errorf("%s: %d %s", target, status, body)
			}
			continue
		}
		if diff := cmp.Diff(want, s.changes); status != http.StatusOK || diff != "" {
			t.Errorf("%s: %d %s (-want +got):\n%s", target, status, body, diff)
		}
	}
	s := &trail{}
	if status, body, _ := get(t, s, http.MethodGet, "/audit/attempts?username=alice&outcome=failed&since=1h&before=9&limit=2"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	want := store.Trail{Username: "alice", Since: time.Hour, Outcomes: []store.Outcome{store.Failed}, Before: 9, Limit: 2}
	if diff := cmp.Diff(want, s.attempts); diff != "" {
		t.Errorf("the attempts that were read (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeMeantIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/audit/changes?limit=1001":            "limit \\\"1001\\\" is not a number from 1 to 1000",
		"/audit/changes?limit=0":               "limit",
		"/audit/changes?before=-1":             "before",
		"/audit/changes?since=yesterday":       "is not a duration such as 24h",
		"/audit/changes?since=-1h":             "is not a duration",
		"/audit/changes?user=alice":            "the parameter \\\"user\\\" is unknown",
		"/audit/changes?username=":             "username is empty",
		"/audit/changes?username=a&username=b": "set more than once",
		"/audit/changes?username=%zz":          "cannot be parsed",
		"/audit/changes?outcome=failed":        "unknown",
		"/audit/attempts?action=roles":         "unknown",
		"/audit/attempts?outcome=won":          "the outcome \\\"won\\\" is unknown; use success,",
	} {
		status, body, header := get(t, &trail{}, http.MethodGet, target)
		if status != http.StatusBadRequest || !strings.Contains(body, want) || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want 400 with %s", target, status, body, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
		if status, _, _ := get(t, &trail{}, method, audit.ChangesPath); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, status)
		}
	}
}

func TestAFullPageNamesTheNextOne(t *testing.T) {
	t.Parallel()
	_, body, header := get(t, &trail{rows: 2}, http.MethodGet, "/audit/changes?limit=2")
	const change = `{"id":%d,"time":"0001-01-01T00:00:00Z","username":"alice","action":"roles","oldRoles":[],"newRoles":["admin"],"oldActive":true,` +
		`"newActive":true,"passwordChanged":false,"resource":{"cluster":"","system":"","namespace":"team-a","name":"alice","uid":"","generation":2},` +
		`"manager":"argocd","reason":""}`
	if want := `{"items":[` + fmt.Sprintf(change, 2) + "," + fmt.Sprintf(change, 1) + `],"next":1}` + "\n"; body != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
	if header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer may be stored: %v", header)
	}
	var page audit.Attempts
	_, body, _ = get(t, &trail{rows: 2}, http.MethodGet, "/audit/attempts?limit=3")
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Items) != 2 || page.Next != 0 {
		t.Errorf("got %s, %v, want the last page", body, err)
	}
	if _, body, _ = get(t, &trail{}, http.MethodGet, "/audit/attempts"); body != `{"items":[]}`+"\n" {
		t.Errorf("nothing is %s", body)
	}
}

func TestAnUnavailableDatabaseAndTooManyReadsAreReported(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		&store.UnavailableError{Sentence: "The database refuses connections."}: http.StatusServiceUnavailable,
		errors.New("a defect"): http.StatusInternalServerError,
	} {
		status, body, _ := get(t, &trail{err: err}, http.MethodGet, audit.ChangesPath)
		if status != want || strings.Contains(body, "defect") || strings.Contains(body, "items") {
			t.Errorf("%v: %d %s", err, status, body)
		}
	}
	s := &trail{entered: make(chan struct{}), hold: make(chan struct{})}
	h := audit.NewHandler(s)
	serve := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, audit.ChangesPath, http.NoBody))
		return w.Code
	}
	answers := make(chan int)
	for range 3 {
		go func() { answers <- serve() }()
		<-s.entered
	}
	if status := serve(); status != http.StatusTooManyRequests {
		t.Errorf("a fourth read is answered by %d", status)
	}
	close(s.hold)
	for range 3 {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("a read is answered by %d", status)
		}
	}
}
