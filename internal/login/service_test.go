// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Unknown, wrong, inactive, locked and no usable hash have identical status, headers and body, and cost exactly one computation
// each (Traefik CVE-2026-32595, OpenBao CVE-2025-6011).
func TestAllRefusalsHaveTheSameAnswerAndCost(t *testing.T) {
	longest := strings.Repeat("x", 72)
	row := func(change func(*user.Row)) func(*world) {
		return func(w *world) { w.edit("alice", change) }
	}
	hash := func(hash string) func(*world) { return row(func(r *user.Row) { r.PasswordHash = hash }) }
	locked := func(w *world) {
		row(func(r *user.Row) { r.LockedUntil = new(w.clock.now().Add(time.Minute)) })(w)
	}
	standIn := func(w *world) { hash(w.Hasher.StandIn([]byte(right)))(w) }
	inactive := row(func(r *user.Row) { r.Active = false })
	cases := map[string]struct {
		before             func(*world)
		username, password string
	}{
		"a wrong password":                        {nil, "alice", wrong},
		"an unknown user":                         {nil, "bob", right},
		"an inactive user":                        {inactive, "alice", right},
		"an inactive user and a wrong password":   {inactive, "alice", wrong},
		"a locked user":                           {locked, "alice", right},
		"a locked user and a wrong password":      {locked, "alice", wrong},
		"no hash":                                 {hash(""), "alice", right},
		"the hash that nothing matches":           {hash("!"), "alice", "!"},
		"a plain password instead of a hash":      {hash("clear"), "alice", "clear"},
		"a hash that would take hours":            {hash("$2a$31$" + strings.Repeat("x", 53)), "alice", right},
		"a hash of another scheme":                {hash("$6$salt$" + strings.Repeat("x", 86)), "alice", right},
		"a stand-in, and another password":        {standIn, "alice", wrong},
		"a stand-in of another process":           {hash(password.NewTestHasher(1).StandIn([]byte(right))), "alice", right},
		"72 right bytes and a suffix":             {hash(hashOf(t, longest)), "alice", longest + "y"},
		"a password of 73 bytes":                  {nil, "alice", strings.Repeat("y", 73)},
		"a password that bcrypt would repeat":     {hash(hashOf(t, "ab")), "alice", "ab\x00ab"},
		"a password with NUL at the end":          {nil, "alice", right + "\x00"},
		"the name in capitals":                    {nil, "ALICE", right},
		"a leading space":                         {nil, " alice", right},
		"a trailing space":                        {nil, "alice ", right},
		"a zero-width space in the name":          {nil, "alice\u200b", right},
		"a Cyrillic letter in the name":           {nil, "\u0430lice", right},
		"a NUL at the end of the name":            {nil, "alice\x00", right},
		"a name longer than the limit":            {nil, strings.Repeat("a", 256), right},
		"a name with line ends and colours":       {nil, "alice\r\n\x1b[31m", right},
		"a name that looks like SQL":              {nil, "alice' OR '1'='1", right},
		"a name that looks like its own stand-in": {nil, "hmac:000000000000", right},
		"a name that is a valid password":         {nil, right, right},
	}
	for path, answer := range map[string]func(w *world, username, password string) (int, http.Header, string){
		loginPath: func(w *world, username, password string) (int, http.Header, string) {
			a := w.postLogIn(username, password)
			return a.Code, a.Header(), a.Body.String()
		},
		verifyPath: func(w *world, username, password string) (int, http.Header, string) {
			a := w.verifyBasic(username, password)
			return a.Code, a.Header(), a.Body.String()
		},
	} {
		status, header, body := answer(newWorld(t, nil), "alice", wrong)
		if status != http.StatusUnauthorized || body != `{"error":{"code":"UNAUTHORIZED","message":"Invalid credentials"}}` {
			t.Fatalf("%s answers %d %s", path, status, body)
		}
		for name, tt := range cases {
			t.Run(name+" at "+path, func(t *testing.T) {
				w := newWorld(t, nil)
				if tt.before != nil {
					tt.before(w)
				}
				gotStatus, gotHeader, gotBody := answer(w, tt.username, tt.password)
				if gotStatus != status || gotBody != body || !cmp.Equal(gotHeader, header) {
					t.Errorf("the answer tells it from a wrong password:\n%d %v %s", gotStatus, gotHeader, gotBody)
				}
				if n := w.Hasher.Compared(); n != 1 {
					t.Errorf("%d computations, want 1", n)
				}
				if n := w.tap.charges.Load(); n != 1 {
					t.Errorf("the store made %d charges, want 1", n)
				}
			})
		}
	}
}

func TestAnEmptyBasicPasswordIsRefusedAtTheSameCost(t *testing.T) {
	w := newWorld(t, nil)
	w.edit("alice", func(r *user.Row) { r.PasswordHash = hashOf(t, "") })
	if a := w.verifyBasic("alice", ""); a.Code != http.StatusUnauthorized || w.Hasher.Compared() != 1 {
		t.Errorf("%d after %d computations", a.Code, w.Hasher.Compared())
	}
}

func TestARightPasswordLogsIn(t *testing.T) {
	w := newWorld(t, nil)
	for range 4 {
		if got := w.try("alice", wrong); got != Failed {
			t.Fatalf("a wrong password: %s", got)
		}
	}
	a := w.postLogIn("alice", right)
	if a.Code != http.StatusOK || a.Body.String() != `{"username":"alice","roles":["operator"]}` {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	row := w.row("alice")
	if row.FailedLoginAttempts != 0 || row.LastLogin == nil || !row.LastLogin.Equal(w.clock.now()) || row.LockedUntil != nil {
		t.Errorf("the row after a success on the fifth try: %+v", row)
	}
}

func TestNoRolesAreAnEmptyList(t *testing.T) {
	w := newWorld(t, nil)
	w.edit("alice", func(r *user.Row) { r.Roles = nil })
	if a := w.postLogIn("alice", right); a.Body.String() != `{"username":"alice","roles":[]}` {
		t.Error(a.Body)
	}
}

// 200 parallel wrong passwords against 4 replicas (Keycloak CVE-2024-4629).
func TestParallelGuessesGetFiveChecks(t *testing.T) {
	w := newWorld(t, nil)
	replicas := []*world{w, w.another(), w.another(), w.another()}
	parallel(200, func(i int) {
		if got := replicas[i%4].try("alice", fmt.Sprint(wrong, i)); got == Succeeded {
			t.Error("a guess succeeded")
		}
	})
	for _, replica := range replicas {
		replica.settling.Wait()
	}
	if n := w.tap.checks.Load(); n != 5 {
		t.Errorf("%d checks against the real hash, want 5", n)
	}
	if row := w.row("alice"); row.LockedUntil == nil || row.FailedLoginAttempts != 5 {
		t.Errorf("the row after 200 guesses: %+v", row)
	}
	if got := w.outcomes(); got[store.Failed] != 5 || got[store.RefusedLocked] != 195 {
		t.Errorf("the record has %v", got)
	}
	if got := w.try("alice", right); got != Locked {
		t.Errorf("the right password while locked: %s", got)
	}
	w.clock.passes(15 * time.Minute)
	if got := w.try("alice", right); got != Succeeded {
		t.Errorf("the right password after the lock: %s", got)
	}
}

func TestARightPasswordWhileLockedDoesNotProlongTheLock(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		w.try("alice", wrong)
	}
	before := w.row("alice")
	w.clock.passes(time.Minute)
	if got := w.try("alice", right); got != Locked {
		t.Errorf("the right password: %s", got)
	}
	if after := w.row("alice"); !cmp.Equal(before, after) {
		t.Errorf("the row was %+v and is %+v", before, after)
	}
	w.clock.passes(14 * time.Minute)
	for i := range 5 { // a full budget again
		if got := w.try("alice", wrong); got != Failed {
			t.Errorf("attempt %d after the lock: %s", i+1, got)
		}
	}
	if got := w.try("alice", right); got != Locked {
		t.Errorf("the sixth: %s", got)
	}
}

func TestAHundredParallelLoginsSucceed(t *testing.T) {
	w := newWorld(t, nil)
	for range 4 {
		w.try("alice", wrong)
	}
	parallel(100, func(int) {
		if got := w.try("alice", right); got != Succeeded {
			t.Errorf("a right login: %s", got)
		}
	})
	if row := w.row("alice"); row.FailedLoginAttempts != 0 || row.LockedUntil != nil {
		t.Errorf("the row: %+v", row)
	}
	if len(w.queue.lines) != 0 || len(w.queue.waiting) != 0 {
		t.Errorf("%d lines are left, and %d in them", len(w.queue.lines), len(w.queue.waiting))
	}
}

func TestAnUnavailableStoreAnswers503AndIsAskedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		when    func(*tap)
		charged int64 // in the store
	}{
		"before the charge":                  {func(a *tap) { a.charging = unavailableStore }, 0},
		"with the charge's answer":           {func(a *tap) { a.charged = unavailableStore }, 1},
		"during the settlement of a success": {func(a *tap) { a.settling = unavailableStore }, 1},
		"after a timeout of the charge":      {func(a *tap) { a.charging = func() error { return context.DeadlineExceeded } }, 0},
		"after another error":                {func(a *tap) { a.charging = func() error { return errors.New("a defect") } }, 0},
		"after a timeout of the settlement":  {func(a *tap) { a.settling = func() error { return context.DeadlineExceeded } }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			tt.when(w.tap)
			a := w.postLogIn("alice", right)
			if a.Code != http.StatusServiceUnavailable || !strings.Contains(a.Body.String(), `{"error":{"code":"SERVICE_UNAVAILABLE",`) {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if n := w.tap.charges.Load(); n != 1 {
				t.Errorf("the store got %d charges, want 1", n)
			}
			if n := w.tap.checks.Load(); n != tt.charged || w.row("alice").FailedLoginAttempts != int(tt.charged) {
				t.Errorf("%d charged, and in the row %d, want %d", n, w.row("alice").FailedLoginAttempts, tt.charged)
			}
		})
	}
}

func TestAFailureThatCannotBeSettledIsStillAFailure(t *testing.T) {
	w := newWorld(t, nil)
	w.tap.settling = unavailableStore
	if a := w.postLogIn("alice", wrong); a.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	w.settling.Wait()
	if n := w.row("alice").FailedLoginAttempts; n != 1 {
		t.Errorf("%d failures in the row, want 1", n)
	}
}

func TestASuccessIsRefusedIfTheRowChangedMeanwhile(t *testing.T) {
	for name, change := range map[string]func(*user.Row){
		"another password": func(r *user.Row) { r.PasswordHash = "$2a$10$" },
		"deactivated":      func(r *user.Row) { r.Active = false },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.tap.settling = func() error { w.edit("alice", change); return nil }
			if a := w.postLogIn("alice", right); a.Code != http.StatusUnauthorized {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			if !strings.Contains(w.log.String(), `"outcome":"superseded"`) {
				t.Error(w.log)
			}
		})
	}
}

func TestEachAttemptIsLogged(t *testing.T) {
	w := newWorld(t, nil)
	w.try("alice", right)
	w.try(wrong, wrong) // typed into the wrong field
	w.try(wrong, wrong)
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"outcome":"success","user":"alice"`) {
		t.Fatalf("the log is\n%s", w.log)
	}
	_, first, _ := strings.Cut(lines[1], `"outcome":"unknown",`)
	_, second, _ := strings.Cut(lines[2], `"outcome":"unknown",`)
	if !strings.HasPrefix(first, `"user":"hmac:`) || first != second {
		t.Errorf("the digests of one name are\n%s\n%s", first, second)
	}
	for _, a := range w.store.Attempts() {
		if strings.Contains(a.Username, wrong) {
			t.Errorf("the record has an unknown username: %s", a.Username)
		}
	}
}

// Unknown names after 4 failures of alice (Argo CD CVE-2024-21662): no data structure grows with them.
func TestUnknownNamesUseNoMemory(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.SourceRate, o.SourceBurst = 1000, 1000000 })
	for range 4 {
		w.try("alice", wrong)
	}
	parallel(10, func(i int) {
		for j := range 20 {
			w.try(fmt.Sprint(i, "-", j), wrong)
			w.verifyBasic(fmt.Sprint(i, "-", j), wrong)
		}
	})
	if row := w.row("alice"); row.FailedLoginAttempts != 4 {
		t.Errorf("alice has %d failures, want 4", row.FailedLoginAttempts)
	}
	if n := len(w.queue.lines) + w.known.passed.Len(); n != 0 {
		t.Errorf("%d things are remembered of unknown names", n)
	}
}
