// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var updating = []test{
	{"an update writes the roles only, when only they are named", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, writing(user.FieldRoles), roles("viewer"), inactive))
		s.unchangedBut(t, "alice", before, "roles", "updated_at")
		expect(t, "the roles", s.observe(t, "alice").Row.Roles, []string{"viewer"})
	}},
	{"an update writes active only, when only it is named", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, writing(user.FieldActive), roles("viewer"), inactive))
		s.unchangedBut(t, "alice", before, "active", "updated_at")
	}},
	{"an update that names nothing notes the generation and leaves the row byte for byte", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, roles("viewer"), inactive, func(c *user.Change) { c.Deletion = "Retain" }))
		s.unchangedBut(t, "alice", before)
		note := s.observe(t, "alice").Ownership
		expect(t, "the generation", note.Generation, 2)
		expect(t, "the deletion policy", note.Deletion, "Retain")
		expect(t, "the noted hash", note.PasswordHash, firstHash)
		expect(t, "the time of the password", note.PasswordChangedAt, o.Ownership.PasswordChangedAt)
	}},
	{"every change gets a revision of its own", func(t *testing.T, s *subject) {
		o := s.created(t)
		seen := map[int64]bool{o.Ownership.Revision: true}
		for _, verb := range []user.Verb{user.Update, user.Update, user.Deactivate} {
			s.apply(t, next(verb, o))
			o = s.observe(t, "alice")
			if seen[o.Ownership.Revision] {
				t.Errorf("revision %d came twice", o.Ownership.Revision)
			}
			seen[o.Ownership.Revision] = true
		}
	}},
	{"a counter, a lock and a last login survive every update that does not clear them", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.LogIn(t, "alice")
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, writing(user.FieldRoles, user.FieldActive), roles("viewer"), inactive))
		s.unchangedBut(t, "alice", before, "roles", "active", "updated_at")
		after := s.observe(t, "alice")
		expect(t, "locked", after.Locked(), true)
		expect(t, "the counter", after.Row.FailedLoginAttempts, 5)
		near(t, "the last login", after.Row.LastLogin, s.Other.Now(t))
	}},
	{"unlocking by request clears the lock and the counter, and nothing else, and is noted", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.LogIn(t, "alice")
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, clearingLockout, unlock("monday")))
		s.unchangedBut(t, "alice", before, "failed_login_attempts", "locked_until", "updated_at")
		after := s.observe(t, "alice")
		expect(t, "the counter", after.Row.FailedLoginAttempts, 0)
		expect(t, "the lock", after.Row.LockedUntil, nil)
		expect(t, "the unlock that was handled", after.Ownership.UnlockHandled, "monday")

		s.apply(t, next(user.Update, after))
		expect(t, "the unlock that was handled", s.observe(t, "alice").Ownership.UnlockHandled, "monday")
	}},
	{"another password is written and noted with its time", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		p := user.PasswordChange{Hash: secondHash, Version: "v2", Weak: true, New: true}
		s.apply(t, next(user.Update, o, password(p), writing(user.FieldPasswordHash)))
		s.unchangedBut(t, "alice", before, "password_hash", "updated_at")
		after := s.observe(t, "alice")
		expect(t, "the hash", after.Row.PasswordHash, secondHash)
		expect(t, "the noted hash", after.Ownership.PasswordHash, secondHash)
		expect(t, "the version", after.Ownership.PasswordVersion, "v2")
		expect(t, "weak", after.Ownership.PasswordWeak, true)
		near(t, "the time of the password", after.Ownership.PasswordChangedAt, s.Other.Now(t))
		if !after.Ownership.PasswordChangedAt.After(*o.Ownership.PasswordChangedAt) {
			t.Error("the time of the password is still the first one's")
		}
	}},
	{"another version of the same password is noted without touching the row or the time", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, password(user.PasswordChange{Hash: firstHash, Version: "v2"})))
		s.unchangedBut(t, "alice", before)
		after := s.observe(t, "alice").Ownership
		expect(t, "the version", after.PasswordVersion, "v2")
		expect(t, "the noted hash", after.PasswordHash, firstHash)
		expect(t, "the time of the password", after.PasswordChangedAt, o.Ownership.PasswordChangedAt)
	}},
	{"a password that another program changed is restored, and the time stays", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetHash(t, "alice", &secondHash)
		expect(t, "the hash", s.observe(t, "alice").Row.PasswordHash, secondHash)
		p := user.PasswordChange{Hash: firstHash, Version: "v1"}
		s.apply(t, next(user.Update, o, password(p), writing(user.FieldPasswordHash)))
		after := s.observe(t, "alice")
		expect(t, "the hash", after.Row.PasswordHash, firstHash)
		expect(t, "the time of the password", after.Ownership.PasswordChangedAt, o.Ownership.PasswordChangedAt)
	}},
	{"a password that is no longer ours is forgotten, and the row keeps it", func(t *testing.T, s *subject) {
		o := s.created(t)
		before := s.Other.Columns(t, "alice")
		s.apply(t, next(user.Update, o, password(user.PasswordChange{})))
		s.unchangedBut(t, "alice", before)
		note := s.observe(t, "alice").Ownership
		expect(t, "the version", note.PasswordVersion, "")
		expect(t, "the noted hash", note.PasswordHash, "")
		expect(t, "the time of the password", note.PasswordChangedAt, nil)
		expect(t, "the suspicion", note.PasswordSuspicion, "")
	}},
	{"what is suspected of a password is noted with it, and whether anybody looked", func(t *testing.T, s *subject) {
		o := s.created(t)
		expect(t, "unjudged", o.Ownership.PasswordUnchecked, false)
		p := user.PasswordChange{Hash: firstHash, Version: "v1", Suspicion: "base64"}
		s.apply(t, next(user.Update, o, password(p)))
		after := s.observe(t, "alice")
		expect(t, "the suspicion", after.Ownership.PasswordSuspicion, "base64")
		s.apply(t, next(user.Update, after, roles("admin"), writing(user.FieldRoles)))
		after = s.observe(t, "alice")
		expect(t, "the suspicion", after.Ownership.PasswordSuspicion, "base64")
		expect(t, "unjudged", after.Ownership.PasswordUnchecked, false)

		// An older version wrote it, and it is restored before it was observed.
		s.apply(t, next(user.Update, after, password(user.PasswordChange{Hash: firstHash, Version: "v1", Unchecked: true})))
		after = s.observe(t, "alice")
		expect(t, "unjudged", after.Ownership.PasswordUnchecked, true)
		expect(t, "the suspicion", after.Ownership.PasswordSuspicion, "")
		s.apply(t, next(user.Update, after, password(user.PasswordChange{Hash: firstHash, Version: "v2"})))
		expect(t, "unjudged", s.observe(t, "alice").Ownership.PasswordUnchecked, false)
	}},
	{"the digest of a password is noted with it, and goes with it", func(t *testing.T, s *subject) {
		o := s.created(t)
		expect(t, "the digest", o.Ownership.PasswordDigest, "")
		s.apply(t, next(user.Update, o, password(user.PasswordChange{Hash: firstHash, Version: "v2", Digest: "digest"})))
		o = s.observe(t, "alice")
		expect(t, "the digest", o.Ownership.PasswordDigest, "digest")
		s.apply(t, next(user.Update, o, roles("admin"), writing(user.FieldRoles)))
		o = s.observe(t, "alice")
		expect(t, "the digest", o.Ownership.PasswordDigest, "digest")
		s.apply(t, next(user.Update, o, password(user.PasswordChange{})))
		o = s.observe(t, "alice")
		expect(t, "the digest", o.Ownership.PasswordDigest, "")
		s.apply(t, next(user.Update, o, password(user.PasswordChange{Hash: firstHash, Version: "v3", Digest: "digest"})))
		s.apply(t, next(user.Release, s.observe(t, "alice")))
		expect(t, "the digest of a released one", s.observe(t, "alice").Ownership.PasswordDigest, "")
	}},
	{"a new password with a clean counter is one change", func(t *testing.T, s *subject) {
		o := s.created(t)
		for range 5 {
			s.Other.Fail(t, "alice")
		}
		p := user.PasswordChange{Hash: secondHash, Version: "v2", New: true}
		s.apply(t, next(user.Update, o, password(p), writing(user.FieldPasswordHash), clearingLockout))
		after := s.observe(t, "alice")
		expect(t, "the hash", after.Row.PasswordHash, secondHash)
		expect(t, "locked", after.Locked(), false)
	}},
	{"a plan that rests on an older note is a conflict", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o))
		for _, verb := range []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release} {
			s.conflicts(t, next(verb, o, writing(user.FieldRoles), roles("viewer"), generation(9)))
		}
	}},
	{"an older generation of the same owner is a conflict, also on the ownership record as it is now", func(t *testing.T, s *subject) {
		o := s.created(t, generation(5))
		for _, verb := range []user.Verb{user.Update, user.Deactivate, user.Release} {
			s.conflicts(t, next(verb, o, generation(4), writing(user.FieldRoles), roles("viewer")))
		}
		s.conflicts(t, adoption("alice", o.Ownership.Revision, generation(4)))
		s.apply(t, next(user.Update, o, generation(5), writing(user.FieldRoles), roles("viewer")))
	}},
	{"a change by another owner is a conflict, also on the ownership record as it is now", func(t *testing.T, s *subject) {
		o := s.created(t)
		for _, verb := range []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release} {
			s.conflicts(t, next(verb, o, by(stranger), writing(user.FieldRoles), roles("viewer")))
			s.conflicts(t, next(verb, o, by(remade), writing(user.FieldRoles), roles("viewer")))
		}
	}},
	{"an update of a row that vanished is a conflict and notes nothing", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Delete(t, "alice")
		s.conflicts(t, next(user.Update, o, writing(user.FieldRoles), roles("viewer")))
		s.conflicts(t, next(user.Update, o, clearingLockout, unlock("monday")))
	}},
	{"an update of a row that nobody owns is a conflict", func(t *testing.T, s *subject) {
		change := next(user.Update, user.Observed{Ownership: &user.Ownership{}}, writing(user.FieldRoles))
		s.conflicts(t, change)
		s.apply(t, next(user.Release, s.created(t)))
		change.Revision, change.Generation = s.revision(t, "alice"), 9
		s.conflicts(t, change)
	}},
	{"malformed roles are restored", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetRoles(t, "alice", `{"admin": true}`)
		s.apply(t, next(user.Update, o, writing(user.FieldRoles)))
		row := s.observe(t, "alice").Row
		expect(t, "malformed", row.RolesMalformed, false)
		expect(t, "the roles", row.Roles, []string{"operator"})
	}},
	{"the verb nothing does nothing", func(t *testing.T, s *subject) {
		s.apply(t, user.Change{Verb: user.Nothing, Username: "alice", Owner: alice})
		expect(t, "the ownership record", s.observe(t, "alice").Ownership, nil)
	}},
	{"an updated row says when", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o, writing(user.FieldRoles), roles("viewer")))
		updated, ok := s.Other.Columns(t, "alice")["updated_at"].(time.Time)
		if !ok {
			return // this store keeps no such column
		}
		near(t, "updated_at", &updated, s.Other.Now(t))
	}},
}
