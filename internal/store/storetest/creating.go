// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var creating = []test{
	{"nothing is known of a name that nobody used", func(t *testing.T, s *subject) {
		o := s.observe(t, "nobody")
		expect(t, "the row", o.Row, nil)
		expect(t, "the ownership record", o.Ownership, nil)
	}},
	{"a created row says what the change says", func(t *testing.T, s *subject) {
		s.apply(t, creation("alice", 0, roles("viewer", "operator")))
		o := s.observe(t, "alice")
		expect(t, "the row", o.Row, &user.Row{
			PasswordHash: firstHash, Roles: []string{"viewer", "operator"}, Active: true,
		})
	}},
	{"a created row is noted with its owner and its password", func(t *testing.T, s *subject) {
		s.apply(t, creation("alice", 0, generation(3), unlock("monday"), func(c *user.Change) {
			c.Password.Weak, c.Password.Suspicion, c.Password.Digest = true, "quotes,username", "digest"
			c.Deletion = "Retain"
		}))
		note := s.observe(t, "alice").Ownership
		near(t, "the time of the password", note.PasswordChangedAt, s.Other.Now(t))
		note.PasswordChangedAt = nil
		if note.Revision <= 0 {
			t.Errorf("the revision is %d, want more than 0", note.Revision)
		}
		note.Revision = 0
		expect(t, "the ownership record", note, &user.Ownership{
			Owner: alice, State: user.Owned, Generation: 3, Deletion: "Retain",
			PasswordVersion: "v1", PasswordHash: firstHash, PasswordWeak: true, PasswordSuspicion: "quotes,username", PasswordDigest: "digest",
			UnlockHandled: "monday",
		})
	}},
	{"a row without a password of ours gets one that nothing matches, and none is noted", func(t *testing.T, s *subject) {
		for username, p := range map[string]*user.PasswordChange{"alice": {Hash: user.UnusablePassword}, "bob": nil} {
			s.apply(t, creation(username, 0, func(c *user.Change) { c.Password = p }))
			o := s.observe(t, username)
			expect(t, "the hash", o.Row.PasswordHash, user.UnusablePassword)
			expect(t, "the noted hash", o.Ownership.PasswordHash, "")
			expect(t, "the noted version", o.Ownership.PasswordVersion, "")
			expect(t, "the time of the password", o.Ownership.PasswordChangedAt, nil)
		}
	}},
	{"a row may be created inactive and without roles", func(t *testing.T, s *subject) {
		s.apply(t, creation("alice", 0, roles(), inactive))
		o := s.observe(t, "alice")
		expect(t, "active", o.Row.Active, false)
		expect(t, "the number of roles", len(o.Row.Roles), 0)
		expect(t, "malformed", o.Row.RolesMalformed, false)
		s.apply(t, creation("bob", 0, func(c *user.Change) { c.Roles = nil }))
		expect(t, "malformed", s.observe(t, "bob").Row.RolesMalformed, false)
	}},
	{"64 roles of 63 characters are kept in their order", func(t *testing.T, s *subject) {
		var many []string
		for i := range 64 {
			many = append(many, strings.Repeat(string(rune('a'+i%26)), 62)+string(rune('0'+i/26)))
		}
		s.apply(t, creation("alice", 0, roles(many...)))
		expect(t, "the roles", s.observe(t, "alice").Row.Roles, many)
	}},
	{"where a row exists, creating it is a conflict and leaves no owner behind", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `["viewer"]`, Active: true})
		s.conflicts(t, creation("alice", 0))
	}},
	{"creating a row that another resource owns is a conflict", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.conflicts(t, creation("alice", 0, by(stranger)))
		s.conflicts(t, creation("alice", o.Ownership.Revision, by(stranger)))
		s.Other.Delete(t, "alice")
		s.conflicts(t, creation("alice", o.Ownership.Revision, by(stranger)))
	}},
	{"an ownership record that came up meanwhile makes creating a conflict, also when the row is gone", func(t *testing.T, s *subject) {
		s.created(t)
		s.Other.Delete(t, "alice")
		s.conflicts(t, creation("alice", 0))
	}},
	{"an ownership record that is not there, or is another one by now, makes creating a conflict", func(t *testing.T, s *subject) {
		s.conflicts(t, creation("alice", 7))
		o := s.created(t)
		s.apply(t, next(user.Delete, o))
		s.conflicts(t, creation("alice", o.Ownership.Revision, by(remade)))
	}},
	{"a row that another program deleted is created again by its owner, with its ownership record", func(t *testing.T, s *subject) {
		o := s.created(t, unlock("monday"))
		s.Other.Delete(t, "alice")
		gone := s.observe(t, "alice")
		expect(t, "the row", gone.Row, nil)
		expect(t, "the ownership record", gone.Ownership, o.Ownership)

		p := user.PasswordChange{Hash: firstHash, Version: "v1"}
		s.apply(t, creation("alice", gone.Ownership.Revision, password(p)))
		back := s.observe(t, "alice")
		expect(t, "the hash", back.Row.PasswordHash, firstHash)
		expect(t, "the unlock that was handled", back.Ownership.UnlockHandled, "monday")
		expect(t, "the time of the password", back.Ownership.PasswordChangedAt, o.Ownership.PasswordChangedAt)
		if back.Ownership.Revision == o.Ownership.Revision {
			t.Error("the revision is the one of before")
		}
	}},
	{"an older generation of the owner does not put the row back", func(t *testing.T, s *subject) {
		o := s.created(t, generation(5))
		s.Other.Delete(t, "alice")
		s.conflicts(t, creation("alice", o.Ownership.Revision, generation(4)))
	}},
	{"usernames are compared byte by byte", func(t *testing.T, s *subject) {
		names := []string{"Admin", "admin", "admin ", "аdmin", "admin\u200b", "a%", "a_"}
		for i, name := range names {
			s.apply(t, creation(name, 0, generation(int64(i+1))))
		}
		for i, name := range names {
			expect(t, "the generation", s.observe(t, name).Ownership.Generation, int64(i+1))
		}
		expect(t, "the row", s.observe(t, "ADMIN").Row, nil)
	}},
	{"a username may have 255 characters", func(t *testing.T, s *subject) {
		long := strings.Repeat("a", 255)
		s.apply(t, creation(long, 0))
		o := s.observe(t, long)
		if o.Row == nil || !o.OwnedBy(alice) {
			t.Errorf("observed %+v", o)
		}
		expect(t, "the row of 254", s.observe(t, long[1:]).Row, nil)
	}},
}

var adopting = []test{
	{"an adopted row gets roles and active, and keeps its password and the login columns", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `["viewer"]`})
		s.Other.LogIn(t, "alice")
		s.Other.Fail(t, "alice")
		before := s.Other.Columns(t, "alice")

		s.apply(t, adoption("alice", 0))
		s.unchangedBut(t, "alice", before, "active", "roles", "updated_at")
		o := s.observe(t, "alice")
		expect(t, "the roles", o.Row.Roles, []string{"operator"})
		expect(t, "active", o.Row.Active, true)
		expect(t, "owned", o.OwnedBy(alice), true)
		expect(t, "the noted hash", o.Ownership.PasswordHash, "")
	}},
	{"an adopted row gets the password that comes with the change", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `[]`, Active: true})
		s.apply(t, adoption("alice", 0, password(user.PasswordChange{Hash: firstHash, Version: "v1", New: true})))
		o := s.observe(t, "alice")
		expect(t, "the hash", o.Row.PasswordHash, firstHash)
		expect(t, "the noted hash", o.Ownership.PasswordHash, firstHash)
		near(t, "the time of the password", o.Ownership.PasswordChangedAt, s.Other.Now(t))
	}},
	{"adopting clears the lock when asked to", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `[]`, Active: true})
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		s.apply(t, adoption("alice", 0, clearingLockout, unlock("monday")))
		o := s.observe(t, "alice")
		expect(t, "locked", o.Locked(), false)
		expect(t, "the counter", o.Row.FailedLoginAttempts, 0)
		expect(t, "the unlock that was handled", o.Ownership.UnlockHandled, "monday")
	}},
	{"where there is no row, adopting it is a conflict and leaves no owner behind", func(t *testing.T, s *subject) {
		s.conflicts(t, adoption("alice", 0))
		o := s.created(t)
		s.apply(t, next(user.Release, o))
		s.Other.Delete(t, "alice")
		s.conflicts(t, adoption("alice", s.revision(t, "alice")))
	}},
	{"adopting a row that another resource owns is a conflict", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.conflicts(t, adoption("alice", 0, by(stranger)))
		s.conflicts(t, adoption("alice", o.Ownership.Revision, by(stranger)))
	}},
	{"a recreated resource takes the row, without the ownership record of the former one", func(t *testing.T, s *subject) {
		o := s.created(t, unlock("monday"), generation(9))
		s.apply(t, adoption("alice", o.Ownership.Revision, by(remade)))
		note := s.observe(t, "alice").Ownership
		note.Revision = 0
		expect(t, "the ownership record", note, &user.Ownership{Owner: remade, State: user.Owned, Generation: 1, Deletion: "Delete"})
	}},
	{"a row that was released may be adopted by anybody", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Release, s.created(t)))
		s.apply(t, adoption("alice", s.revision(t, "alice"), by(stranger)))
		expect(t, "owned", s.observe(t, "alice").OwnedBy(stranger), true)
	}},
}
