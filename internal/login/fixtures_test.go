// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/serving"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	right = "cAnAry-right-password"
	wrong = "cAnAry-wrong-password"
)

// world is a Service over a store in memory, with a clock that stands still until it is set.
type world struct {
	*Service
	t       testing.TB
	store   *memory.Store
	tap     *tap
	clock   *clock
	log     *record
	trusted []netip.Prefix
}

// worldBegins is the time at which each world begins.
var worldBegins = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newWorld returns a world in which alice has the right password. Nothing is throttled unless change configures it.
func newWorld(t testing.TB, change func(*Options)) *world {
	t.Helper()
	clock, log := &clock{}, &record{}
	clock.set(worldBegins)
	accounts := memory.New(clock.now)
	tap := &tap{Store: accounts}
	options := Options{
		Attempts: tap, Accounts: tap,
		Hasher:       password.NewTestHasher(2),
		Limits:       store.Limits{Attempts: 5, Duration: 15 * time.Minute},
		RecognizeFor: time.Minute,
		Registry:     prometheus.NewRegistry(),
		Log:          slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:          clock.now,
	}
	if change != nil {
		change(&options)
	}
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Service: s, t: t, store: accounts, tap: tap, clock: clock, log: log}
	t.Cleanup(func() {
		s.Wait()
		if said := log.String(); strings.Contains(said, "cAnAry") || strings.Contains(said, "$2a$") || strings.Contains(said, "$hmac$") {
			t.Errorf("the log contains a secret:\n%s", said)
		}
	})
	w.add("alice", user.Row{PasswordHash: hashOf(t, right), Active: true, Roles: []string{"operator"}})
	return w
}

// another returns another replica on the same store.
func (w *world) another() *world {
	return newWorld(w.t, func(o *Options) {
		*o = w.Options
		o.Registry = prometheus.NewRegistry()
	})
}

func (w *world) add(username string, row user.Row) {
	w.store.Edit(username, func(*user.Row) *user.Row { return &row })
}

func (w *world) edit(username string, edit func(*user.Row)) {
	w.store.Edit(username, func(row *user.Row) *user.Row { edit(row); return row })
}

// row returns the row of a username, after all running attempts are settled.
func (w *world) row(username string) user.Row {
	w.t.Helper()
	w.settling.Wait()
	o, err := w.store.Observe(w.t.Context(), username)
	if err != nil || o.Row == nil {
		w.t.Fatalf("there is no row of %q: %v", username, err)
	}
	return *o.Row
}

// try makes an attempt without HTTP.
func (w *world) try(username, password string) Outcome {
	return w.LogIn(w.t.Context(), Credentials{Username: username, Password: password}).Outcome
}

// tryFrom is try for alice from an address.
func (w *world) tryFrom(source netip.Addr, password string) Outcome {
	return w.LogIn(w.t.Context(), Credentials{Username: "alice", Password: password, Source: source}).Outcome
}

// outcomes counts the outcomes in the audit trail, after all running attempts are settled.
func (w *world) outcomes() map[store.Outcome]int {
	w.settling.Wait()
	count := map[store.Outcome]int{}
	for _, a := range w.store.Attempts() {
		count[a.Outcome]++
	}
	return count
}

func (w *world) serve(r *http.Request) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	serving.CompleteRequests(NewHandler(w.Service, w.trusted)).ServeHTTP(answer, r)
	return answer
}

func (w *world) post(body string) *httptest.ResponseRecorder {
	return w.serve(httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, loginPath, strings.NewReader(body)))
}

func (w *world) postLogIn(username, password string) *httptest.ResponseRecorder {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		w.t.Error(err)
	}
	return w.post(string(body))
}

func (w *world) verifying(authorization ...string) *http.Request {
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, verifyPath, nil)
	r.Header["Authorization"] = authorization
	return r
}

func (w *world) verifyBasic(username, password string) *httptest.ResponseRecorder {
	r := w.verifying()
	r.SetBasicAuth(username, password)
	return w.serve(r)
}

// tap is a store that counts its calls and lets a test intercept them.
type tap struct {
	*memory.Store
	charges, checks, settles, looks atomic.Int64

	charging, charged, settling func() error // called around them, without the lock of the store
	asked                       func(username string)
}

func (a *tap) Observe(ctx context.Context, username string) (user.Observed, error) {
	a.looks.Add(1)
	return a.Store.Observe(ctx, username)
}

func (a *tap) Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error) {
	a.charges.Add(1)
	if a.asked != nil {
		a.asked(attempt.Username)
	}
	if err := call(a.charging); err != nil {
		return store.Charge{}, err
	}
	charged, err := a.Store.Charge(ctx, attempt, limits)
	if charged.Verdict == store.Check {
		a.checks.Add(1)
	}
	if failed := call(a.charged); failed != nil {
		return store.Charge{}, failed
	}
	return charged, err
}

func (a *tap) Settle(ctx context.Context, charged store.Charge, success bool) (bool, error) {
	a.settles.Add(1)
	if err := call(a.settling); err != nil {
		return false, err
	}
	return a.Store.Settle(ctx, charged, success)
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

// unavailableStore returns the error of a store whose database is unavailable.
func unavailableStore() error {
	return &store.UnavailableError{Sentence: "the database is unavailable"}
}

type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time                { return *c.at.Load() }
func (c *clock) set(at time.Time)              { c.at.Store(&at) }
func (c *clock) passes(duration time.Duration) { c.set(c.now().Add(duration)) }

// record collects the log.
type record struct {
	mu sync.Mutex
	bytes.Buffer
}

func (r *record) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.Write(line)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.String()
}

func hashOf(t testing.TB, plain string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(plain), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// parallel calls f concurrently this many times, and returns when all calls have returned.
func parallel(times int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range times {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
