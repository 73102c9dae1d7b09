// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Source is where the trail is read.
type Source interface {
	ReadAttempts(ctx context.Context, trail store.Trail) ([]store.CountedRecord, error)
	Changes(ctx context.Context, query store.ChangeQuery) ([]store.AccountChange, error)
}

// mostReads is how many reads of the trail run at once. Each has a connection to the database, and up to 1,000 entries in memory.
const mostReads = 3

// Outcomes returns the outcomes of attempts.
func Outcomes() []store.Outcome {
	return []store.Outcome{
		store.Succeeded, store.Failed, store.RefusedLocked, store.RefusedInactive, store.RefusedUnknown, store.Pending, store.Unchecked,
	}
}

// NewHandler returns a handler of both paths. It answers every client: the caller checks its rights.
func NewHandler(source Source) http.Handler {
	h := &handler{source: source, reads: make(chan struct{}, mostReads)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+AttemptsPath, h.attempts)
	mux.HandleFunc("GET "+ChangesPath, h.changes)
	return mux
}

type handler struct {
	source Source
	reads  chan struct{} // holds one for each running read
}

func (h *handler) attempts(w http.ResponseWriter, r *http.Request) {
	q, err := parse(r.URL.RawQuery, "outcome")
	if err != nil {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	outcomes, err := among(q.kinds, "outcome", Outcomes())
	if err != nil {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	h.read(w, r, func(ctx context.Context) (any, error) {
		records, err := h.source.ReadAttempts(ctx, store.Trail{
			Username: q.username, Since: q.since, Outcomes: outcomes, Before: q.before, Limit: q.limit,
		})
		page := Attempts{Items: AttemptsOf(records)}
		if len(records) == q.limit {
			page.Next = records[len(records)-1].ID
		}
		return page, err
	})
}

func (h *handler) changes(w http.ResponseWriter, r *http.Request) {
	q, err := parse(r.URL.RawQuery, "action")
	if err != nil {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	actions, err := among(q.kinds, "action", user.Actions())
	if err != nil {
		fail(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	h.read(w, r, func(ctx context.Context) (any, error) {
		changes, err := h.source.Changes(ctx, store.ChangeQuery{
			Username: q.username, Since: q.since, Actions: actions, Before: q.before, Limit: q.limit,
		})
		page := Changes{Items: ChangesOf(changes)}
		if len(changes) == q.limit {
			page.Next = changes[len(changes)-1].ID
		}
		return page, err
	})
}

// read answers with what a read returns, unless too many run.
func (h *handler) read(w http.ResponseWriter, r *http.Request, read func(ctx context.Context) (any, error)) {
	select {
	case h.reads <- struct{}{}:
		defer func() { <-h.reads }()
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, "TOO_MANY_REQUESTS", "too many concurrent reads of the audit trail; try again later")
		return
	}
	page, err := read(r.Context())
	switch {
	case errors.Is(err, store.ErrUnavailable): // its sentence holds no secret
		fail(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "cannot read the audit trail: "+err.Error())
	case err != nil:
		fail(w, http.StatusInternalServerError, "INTERNAL_ERROR", "cannot read the audit trail")
	default:
		answer(w, http.StatusOK, page)
	}
}

// query is what a request selects.
type query struct {
	username string
	since    time.Duration
	kinds    []string // outcomes or actions
	before   int64
	limit    int
}

// parse parses the parameters of a request. Kind is the name of the parameter that lists outcomes or actions. An unknown parameter is
// an error: a filter that has no effect would mislead.
func parse(raw, kind string) (query, error) {
	q := query{limit: DefaultLimit}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errors.New("the query cannot be parsed")
	}
	for name, list := range values {
		if len(list) > 1 && name != kind {
			return q, fmt.Errorf("the parameter %q is set more than once", name)
		}
		switch name {
		case "username":
			if q.username = list[0]; q.username == "" {
				err = errors.New("username is empty; leave it out for all")
			}
		case "since":
			q.since, err = parseSince(list[0])
		case "before":
			q.before, err = parseNumber(name, list[0], 1<<62)
		case "limit":
			var limit int64
			limit, err = parseNumber(name, list[0], MaxLimit)
			q.limit = int(limit)
		case kind:
			q.kinds = strings.Split(strings.Join(list, ","), ",")
		default:
			err = fmt.Errorf("the parameter %q is unknown; use username, since, %s, limit or before", name, kind)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

func parseSince(text string) (time.Duration, error) {
	since, err := time.ParseDuration(text)
	if err != nil || since <= 0 {
		return 0, fmt.Errorf("since %q is not a duration such as 24h", text)
	}
	return since, nil
}

func parseNumber(name, text string, most int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s %q is not a number from 1 to %d", name, text, most)
	}
	return n, nil
}

// among returns the kinds, all of which have to be among the known ones.
func among[K ~string](kinds []string, name string, known []K) ([]K, error) {
	list := make([]K, 0, len(kinds))
	for _, kind := range kinds {
		if !slices.Contains(known, K(kind)) {
			return nil, fmt.Errorf("the %s %q is unknown; use %s", name, kind, join(known))
		}
		list = append(list, K(kind))
	}
	return list, nil
}

func join[K ~string](list []K) string {
	texts := make([]string, 0, len(list))
	for _, k := range list {
		texts = append(texts, string(k))
	}
	return strings.Join(texts, ", ")
}

// failure is the body of an error, as that of the login API.
type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func fail(w http.ResponseWriter, status int, code, message string) {
	var f failure
	f.Error.Code, f.Error.Message = code, message
	answer(w, status, f)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}
