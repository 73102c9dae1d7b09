// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"strings"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The first two hashes as an inactive row has them.
var (
	firstShut  = user.DisabledHash(firstHash)
	secondShut = user.DisabledHash(secondHash)
)

func keepingHash(c *user.Change) { c.KeepHash = true }

// disabling is about the hashes of inactive rows.
var disabling = []test{
	{"a row that is created as inactive has a disabled hash, and the record the real one", func(t *testing.T, s *subject) {
		o := s.created(t, inactive)
		expect(t, "the hash", o.Row.PasswordHash, firstShut)
		expect(t, "the noted hash", o.Ownership.PasswordHash, firstHash)
	}},
	{"a row that becomes inactive has a disabled hash, and gets the same hash again", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Fail(t, "alice")
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, inactive, writing(user.FieldActive, user.FieldPasswordHash)))
		s.unchangedBut(t, "alice", before, "active", "password_hash", "updated_at")
		shut := s.observe(t, "alice")
		expect(t, "the hash", shut.Row.PasswordHash, firstShut)
		expect(t, "the noted hash", shut.Ownership.PasswordHash, firstHash)
		expect(t, "the time of the password", *shut.Ownership.PasswordChangedAt, *o.Ownership.PasswordChangedAt)
		s.apply(t, next(user.Update, shut, writing(user.FieldActive, user.FieldPasswordHash)))
		s.unchangedBut(t, "alice", before, "updated_at")
	}},
	{"a password that is written into an inactive row is disabled", func(t *testing.T, s *subject) {
		o := s.created(t, inactive)
		p := user.PasswordChange{Hash: secondHash, Version: "v2", New: true}
		s.apply(t, next(user.Update, o, inactive, password(p), writing(user.FieldPasswordHash)))
		after := s.observe(t, "alice")
		expect(t, "the hash", after.Row.PasswordHash, secondShut)
		expect(t, "the noted hash", after.Ownership.PasswordHash, secondHash)
	}},
	{"the hash that the row has by now is disabled, and not the observed one", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetHash(t, "alice", &secondHash)
		s.apply(t, next(user.Update, o, inactive, writing(user.FieldActive, user.FieldPasswordHash)))
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, secondShut)
	}},
	{"what is no hash stays as it is", func(t *testing.T, s *subject) {
		o := s.created(t)
		for _, text := range []string{"", "!", "*", "theirs", "$2a", "!locked", "$$", "!YzcxNzA4ZGU2YjE4", firstShut} {
			s.Other.SetHash(t, "alice", &text)
			s.apply(t, next(user.Update, o, inactive, writing(user.FieldPasswordHash)))
			o = s.observe(t, "alice")
			expect(t, "the hash", o.Row.PasswordHash, text)
		}
		if s.Nullable {
			s.Other.SetHash(t, "alice", nil)
			before := s.Other.Columns(t, "alice")
			s.apply(t, next(user.Update, o, inactive, writing(user.FieldPasswordHash)))
			s.unchangedBut(t, "alice", before, "updated_at")
		}
	}},
	{"every kind of hash is disabled and enabled as the pure functions say", func(t *testing.T, s *subject) {
		o := s.created(t)
		digest := strings.Repeat("a", 53)
		for _, hash := range []string{
			firstHash, "$2b$12$abc", "$6$salt$digest", "$argon2id$v=19$m", "$a-B9$", "$2_$10$" + digest, "$2\n_10_" + digest + "\n",
		} {
			s.Other.SetHash(t, "alice", &hash)
			s.apply(t, next(user.Update, o, inactive, writing(user.FieldActive, user.FieldPasswordHash)))
			o = s.observe(t, "alice")
			expect(t, "the disabled hash", o.Row.PasswordHash, user.DisabledHash(hash))
			s.apply(t, next(user.Update, o, writing(user.FieldActive, user.FieldPasswordHash)))
			o = s.observe(t, "alice")
			expect(t, "the enabled hash", o.Row.PasswordHash, hash)
		}
	}},
	{"an adopted inactive row is enabled, with its own hash or another one", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: firstShut, Roles: `[]`})
		s.apply(t, adoption("alice", 0, writing(user.FieldPasswordHash)))
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, firstHash)
		s.Other.Insert(t, "bob", Row{Hash: firstShut, Roles: `[]`})
		s.apply(t, adoption("bob", 0, password(user.PasswordChange{Hash: secondHash, Version: "v1", New: true})))
		expect(t, "the hash", s.observe(t, "bob").Row.PasswordHash, secondHash)
		s.Other.Insert(t, "carol", Row{Hash: firstHash, Roles: `[]`, Active: true})
		s.apply(t, adoption("carol", 0, inactive, writing(user.FieldPasswordHash)))
		expect(t, "the hash", s.observe(t, "carol").Row.PasswordHash, firstShut)
	}},
	{"an active row whose hash another program disabled stays so", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: firstShut, Roles: `[]`, Active: true})
		s.apply(t, adoption("alice", 0, writing(user.FieldPasswordHash)))
		o := s.observe(t, "alice")
		expect(t, "the hash", o.Row.PasswordHash, firstShut)
		s.apply(t, next(user.Update, o, writing(user.FieldActive, user.FieldPasswordHash)))
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, firstShut)
	}},
	{"a row that was inactive with a usable hash is disabled when it is deactivated", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetActive(t, "alice", new(false))
		s.apply(t, next(user.Deactivate, o))
		after := s.observe(t, "alice")
		expect(t, "the hash", after.Row.PasswordHash, firstShut)
		expect(t, "the state", after.Ownership.State, user.Released)
		s.apply(t, adoption("alice", after.Ownership.Revision, by(remade), writing(user.FieldPasswordHash)))
		expect(t, "the hash of a successor", s.observe(t, "alice").Row.PasswordHash, firstHash)
	}},
	{"a row that was inactive with a disabled hash is deactivated without a write", func(t *testing.T, s *subject) {
		o := s.created(t, inactive)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Deactivate, o))
		s.unchangedBut(t, "alice", before)
		expect(t, "the state", s.observe(t, "alice").Ownership.State, user.Released)
	}},
	{"a released row keeps a disabled hash", func(t *testing.T, s *subject) {
		o := s.created(t, inactive)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Release, o))
		s.unchangedBut(t, "alice", before)
	}},
	{"a row becomes inactive with its hash as it is where that is asked for", func(t *testing.T, s *subject) {
		for verb, change := range map[user.Verb]func(username string, o user.Observed) user.Change{
			user.Deactivate: func(username string, o user.Observed) user.Change {
				return next(user.Deactivate, o, named(username), keepingHash)
			},
			user.Suspend: func(username string, o user.Observed) user.Change {
				return changed(user.Suspension(username, o, nil), keepingHash)
			},
			user.Update: func(username string, o user.Observed) user.Change {
				return next(user.Update, o, named(username), inactive, writing(user.FieldActive, user.FieldPasswordHash), keepingHash)
			},
			user.Create: func(username string, o user.Observed) user.Change {
				s.apply(t, next(user.Delete, o, named(username)))
				return creation(username, s.revision(t, username), by(stranger), inactive, keepingHash)
			},
			user.Adopt: func(username string, o user.Observed) user.Change {
				s.apply(t, next(user.Release, o, named(username)))
				return adoption(username, s.revision(t, username), by(remade), inactive, writing(user.FieldPasswordHash), keepingHash)
			},
		} {
			username := string(verb)
			s.apply(t, creation(username, 0))
			s.apply(t, change(username, s.observe(t, username)))
			after := s.observe(t, username).Row
			expect(t, "active after "+username, after.Active, false)
			expect(t, "the hash after "+username, after.PasswordHash, firstHash)
		}
	}},
	{"an inactive row's hash matches nothing at a login", func(t *testing.T, s *subject) {
		s.created(t, inactive)
		c := s.charge(t, "alice")
		expect(t, "the verdict", string(c.Verdict), "inactive")
		expect(t, "the hash", c.PasswordHash, "")
	}},
}
