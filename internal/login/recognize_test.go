// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestCredentialsThatPassedAreRecognizedWithoutBcrypt(t *testing.T) {
	w := newWorld(t, nil)
	for range 100 {
		a := w.verifyBasic("alice", right)
		if a.Code != http.StatusOK || a.Header().Get("X-Auth-Username") != "alice" || a.Header().Get("X-Auth-Roles") != "operator" {
			t.Fatalf("%d %v", a.Code, a.Header())
		}
	}
	if n := w.Hasher.Compared(); n != 1 || w.tap.charges.Load() != 1 {
		t.Errorf("%d computations and %d charges for 100 requests, want one each", n, w.tap.charges.Load())
	}
}

func TestALoginMakesGatewayRequestsRecognized(t *testing.T) {
	w := newWorld(t, nil)
	w.try("alice", right)
	if a := w.verifyBasic("alice", right); a.Code != http.StatusOK || w.Hasher.Compared() != 1 {
		t.Errorf("%d after %d computations", a.Code, w.Hasher.Compared())
	}
	if got := w.try("alice", right); got != Succeeded || w.Hasher.Compared() != 2 {
		t.Error("a login was recognized; each login must compute bcrypt")
	}
}

// Of the parallel requests of one page, the first computes, and the others are recognized.
func TestParallelRequestsOfOneClientComputeOnce(t *testing.T) {
	w := newWorld(t, nil)
	parallel(50, func(int) {
		if a := w.verifyBasic("alice", right); a.Code != http.StatusOK {
			t.Errorf("%d", a.Code)
		}
	})
	if n := w.Hasher.Compared(); n != 1 {
		t.Errorf("%d computations, want 1", n)
	}
}

func TestCredentialsThatAreNotRecognized(t *testing.T) {
	for name, tt := range map[string]struct {
		change             func(*world)
		username, password string
		status             int
	}{
		"another password":             {nil, "alice", wrong, http.StatusUnauthorized},
		"a longer password":            {nil, "alice", right + "x", http.StatusUnauthorized},
		"a prefix of the password":     {nil, "alice", right[:len(right)-1], http.StatusUnauthorized},
		"the password of another user": {nil, "bob", right, http.StatusUnauthorized},
		"a colon in the username":      {nil, "alice:", right, http.StatusUnauthorized},
		"after they expired":           {func(w *world) { w.clock.passes(time.Minute) }, "alice", right, http.StatusOK},
		"after the same password was hashed again": {func(w *world) {
			w.edit("alice", func(r *user.Row) { r.PasswordHash = hashOf(w.t, right) })
		}, "alice", right, http.StatusOK},
		"after the password changed": {func(w *world) {
			w.edit("alice", func(r *user.Row) { r.PasswordHash = hashOf(w.t, wrong) })
		}, "alice", right, http.StatusUnauthorized},
		"once deactivated": {func(w *world) {
			w.edit("alice", func(r *user.Row) { r.Active = false })
		}, "alice", right, http.StatusUnauthorized},
		"once locked": {func(w *world) {
			w.edit("alice", func(r *user.Row) { r.LockedUntil = new(w.clock.now().Add(time.Minute)) })
		}, "alice", right, http.StatusUnauthorized},
		"once deleted": {func(w *world) {
			w.store.Edit("alice", func(*user.Row) *user.Row { return nil })
		}, "alice", right, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.verifyBasic("alice", right)
			if tt.change != nil {
				tt.change(w)
			}
			before := w.Hasher.Compared()
			a := w.verifyBasic(tt.username, tt.password)
			if n := w.Hasher.Compared() - before; a.Code != tt.status || n != 1 {
				t.Errorf("%d after %d computations, want %d after 1", a.Code, n, tt.status)
			}
		})
	}
}

func TestNothingIsRecognizedIfDisabled(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RecognizeFor = 0 })
	for range 3 {
		w.verifyBasic("alice", right)
	}
	if n := w.Hasher.Compared(); n != 3 || w.tap.looks.Load() != 0 {
		t.Errorf("%d computations for 3 requests, and %d look-ups", n, w.tap.looks.Load())
	}
}

func TestAnUnlockedAccountIsRecognizedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.verifyBasic("alice", right)
	for range 5 {
		w.try("alice", wrong)
	}
	if a := w.verifyBasic("alice", right); a.Code != http.StatusUnauthorized {
		t.Errorf("while locked: %d", a.Code)
	}
	w.edit("alice", func(r *user.Row) { r.LockedUntil, r.FailedLoginAttempts = nil, 0 })
	before := w.Hasher.Compared()
	if a := w.verifyBasic("alice", right); a.Code != http.StatusOK || w.Hasher.Compared() != before {
		t.Errorf("once unlocked: %d", a.Code)
	}
}
