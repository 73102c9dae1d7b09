// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A wiredCall is a call of the store about one account, whose connection is going to break.
type wiredCall struct {
	// given makes what the call finds, and returns the call. It goes past the wire.
	given func(t *testing.T, s *Store, pool *pgxpool.Pool, name string) func(s *Store) error

	// once tells that nobody makes the call again who does not know what came of it.
	once bool

	// refuses is the error with which the call ends, having changed nothing.
	refuses error
}

// TestOfEveryExchangeOfEveryCallThatIsCutOffAllIsDoneOrNothing makes each call once, which shows how many exchanges with the
// server it takes. Then it cuts the connection off before each exchange, and after each. The database then has either the state
// before the call, or the state after it: the latter from one exchange on, the one that carries the call out. A second call ends as
// if nothing had failed.
func TestOfEveryExchangeOfEveryCallThatIsCutOffAllIsDoneOrNothing(t *testing.T) {
	t.Parallel()
	var cuts atomic.Int64
	t.Cleanup(func() { testenv.Counted(t, "%d calls, cut off %d times", len(wiredCalls), cuts.Load()) })
	for name, call := range wiredCalls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWired(t)
			start, end := w.make(call, "reference")
			exchanges := w.exchanges()
			for nth := 2; ; nth++ { // a new connection may have a question more, so two runs have to agree
				w.make(call, fmt.Sprint("reference-", nth))
				if before := exchanges; before == w.exchanges() {
					break
				}
				exchanges = w.exchanges()
			}
			if exchanges == 0 {
				t.Fatal("the call had nothing to say to the server")
			}
			isDone := false
			for _, b := range boundaries(exchanges) {
				cuts.Add(1)
				was := isDone
				if isDone = w.cutOff(call, b.nth, b.cut, start, end); was && !isDone {
					t.Errorf("exchange %d, cut %d: it is not done, though it was done when cut off earlier", b.nth, b.cut)
				}
			}
			if !isDone && start != end {
				t.Error("it is never done")
			}
			t.Logf("%d exchanges", exchanges)
		})
	}
}

// boundary is an exchange with the server, and on which side of it the connection is cut off.
type boundary struct {
	nth int
	cut testenv.Cut
}

// boundaries returns those of a call in order. Under -short they are those at which calls differ: before anything is sent, after a
// statement in the middle of a transaction, and before and after the last exchange, which carries the call out.
func boundaries(exchanges int) (all []boundary) {
	if testing.Short() {
		return []boundary{
			{1, testenv.CutBefore}, {(exchanges + 1) / 2, testenv.CutAfter}, {exchanges, testenv.CutBefore}, {exchanges, testenv.CutAfter},
		}
	}
	for nth := 1; nth <= exchanges; nth++ {
		all = append(all, boundary{nth, testenv.CutBefore}, boundary{nth, testenv.CutAfter})
	}
	return all
}

// wired is a store at the end of a wire, and a way past it.
type wired struct {
	t       *testing.T
	s, past *Store
	pool    *pgxpool.Pool

	seen, at atomic.Int64 // exchanges, and the one that is cut off
	cut      atomic.Int64
	runs     int
}

func newWired(t *testing.T) *wired {
	t.Helper()
	direct := databaseWithSchema(t)
	wire, through := testenv.DatabaseWire(t, direct)
	settings := quick(through)
	settings.MaxConns = 1 // and so each exchange is the call's
	w := &wired{t: t, s: open(t, settings), past: open(t, quick(direct)), pool: connect(t, direct)}
	if err := w.past.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first connection, which has one question more than the others", func() bool {
		_, err := w.s.identify(t.Context())
		return err == nil
	})
	wire.Watch(func([]byte) testenv.Cut {
		if w.seen.Add(1) == w.at.Load() {
			return testenv.Cut(w.cut.Load())
		}
		return testenv.NoCut
	})
	return w
}

// arm has the nth exchange from now on cut off, on a new connection, on which each statement has to be prepared.
func (w *wired) arm(nth int, cut testenv.Cut) {
	w.s.pool.Reset()
	w.cut.Store(int64(cut))
	w.at.Store(int64(nth))
	w.seen.Store(0)
}

func (w *wired) exchanges() int { return int(w.seen.Load()) }

// make makes the call undisturbed, and tells what was there before and after it.
func (w *wired) make(c wiredCall, name string) (start, end string) {
	w.t.Helper()
	call := c.given(w.t, w.past, w.pool, name)
	start = w.state(name)
	w.arm(0, testenv.NoCut)
	if err := call(w.s); !errors.Is(err, c.refuses) {
		w.t.Fatalf("undisturbed: %v", err)
	}
	return start, w.state(name)
}

// cutOff makes the call with one exchange cut off, and reports whether it was done.
func (w *wired) cutOff(c wiredCall, nth int, cut testenv.Cut, start, end string) (isDone bool) {
	w.t.Helper()
	w.runs++
	name := fmt.Sprintf("run-%d", w.runs)
	where := fmt.Sprintf("exchange %d, cut %d", nth, cut)
	call := c.given(w.t, w.past, w.pool, name)
	w.arm(nth, cut)
	err := call(w.s)
	var unavailable *store.UnavailableError
	if !errors.As(err, &unavailable) {
		w.t.Fatalf("%s of %d: got %v, want that the database is unavailable", where, w.exchanges(), err)
	}
	got := w.state(name)
	isDone = got == end
	if got != start && !isDone {
		w.t.Errorf("%s: there is\n%s\nwant\n%s\nor\n%s", where, got, start, end)
	}
	if isDone && start != end && unavailable.Unsent {
		w.t.Errorf("%s: it says that nothing was sent", where)
	}
	if c.once {
		return isDone
	}
	// A new plan finds out by a conflict that it was done.
	err = call(w.s)
	if !errors.Is(err, c.refuses) && (!errors.Is(err, store.ErrConflict) || !isDone) {
		w.t.Errorf("%s: again: %v", where, err)
	}
	if got := w.state(name); got != end {
		w.t.Errorf("%s: again: there is\n%s\nwant\n%s", where, got, end)
	}
	return isDone
}

// state is all that there is about an account, in words that do not depend on its name or the time.
func (w *wired) state(name string) string {
	w.t.Helper()
	all := value[string](w.t, w.pool, `SELECT jsonb_pretty(jsonb_build_object(
		'row', (SELECT to_jsonb(u) - '{created_at,updated_at}'::text[] || jsonb_build_object(
			'last_login_at', u.last_login_at IS NOT NULL, 'locked_until', u.locked_until IS NOT NULL)
			FROM users u WHERE u.username = $1),
		'note', (SELECT to_jsonb(o) - '{revision,changed_at}'::text[] ||
			jsonb_build_object('password_changed_at', o.password_changed_at IS NOT NULL)
			FROM shardinguser_ownership o WHERE o.username = $1),
		'attempts', (SELECT jsonb_agg(a.outcome ORDER BY a.id) FROM login_attempts a WHERE a.username IN ($1, 'alias of ' || $1)),
		'merges', (SELECT count(*) FROM shardinguser_merges m WHERE m.id = $1)))`, name)
	return strings.ReplaceAll(all, name, "NAME")
}

// applies is a change of an account that is owned and has a password.
func applies(edit func(*user.Change)) wiredCall {
	return wiredCall{given: func(t *testing.T, s *Store, pool *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		if _, err := s.Apply(t.Context(), withPassword(name)); err != nil {
			t.Fatal(err)
		}
		run(t, pool, "UPDATE users SET failed_login_attempts = 5, locked_until = '2099-01-01' WHERE username = $1", name)
		return changing(t, s, name, edit)
	}}
}

// changing is a change of an account as it is now.
func changing(t *testing.T, s *Store, name string, edit func(*user.Change)) func(*Store) error {
	t.Helper()
	change := creation(name)
	change.Generation, change.Verb = 2, user.Update
	observed, err := s.Observe(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if observed.Ownership != nil {
		change.Revision = observed.Ownership.Revision
	}
	edit(&change)
	return func(s *Store) error { return applied(t, s, change) }
}

func withPassword(name string) user.Change {
	change := creation(name)
	change.Password = &user.PasswordChange{Hash: "hash", Version: "1", New: true}
	change.Roles = []string{"role of " + name}
	return change
}

// attempts is a call about an attempt to log in to a row that another program made.
func attempts(columns string, call func(t *testing.T, s *Store, name string) func(*Store) error) wiredCall {
	return wiredCall{given: func(t *testing.T, s *Store, pool *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		run(t, pool, insertActive, name)
		if columns != "" {
			run(t, pool, "UPDATE users SET "+columns+" WHERE username = $1", name)
		}
		return call(t, s, name)
	}}
}

func charges(t *testing.T, _ *Store, name string) func(*Store) error {
	t.Helper()
	a := attempt(name)
	a.Alias = "alias of " + name
	return func(s *Store) error {
		_, err := s.Charge(t.Context(), a, usual)
		return err
	}
}

func settles(success bool) func(*testing.T, *Store, string) func(*Store) error {
	return func(t *testing.T, s *Store, name string) func(*Store) error {
		t.Helper()
		charged := charge(t, s, name)
		return func(s *Store) error {
			_, err := s.Settle(t.Context(), charged, success)
			return err
		}
	}
}

func once(c wiredCall) wiredCall {
	c.once = true
	return c
}

var wiredCalls = map[string]wiredCall{
	"a look": looks(func(t *testing.T, s *Store, name string) error {
		t.Helper()
		_, err := s.Observe(t.Context(), name)
		return err
	}),
	"a look at many": looks(func(t *testing.T, s *Store, name string) error {
		t.Helper()
		_, err := s.Snapshot(t.Context(), []string{"nobody", name})
		return err
	}),
	"whether all is fresh": looks(func(t *testing.T, s *Store, _ string) error {
		t.Helper()
		_, err := s.Fresh(t.Context())
		return err
	}),

	"creation": {given: func(t *testing.T, _ *Store, _ *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		return func(s *Store) error { return applied(t, s, withPassword(name)) }
	}},
	"adoption": {given: func(t *testing.T, s *Store, pool *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		run(t, pool, insertActive, name)
		return changing(t, s, name, func(c *user.Change) { c.Verb = user.Adopt })
	}},
	"an edit": applies(func(c *user.Change) {
		c.Write, c.Roles = []user.Field{user.FieldRoles, user.FieldActive}, []string{"another"}
	}),
	"a rotation": applies(func(c *user.Change) {
		c.Write, c.ClearLockout = []user.Field{user.FieldPasswordHash}, true
		c.Password = &user.PasswordChange{Hash: "another", Version: "2", New: true}
	}),
	"an unlocking":        applies(func(c *user.Change) { c.ClearLockout, c.Unlock = true, "now" }),
	"an ownership record": applies(func(c *user.Change) { c.Lockout.Attempts = 3 }),
	"a deletion":          applies(func(c *user.Change) { c.Verb = user.Delete }),
	"deactivation":        applies(func(c *user.Change) { c.Verb = user.Deactivate }),
	"a release":           applies(func(c *user.Change) { c.Verb = user.Release }),
	"a tombstone": {given: func(t *testing.T, s *Store, _ *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		return changing(t, s, name, func(c *user.Change) { c.Verb = user.Bury })
	}},
	"a role that its last holder keeps": {refuses: store.ErrLastHolder, given: func(t *testing.T, s *Store, pool *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		return applies(func(c *user.Change) {
			c.Write, c.Endangered = []user.Field{user.FieldRoles}, []string{"role of " + name}
		}).given(t, s, pool, name)
	}},

	"an attempt":                once(attempts("", charges)),
	"the attempt that locks":    once(attempts("failed_login_attempts = 4", charges)),
	"an attempt while locked":   once(attempts("locked_until = '2099-01-01'", charges)),
	"an attempt after a lock":   once(attempts("failed_login_attempts = 5, locked_until = '2001-01-01'", charges)),
	"an attempt while inactive": once(attempts("active = false", charges)),
	"an attempt of nobody": once(wiredCall{given: func(t *testing.T, s *Store, _ *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		return charges(t, s, name)
	}}),
	"a success":                   attempts("failed_login_attempts = 3", settles(true)),
	"a success that lifts a lock": attempts("failed_login_attempts = 4", settles(true)),
	"a failure":                   attempts("failed_login_attempts = 3", settles(false)),
	"a failure that locked":       attempts("failed_login_attempts = 4", settles(false)),
	"what happened in an outage": attempts("failed_login_attempts = 3", func(t *testing.T, _ *Store, name string) func(*Store) error {
		t.Helper()
		outage := store.OfflineBatch{
			ID: name, Accounts: []store.OfflineActivity{{Username: name, Failures: 2}},
			Attempts: []store.Record{{Time: time.Now(), Username: name, Outcome: store.Failed, Source: "192.0.2.7"}},
		}
		return func(s *Store) error { return s.Merge(t.Context(), outage, usual) }
	}),
	"a purge": attempts("", func(t *testing.T, s *Store, name string) func(*Store) error {
		t.Helper()
		charge(t, s, name)
		return func(s *Store) error {
			_, err := s.PurgeAttempts(t.Context(), 0, 10)
			return err
		}
	}),
}

// looks is a call that changes nothing, about an account that is owned.
func looks(call func(t *testing.T, s *Store, name string) error) wiredCall {
	return wiredCall{given: func(t *testing.T, s *Store, _ *pgxpool.Pool, name string) func(*Store) error {
		t.Helper()
		if _, err := s.Apply(t.Context(), withPassword(name)); err != nil {
			t.Fatal(err)
		}
		return func(s *Store) error { return call(t, s, name) }
	}}
}
