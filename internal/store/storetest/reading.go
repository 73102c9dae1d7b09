// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var reading = []test{
	{"now is the store's clock", func(t *testing.T, s *subject) {
		now := s.observe(t, "alice").Now
		near(t, "now", &now, s.Other.Now(t))
	}},
	{"four failures are no lock, the fifth locks for 15 minutes", func(t *testing.T, s *subject) {
		s.created(t)
		for range 4 {
			s.Other.Fail(t, "alice")
		}
		o := s.observe(t, "alice")
		expect(t, "the counter", o.Row.FailedLoginAttempts, 4)
		expect(t, "locked", o.Locked(), false)

		s.Other.Fail(t, "alice")
		o = s.observe(t, "alice")
		expect(t, "the counter", o.Row.FailedLoginAttempts, 5)
		expect(t, "locked", o.Locked(), true)
		if left := o.LockLeft(); left < 14*time.Minute+50*time.Second || left > 15*time.Minute {
			t.Errorf("the lock lasts %v more, want 15 minutes", left)
		}
	}},
	{"an expired lock is still reported, and not in force", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Lock(t, "alice", -time.Second)
		o := s.observe(t, "alice")
		expect(t, "locked", o.Locked(), false)
		if o.Row.LockedUntil == nil {
			t.Error("the end of the lock is missing")
		}
		s.Other.Lock(t, "alice", time.Hour)
		expect(t, "locked", s.observe(t, "alice").Locked(), true)
	}},
	{"a last login is read as the moment it was", func(t *testing.T, s *subject) {
		s.created(t)
		expect(t, "the last login", s.observe(t, "alice").Row.LastLogin, nil)
		s.Other.LogIn(t, "alice")
		near(t, "the last login", s.observe(t, "alice").Row.LastLogin, s.Other.Now(t))
	}},
	{"a row of another program is read without an owner", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `["viewer", "operator"]`})
		o := s.observe(t, "alice")
		expect(t, "the ownership record", o.Ownership, nil)
		expect(t, "the row", o.Row, &user.Row{PasswordHash: firstHash, Roles: []string{"viewer", "operator"}})
	}},
	{"what is no array of strings is malformed roles", func(t *testing.T, s *subject) {
		for i, json := range []string{`{}`, `"x"`, `[1]`, `[null]`, `["a", null]`, `null`, `[["a"]]`, `true`} {
			username := fmt.Sprintf("user-%d", i)
			s.Other.Insert(t, username, Row{Hash: firstHash, Roles: json})
			row := s.observe(t, username).Row
			expect(t, "malformed of "+json, row.RolesMalformed, true)
			expect(t, "the number of roles of "+json, len(row.Roles), 0)
		}
		for i, json := range []string{`[]`, `["a"]`, `["ä", "<&>"]`, `["a", "a"]`} {
			username := fmt.Sprintf("good-%d", i)
			s.Other.Insert(t, username, Row{Hash: firstHash, Roles: json})
			expect(t, "malformed of "+json, s.observe(t, username).Row.RolesMalformed, false)
		}
	}},
	{"a missing hash is read as an empty one", func(t *testing.T, s *subject) {
		if !s.Nullable {
			return
		}
		o := s.created(t)
		s.Other.SetHash(t, "alice", nil)
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, "")
		p := user.PasswordChange{Hash: firstHash, Version: "v1"}
		s.apply(t, next(user.Update, o, password(p), writing(user.FieldPasswordHash)))
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, firstHash)
	}},
	{"a name that no account can have is observed as that of none", func(t *testing.T, s *subject) {
		for _, username := range []string{"", "a\x00", "a\xff", strings.Repeat("x", 1<<20)} {
			o := s.observe(t, username)
			near(t, "now", &o.Now, s.Other.Now(t))
			expect(t, "what is observed", o, user.Observed{Now: o.Now})
		}
	}},
	{"a snapshot is what is observed of each, in one moment", func(t *testing.T, s *subject) {
		owned := s.created(t)
		s.apply(t, creation("tombstone", 0))
		s.apply(t, next(user.Delete, s.observe(t, "tombstone"), func(c *user.Change) { c.Username = "tombstone" }))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `{}`})
		s.Other.Lock(t, "bob", time.Hour)
		s.Other.LogIn(t, "bob")
		s.charges(t, 5) // alice's lock is pending from now on
		usernames := []string{"alice", "bob", "tombstone", "nobody", "a\x00", "alice"}
		for i := range 995 {
			usernames = append(usernames, fmt.Sprintf("nobody-%d", i))
		}
		snapshot := s.snapshot(t, usernames...)
		expect(t, "the number of entries", len(snapshot), 1000)
		now := snapshot["nobody"].Now
		near(t, "now", &now, s.Other.Now(t))
		for _, username := range usernames[:10] {
			o := s.observe(t, username)
			o.Now = now
			expect(t, "what is observed of "+username, snapshot[username], o)
		}
		expect(t, "pending", snapshot["alice"].LockPending(), true)
		expect(t, "alice's note", snapshot["alice"].Ownership, owned.Ownership)
		expect(t, "malformed", snapshot["bob"].Row.RolesMalformed, true)
		expect(t, "the state", snapshot["tombstone"].Ownership.State, user.Deleted)
		expect(t, "nobody", snapshot["nobody-994"], user.Observed{Now: now})
	}},
	{"a snapshot of nobody is empty", func(t *testing.T, s *subject) {
		expect(t, "the number of entries", len(s.snapshot(t)), 0)
	}},
	{"a store with a row or an ownership record is not fresh", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`})
		expect(t, "fresh", s.fresh(t), false)
		s.Other.Delete(t, "bob")
		s.apply(t, burial(0))
		expect(t, "fresh", s.fresh(t), false)
	}},
	{"what was observed belongs to the caller", func(t *testing.T, s *subject) {
		o := s.created(t)
		o.Row.Roles[0] = "admin"
		*o.Ownership.PasswordChangedAt = time.Time{}
		again := s.observe(t, "alice")
		expect(t, "the roles", again.Row.Roles, []string{"operator"})
		expect(t, "the time is there", again.Ownership.PasswordChangedAt.IsZero(), false)
	}},
}

// snapshot returns the accounts of the usernames.
func (s *subject) snapshot(t *testing.T, usernames ...string) map[string]user.Observed {
	t.Helper()
	snapshot, err := s.Store.Snapshot(t.Context(), usernames)
	if err != nil {
		t.Fatalf("take a snapshot: %v", err)
	}
	return snapshot
}

func (s *subject) fresh(t *testing.T) bool {
	t.Helper()
	fresh, err := s.Store.Fresh(t.Context())
	if err != nil {
		t.Fatalf("ask whether it is fresh: %v", err)
	}
	return fresh
}

var watching = []test{
	{"a subscriber is notified of rows that existed before it", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`})
		s.watch(t).has(t, "alice", "bob")
	}},
	{"a subscriber is notified of every change of the operator", func(t *testing.T, s *subject) {
		s.created(t)
		w := s.watch(t)
		w.has(t, "alice")
		for _, step := range []func(user.Observed) user.Change{
			func(o user.Observed) user.Change { return next(user.Update, o, writing(user.FieldRoles), roles("x")) },
			func(o user.Observed) user.Change { return next(user.Update, o) },
			func(o user.Observed) user.Change { return next(user.Deactivate, o) },
			func(o user.Observed) user.Change { return burial(o.Ownership.Revision, by(stranger)) },
			func(o user.Observed) user.Change { return adoption("alice", o.Ownership.Revision, generation(9)) },
			func(o user.Observed) user.Change { return next(user.Release, o) },
			func(o user.Observed) user.Change { return adoption("alice", o.Ownership.Revision, generation(99)) },
			func(o user.Observed) user.Change { return next(user.Delete, o) },
			func(o user.Observed) user.Change { return creation("alice", o.Ownership.Revision, by(remade)) },
		} {
			change := step(s.observe(t, "alice"))
			w.forget()
			s.apply(t, change)
			w.has(t, "alice")
		}
	}},
	{"a subscriber is notified of every change of another program", func(t *testing.T, s *subject) {
		s.created(t)
		w := s.watch(t)
		w.has(t, "alice")
		for _, step := range []func(){
			func() { s.Other.SetRoles(t, "alice", `["admin"]`) },
			func() { s.Other.SetHash(t, "alice", &secondHash) },
			func() { s.Other.Lock(t, "alice", time.Hour) },
			func() { s.Other.Fail(t, "alice") },
			func() { s.Other.LogIn(t, "alice") },
			func() { s.Other.Delete(t, "alice") },
			func() { s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `[]`}) },
		} {
			w.forget()
			step()
			w.has(t, "alice")
		}
	}},
	{"a name that is freed without a row is told as well", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Delete(t, "alice")
		w := s.watch(t)
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `[]`})
		w.has(t, "bob")
		w.forget()
		s.apply(t, next(user.Release, o))
		w.has(t, "alice")
	}},
	{"every watcher is told", func(t *testing.T, s *subject) {
		one, two := s.watch(t), s.watch(t)
		s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `[]`})
		one.has(t, "alice")
		two.has(t, "alice")
	}},
	{"a thousand changes at once are all told", func(t *testing.T, s *subject) {
		w := s.watch(t)
		names := make([]string, 1000)
		for i := range names {
			names[i] = fmt.Sprintf("user-%d", i)
			s.Other.Insert(t, names[i], Row{Hash: firstHash, Roles: `[]`})
		}
		w.has(t, names...)
	}},
}
