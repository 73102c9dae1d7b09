// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var ending = []test{
	{"a deleted row is gone, and its owner is remembered without a password", func(t *testing.T, s *subject) {
		o := s.created(t, unlock("monday"))
		s.apply(t, next(user.Delete, o))
		expect(t, "the row exists", s.exists(t, "alice"), false)
		note := s.observe(t, "alice").Ownership
		expect(t, "the state", note.State, user.Deleted)
		expect(t, "the owner", note.Owner, alice)
		expect(t, "the noted hash", note.PasswordHash, "")
		expect(t, "the version", note.PasswordVersion, "")
		expect(t, "the unlock that was handled", note.UnlockHandled, "")
		expect(t, "the time of the password", note.PasswordChangedAt, nil)
	}},
	{"a row that another program deleted can still be deleted", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Delete(t, "alice")
		s.apply(t, next(user.Delete, o))
		expect(t, "the state", s.observe(t, "alice").Ownership.State, user.Deleted)
	}},
	{"an older generation of the owner deletes nothing", func(t *testing.T, s *subject) {
		o := s.created(t, generation(9))
		s.conflicts(t, next(user.Delete, o, generation(8)))
		s.apply(t, next(user.Delete, o, generation(9)))
		expect(t, "the row exists", s.exists(t, "alice"), false)
	}},
	{"the owner that was deleted cannot bring its row back", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Delete, o))
		s.conflicts(t, creation("alice", o.Ownership.Revision, generation(9)))
		s.conflicts(t, creation("alice", s.revision(t, "alice"), generation(9)))
		s.conflicts(t, creation("alice", 0, generation(9)))
		s.conflicts(t, next(user.Delete, s.observe(t, "alice"), generation(9)))
	}},
	{"after a deletion another owner gets a clean row", func(t *testing.T, s *subject) {
		o := s.created(t, unlock("monday"), generation(9))
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		s.Other.LogIn(t, "alice")
		s.apply(t, next(user.Delete, o))
		p := user.PasswordChange{Hash: secondHash, Version: "v9", New: true}
		s.apply(t, creation("alice", s.revision(t, "alice"), by(stranger), roles("viewer"), password(p)))
		after := s.observe(t, "alice")
		expect(t, "the row", after.Row, &user.Row{PasswordHash: secondHash, Roles: []string{"viewer"}, Active: true})
		after.Ownership.Revision, after.Ownership.PasswordChangedAt = 0, nil
		expect(t, "the ownership record", after.Ownership, &user.Ownership{
			Owner: stranger, State: user.Owned, Generation: 1, Deletion: "Delete",
			PasswordVersion: "v9", PasswordHash: secondHash,
		})
	}},
	{"a deactivated row stays, rejects logins, and has no owner", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Deactivate, o))
		s.unchangedBut(t, "alice", before, "active", "password_hash", "updated_at")
		after := s.observe(t, "alice")
		expect(t, "active", after.Row.Active, false)
		expect(t, "the hash", after.Row.PasswordHash, user.DisabledHash(firstHash))
		expect(t, "the state", after.Ownership.State, user.Released)
		expect(t, "the owner", after.Ownership.Owner, alice)
		expect(t, "the noted hash", after.Ownership.PasswordHash, "")
		s.conflicts(t, next(user.Deactivate, after))
		s.conflicts(t, next(user.Delete, after))
	}},
	{"a row that another program deleted can still be deactivated", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Delete(t, "alice")
		s.apply(t, next(user.Deactivate, o))
		expect(t, "the row exists", s.exists(t, "alice"), false)
		expect(t, "the state", s.observe(t, "alice").Ownership.State, user.Released)
	}},
	{"a released row stays byte for byte, and belongs to nobody", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Release, o))
		s.unchangedBut(t, "alice", before)
		after := s.observe(t, "alice").Ownership
		expect(t, "the state", after.State, user.Released)
		expect(t, "the owner", after.Owner, alice)
		expect(t, "the noted hash", after.PasswordHash, "")
	}},
	{"a released name whose row is gone can be created by its former place or by another", func(t *testing.T, s *subject) {
		for _, owner := range []user.Owner{remade, stranger} {
			o := s.created(t, func(c *user.Change) { c.Revision = s.revision(t, "alice") })
			s.apply(t, next(user.Release, o))
			s.Other.Delete(t, "alice")
			s.apply(t, creation("alice", s.revision(t, "alice"), by(owner)))
			o = s.observe(t, "alice")
			expect(t, "owned", o.OwnedBy(owner), true)
			s.apply(t, next(user.Delete, o, by(owner)))
		}
	}},
}

var racing = []test{
	{"of 16 that create one username at once, one succeeds", func(t *testing.T, s *subject) {
		for _, username := range []string{"alice", "bob", "carol"} {
			succeeded := parallel(t, 16, func(i int) error {
				owner := alice
				owner.Name, owner.UID = string(rune('a'+i)), string(rune('a'+i))
				return s.try(t.Context(), creation(username, 0, by(owner)))
			})
			expect(t, "the number that succeeded", succeeded, 1)
		}
	}},
	{"of 8 that adopt one row at once, one succeeds", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `[]`, Active: true})
		succeeded := parallel(t, 8, func(i int) error {
			owner := alice
			owner.Name, owner.UID = string(rune('a'+i)), string(rune('a'+i))
			return s.try(t.Context(), adoption("alice", 0, by(owner)))
		})
		expect(t, "the number that succeeded", succeeded, 1)
	}},
	{"of two updates that rest on one observation, one succeeds", func(t *testing.T, s *subject) {
		o := s.created(t)
		for range 20 {
			succeeded := parallel(t, 2, func(i int) error {
				return s.try(t.Context(), next(user.Update, o, writing(user.FieldRoles), roles(string(rune('a'+i)))))
			})
			expect(t, "the number that succeeded", succeeded, 1)
			o = s.observe(t, "alice")
		}
	}},
	{"an update and a deletion at once end in the one or the other", func(t *testing.T, s *subject) {
		for range 20 {
			s.apply(t, creation("alice", s.revision(t, "alice"), by(user.Owner{UID: "other"})))
			o := s.observe(t, "alice")
			succeeded := parallel(t, 2, func(i int) error {
				verb := []user.Verb{user.Update, user.Delete}[i]
				return s.try(t.Context(), next(verb, o, by(o.Ownership.Owner), writing(user.FieldRoles)))
			})
			expect(t, "the number that succeeded", succeeded, 1)
			o = s.observe(t, "alice")
			expect(t, "there is a row", o.Row != nil, o.Ownership.State == user.Owned)
			if o.Ownership.State == user.Owned {
				s.apply(t, next(user.Delete, o, by(o.Ownership.Owner)))
			}
			s.apply(t, creation("alice", s.revision(t, "alice")))
			s.apply(t, next(user.Delete, s.observe(t, "alice")))
		}
	}},
	{"failed logins during updates are all counted", func(t *testing.T, s *subject) {
		o := s.created(t)
		succeeded := parallel(t, 8, func(i int) error {
			if i%2 == 0 {
				s.Other.Fail(t, "alice")
				return nil
			}
			return errors.Join(s.try(t.Context(), next(user.Update, o, writing(user.FieldRoles), roles("viewer"))))
		})
		expect(t, "the number that succeeded", succeeded, 5)
		expect(t, "the counter", s.observe(t, "alice").Row.FailedLoginAttempts, 4)
	}},
	{"a call whose context has ended changes nothing and says so", func(t *testing.T, s *subject) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Store.Observe(ctx, "alice")
		expectCancelled(t, err)
		expectCancelled(t, s.try(ctx, creation("alice", 0)))
		expect(t, "the ownership record", s.observe(t, "alice").Ownership, nil)
	}},
}

func expectCancelled(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict) {
		t.Errorf("want the context's error, got: %v", err)
	}
}
