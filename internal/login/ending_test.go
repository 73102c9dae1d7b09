// SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// ends records that alice ends after this time. The row stays active, as without a leader.
func (w *world) ends(in time.Duration) {
	w.t.Helper()
	o, err := w.store.Observe(w.t.Context(), "alice")
	if err != nil {
		w.t.Fatal(err)
	}
	change := user.Change{
		Verb: user.Adopt, Username: "alice", Owner: user.Owner{Cluster: "c", Namespace: "team-a", Name: "alice", UID: "1"}, Generation: 1,
		Roles: o.Row.Roles, Active: true, ValidUntil: new(w.clock.now().Add(in)),
	}
	if _, err := w.store.Apply(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
}

func TestATokenIsRefusedFromTheEndOfItsUserOn(t *testing.T) {
	w, _ := withTokens(t)
	w.ends(time.Hour)
	token := w.token()
	w.clock.passes(time.Hour - time.Second)
	if got := w.bearer(token); got != http.StatusOK {
		t.Errorf("before the end: %d", got)
	}
	w.clock.passes(time.Second)
	if got := w.bearer(token); got != http.StatusUnauthorized {
		t.Errorf("at the end: %d", got)
	}
}

func TestCredentialsAreNotRecognizedFromTheEndOfTheirUserOn(t *testing.T) {
	w := newWorld(t, nil)
	w.ends(30 * time.Second) // within the time to live of what is recognized
	if a := w.verifyBasic("alice", right); a.Code != http.StatusOK {
		t.Fatalf("before the end: %d", a.Code)
	}
	w.clock.passes(29 * time.Second)
	if a := w.verifyBasic("alice", right); a.Code != http.StatusOK || w.Hasher.Compared() != 1 {
		t.Errorf("just before the end: %d after %d computations, want them recognized", a.Code, w.Hasher.Compared())
	}
	w.clock.passes(time.Second)
	if a := w.verifyBasic("alice", right); a.Code != http.StatusUnauthorized {
		t.Errorf("at the end: %d", a.Code)
	}
}
