// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var burying = []test{
	{"burying the owner of a name that was never noted leaves its tombstone and no row", func(t *testing.T, s *subject) {
		s.apply(t, burial(0, generation(3), unlock("monday"), password(user.PasswordChange{Hash: firstHash, Version: "v1", New: true})))
		expect(t, "the row exists", s.exists(t, "alice"), false)
		note := s.observe(t, "alice").Ownership
		if note.Revision <= 0 {
			t.Errorf("the revision is %d, want more than 0", note.Revision)
		}
		note.Revision = 0
		expect(t, "the ownership record", note, &user.Ownership{Owner: alice, State: user.Deleted, Generation: 3, Deletion: "Delete"})
	}},
	{"burying leaves a row that nobody owns as it is", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `["viewer"]`, Active: true})
		before := s.Other.Columns(t, "alice")
		s.apply(t, burial(0))
		s.apply(t, burial(s.revision(t, "alice"), by(stranger)))
		s.unchangedBut(t, "alice", before)
	}},
	{"after a burial a creation or an adoption that was under way comes too late", func(t *testing.T, s *subject) {
		s.apply(t, burial(0))
		s.conflicts(t, creation("alice", 0))
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `[]`, Active: true})
		s.conflicts(t, adoption("alice", 0))
		s.conflicts(t, adoption("alice", s.revision(t, "alice")))
	}},
	{"after a creation or an adoption a burial comes too late", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.conflicts(t, burial(0))
		s.conflicts(t, burial(o.Ownership.Revision))
		s.conflicts(t, burial(o.Ownership.Revision, by(stranger), confirmed))
	}},
	{"a tombstone becomes that of the owner who is buried", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Delete, s.created(t, generation(5))))
		before := s.revision(t, "alice")
		s.apply(t, burial(before, by(stranger), func(c *user.Change) { c.Deletion = "Retain" }))
		note := *s.observe(t, "alice").Ownership
		if note.Revision == before {
			t.Error("the revision is the one of before")
		}
		expect(t, "the ownership record", note, user.Ownership{
			Owner: stranger, State: user.Deleted, Generation: 1, Revision: note.Revision, Deletion: "Retain",
		})
		s.conflicts(t, creation("alice", before, by(stranger)))
		s.conflicts(t, creation("alice", note.Revision, by(stranger)))
		s.apply(t, creation("alice", note.Revision, by(remade)))
	}},
	{"of a released name a burial changes only the revision", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Release, s.created(t, unlock("monday"))))
		before := s.observe(t, "alice")
		s.apply(t, burial(before.Ownership.Revision, by(stranger)))
		after := s.observe(t, "alice")
		if after.Ownership.Revision == before.Ownership.Revision {
			t.Error("the revision is the one of before")
		}
		s.conflicts(t, adoption("alice", before.Ownership.Revision, by(stranger)))
		before.Ownership.Revision = after.Ownership.Revision
		expect(t, "the ownership record", after.Ownership, before.Ownership)
		expect(t, "the row", after.Row, before.Row)
	}},
	{"a burial that rests on another note, or on one that is not there, is a conflict", func(t *testing.T, s *subject) {
		s.conflicts(t, burial(7))
		s.apply(t, burial(0))
		old := s.revision(t, "alice")
		s.conflicts(t, burial(0, by(stranger)))
		s.apply(t, burial(old, by(stranger)))
		s.conflicts(t, burial(old, confirmed))
	}},
	{"an older generation of the buried owner is a conflict", func(t *testing.T, s *subject) {
		s.apply(t, burial(0, generation(5)))
		s.conflicts(t, burial(s.revision(t, "alice"), generation(4)))
		s.apply(t, burial(s.revision(t, "alice"), generation(4), confirmed))
		expect(t, "the generation", s.observe(t, "alice").Ownership.Generation, 4)
	}},
	{"of a creation and a burial that rest on one observation, one succeeds", func(t *testing.T, s *subject) {
		for range 20 {
			revision := s.revision(t, "alice")
			succeeded := parallel(t, 2, func(i int) error {
				return s.try(t.Context(), []user.Change{
					creation("alice", revision, by(stranger)), burial(revision, by(stranger)),
				}[i])
			})
			expect(t, "the number that succeeded", succeeded, 1)
			o := s.observe(t, "alice")
			expect(t, "there is a row", o.Row != nil, o.Ownership.State == user.Owned)
			if o.Row != nil {
				s.apply(t, next(user.Delete, o, by(stranger)))
			}
			s.apply(t, burial(s.revision(t, "alice"))) // alice's tombstone does not prevent that of the stranger
		}
	}},
	{"of a creation and a burial of one new name, one succeeds", func(t *testing.T, s *subject) {
		for i := range 20 {
			username := string(rune('a' + i))
			succeeded := parallel(t, 2, func(i int) error {
				return s.try(t.Context(), []user.Change{
					creation(username, 0), burial(0, named(username)),
				}[i])
			})
			expect(t, "the number that succeeded", succeeded, 1)
			o := s.observe(t, username)
			expect(t, "there is a row", o.Row != nil, o.Ownership.State == user.Owned)
		}
	}},
}

var confirming = []test{
	{"a confirmed owner may follow its own tombstone", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Delete, s.created(t, generation(5))))
		s.conflicts(t, creation("alice", s.revision(t, "alice"), generation(2)))
		s.apply(t, creation("alice", s.revision(t, "alice"), generation(2), confirmed))
		o := s.observe(t, "alice")
		expect(t, "owned", o.OwnedBy(alice), true)
		expect(t, "the generation", o.Ownership.Generation, 2)

		s.apply(t, next(user.Delete, o))
		s.Other.Insert(t, "alice", Row{Hash: secondHash, Roles: `[]`, Active: true})
		s.conflicts(t, adoption("alice", s.revision(t, "alice"), generation(9)))
		s.apply(t, adoption("alice", s.revision(t, "alice"), generation(1), confirmed))
		expect(t, "owned", s.observe(t, "alice").OwnedBy(alice), true)
	}},
	{"a confirmed owner may go back to an older generation, whatever it does", func(t *testing.T, s *subject) {
		for _, verb := range []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release, user.Adopt} {
			name := named(string(verb))
			o := s.created(t, name, generation(5))
			s.conflicts(t, next(verb, o, name, generation(4), writing(user.FieldRoles), roles("viewer")))
			s.apply(t, next(verb, o, name, generation(4), writing(user.FieldRoles), roles("viewer"), confirmed))
			if note := s.observe(t, string(verb)).Ownership; note.State != user.Deleted {
				expect(t, "the generation", note.Generation, 4)
			}
		}
	}},
	{"a confirmed owner puts its row back by an older generation", func(t *testing.T, s *subject) {
		o := s.created(t, generation(5))
		s.Other.Delete(t, "alice")
		s.apply(t, creation("alice", o.Ownership.Revision, generation(4), confirmed))
		expect(t, "the generation", s.observe(t, "alice").Ownership.Generation, 4)
	}},
	{"a confirmed change still needs the revision", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o))
		for _, verb := range []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release, user.Adopt, user.Bury} {
			s.conflicts(t, next(verb, o, confirmed))
		}
		s.apply(t, next(user.Delete, s.observe(t, "alice")))
		s.conflicts(t, creation("alice", o.Ownership.Revision, confirmed))
		s.conflicts(t, creation("alice", 0, confirmed))
	}},
	{"a confirmed change still needs the owner", func(t *testing.T, s *subject) {
		o := s.created(t)
		for _, verb := range []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release, user.Adopt, user.Bury} {
			s.conflicts(t, next(verb, o, confirmed, by(stranger)))
		}
		s.Other.Delete(t, "alice")
		s.conflicts(t, creation("alice", o.Ownership.Revision, confirmed, by(stranger)))
	}},
	{"a confirmed change still needs the state", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Release, s.created(t)))
		ended := []user.Verb{user.Update, user.Delete, user.Deactivate, user.Release}
		for _, verb := range ended {
			s.conflicts(t, next(verb, s.observe(t, "alice"), confirmed))
		}
		s.conflicts(t, creation("alice", s.revision(t, "alice"), confirmed)) // the row exists
		s.Other.Delete(t, "alice")
		s.conflicts(t, adoption("alice", s.revision(t, "alice"), confirmed)) // no row exists
		s.apply(t, burial(0, named("bob")))
		for _, verb := range ended {
			s.conflicts(t, next(verb, s.observe(t, "bob"), confirmed, named("bob")))
		}
	}},
}

// burial is a change that buries alice on the record of this revision.
func burial(revision int64, edits ...func(*user.Change)) user.Change {
	return changed(user.Change{
		Verb: user.Bury, Username: "alice", Owner: alice, Generation: 1, Revision: revision, Deletion: "Delete",
	}, edits...)
}

func named(username string) func(*user.Change) { return func(c *user.Change) { c.Username = username } }

func confirmed(c *user.Change) { c.Confirmed = true }
