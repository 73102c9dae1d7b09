// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// entry is what a test expects of a recorded change of alice.
type entry struct {
	action             user.Action
	oldRoles, newRoles []string
	oldActive          *bool
	newActive          *bool
	password           bool
}

var (
	yes, no  = true, false
	operator = []string{"operator"}
	admin    = []string{"admin"}
)

// recorded expects the changes of all accounts, the latest last.
func (s *subject) recorded(t *testing.T, want ...entry) []store.AccountChange {
	t.Helper()
	changes, err := s.Store.Changes(t.Context(), store.ChangeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]entry, 0, len(changes))
	for i := range changes {
		c := changes[len(changes)-1-i]
		got = append(got, entry{c.Action, c.OldRoles, c.NewRoles, c.OldActive, c.NewActive, c.PasswordChanged})
	}
	if want == nil {
		want = []entry{}
	}
	expectEntries(t, got, want)
	return changes
}

func expectEntries(t *testing.T, got, want []entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d changes are recorded, want %d: %+v", len(got), len(want), got)
		return
	}
	for i := range got {
		expect(t, "the action", got[i].action, want[i].action)
		expect(t, "the old roles of "+string(want[i].action), got[i].oldRoles, want[i].oldRoles)
		expect(t, "the new roles of "+string(want[i].action), got[i].newRoles, want[i].newRoles)
		expect(t, "the old activity of "+string(want[i].action), got[i].oldActive, want[i].oldActive)
		expect(t, "the new activity of "+string(want[i].action), got[i].newActive, want[i].newActive)
		expect(t, "whether the password changed by "+string(want[i].action), got[i].password, want[i].password)
	}
}

func drift(fields ...user.Field) func(*user.Change) {
	return func(c *user.Change) { c.Write, c.Origin.Drift = append(c.Write, fields...), fields }
}

func origin(o user.Origin) func(*user.Change) { return func(c *user.Change) { c.Origin = o } }

// creates is the entry of the first change of alice.
var creates = entry{user.ActionCreated, nil, operator, nil, &yes, true}

var changing = []test{
	{"each change of an account leaves one record, with the values before and after", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o, roles("admin"), writing(user.FieldRoles)))
		o = s.observe(t, "alice")
		s.apply(t, next(user.Update, o, roles("admin"), inactive, writing(user.FieldActive, user.FieldPasswordHash)))
		o = s.observe(t, "alice")
		s.apply(t, next(user.Update, o, roles("admin"), writing(user.FieldActive, user.FieldPasswordHash),
			password(user.PasswordChange{Hash: secondHash, Version: "v2", New: true})))
		s.apply(t, next(user.Delete, s.observe(t, "alice")))
		s.recorded(t, creates,
			entry{user.ActionRoles, operator, admin, &yes, &yes, false},
			entry{user.ActionDeactivated, admin, admin, &yes, &no, false},
			entry{user.ActionUpdated, admin, admin, &no, &yes, true},
			entry{user.ActionDeleted, admin, nil, &yes, nil, false})
	}},
	{"a record names the resource, its generation, who asked and why", func(t *testing.T, s *subject) {
		s.created(t, by(ordered), generation(7), origin(user.Origin{Managers: user.Managers{Spec: "argo\u200bcd"}}))
		changes := s.recorded(t, creates)
		if len(changes) != 1 {
			return
		}
		c := changes[0]
		expect(t, "the username", c.Username, "alice")
		expect(t, "the resource", c.Owner, ordered)
		expect(t, "the generation", c.Generation, 7)
		expect(t, "the manager", c.Manager, `argo\u200bcd`)
		near(t, "the time", &c.Time, s.Other.Now(t))

		o := s.observe(t, "alice")
		s.apply(t, next(user.Update, o, by(ordered), generation(7), unlock("monday"), clearingLockout,
			origin(user.Origin{Managers: user.Managers{Unlock: "kubectl"}, UnlockReason: "called\nthe help desk"})))
		changes, err := s.Store.Changes(t.Context(), store.ChangeQuery{Actions: []user.Action{user.ActionUnlocked}})
		if err != nil || len(changes) != 1 {
			t.Fatalf("got %+v, %v, want the unlock", changes, err)
		}
		expect(t, "the manager of the unlock", changes[0].Manager, "kubectl")
		expect(t, "the reason of the unlock", changes[0].Reason, `called\nthe help desk`)
	}},
	{"drift is recorded with what another program wrote, not with what was planned on", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetRoles(t, "alice", `["admin", "root"]`)
		s.apply(t, next(user.Update, o, generation(1), drift(user.FieldRoles)))
		s.recorded(t, creates, entry{user.ActionDrift, []string{"admin", "root"}, operator, &yes, &yes, false})
	}},
	{"roles that are no list are recorded as missing", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetRoles(t, "alice", `{"admin": true}`)
		s.apply(t, next(user.Update, o, generation(1), drift(user.FieldRoles)))
		s.recorded(t, creates, entry{user.ActionDrift, nil, operator, &yes, &yes, false})
	}},
	{"a hash of another program that is corrected is a changed password, and a disabled hash is none", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.SetHash(t, "alice", &secondHash)
		s.apply(t, next(user.Update, o, generation(1), drift(user.FieldPasswordHash), password(user.PasswordChange{Hash: firstHash, Version: "v1"})))
		s.apply(t, next(user.Deactivate, s.observe(t, "alice")))
		s.recorded(t, creates,
			entry{user.ActionDrift, operator, operator, &yes, &yes, true},
			entry{user.ActionDeactivated, operator, operator, &yes, &no, false})
	}},
	{"a sign-out leaves a record, though the row stays as it is", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o, func(c *user.Change) { c.SignOut, c.Origin.Managers.SignOut = "monday", "kubectl" }))
		changes := s.recorded(t, creates, entry{user.ActionSignedOut, operator, operator, &yes, &yes, false})
		if len(changes) > 0 {
			expect(t, "the manager", changes[0].Manager, "kubectl")
		}
		o = s.observe(t, "alice")
		s.apply(t, next(user.Update, o, roles("admin"), writing(user.FieldRoles), func(c *user.Change) { c.SignOut = "tuesday" }))
		s.recorded(t, creates, entry{user.ActionSignedOut, operator, operator, &yes, &yes, false},
			entry{user.ActionUpdated, operator, admin, &yes, &yes, false})
	}},
	{"a change of the record alone, or of nothing, leaves none", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o, password(user.PasswordChange{Hash: firstHash, Version: "v2"})))
		o = s.observe(t, "alice")
		s.apply(t, next(user.Update, o, func(c *user.Change) { c.Lockout.Attempts = 3 }))
		o = s.observe(t, "alice")
		s.apply(t, next(user.Update, o, writing(user.FieldRoles))) // another program was faster
		s.recorded(t, creates)
	}},
	{"a change that comes too late leaves none", func(t *testing.T, s *subject) {
		o := s.created(t)
		edit := next(user.Update, o, roles("admin"), writing(user.FieldRoles))
		s.apply(t, edit)
		s.conflicts(t, edit)
		s.conflicts(t, next(user.Delete, o))
		s.conflicts(t, creation("alice", 0))
		s.recorded(t, creates, entry{user.ActionRoles, operator, admin, &yes, &yes, false})
	}},
	{"of changes that are planned at once, the one that is made leaves a record", func(t *testing.T, s *subject) {
		o := s.created(t)
		made := parallel(t, 8, func(i int) error {
			return s.try(t.Context(), next(user.Update, o, roles("admin"), generation(int64(i+2)), writing(user.FieldRoles)))
		})
		expect(t, "the changes that were made", made, 1)
		s.recorded(t, creates, entry{user.ActionRoles, operator, admin, &yes, &yes, false})
	}},
	{"a row that is adopted, released, adopted again and suspended leaves four records", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `["operator"]`, Active: true})
		s.apply(t, adoption("alice", 0))
		s.apply(t, next(user.Release, s.observe(t, "alice")))
		s.apply(t, adoption("alice", s.revision(t, "alice"), generation(3)))
		s.apply(t, user.Suspension("alice", s.observe(t, "alice"), nil))
		unchanged := func(action user.Action) entry { return entry{action, operator, operator, &yes, &yes, false} }
		s.recorded(t, unchanged(user.ActionAdopted), unchanged(user.ActionReleased), unchanged(user.ActionAdopted),
			entry{user.ActionSuspended, operator, operator, &yes, &no, false})
	}},
	{"a row that another program deleted is recorded as drift, and as deleted without values", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.Other.Delete(t, "alice")
		s.apply(t, creation("alice", o.Ownership.Revision, func(c *user.Change) { c.Origin.Drift = []user.Field{user.FieldRow} }))
		s.Other.Delete(t, "alice")
		s.apply(t, next(user.Delete, s.observe(t, "alice")))
		s.recorded(t, creates, entry{user.ActionDrift, nil, operator, nil, &yes, true}, entry{user.ActionDeleted, nil, nil, nil, nil, false})
	}},
	{"an owner that is gone and never owned the row leaves none", func(t *testing.T, s *subject) {
		s.apply(t, user.Change{Verb: user.Bury, Username: "alice", Owner: alice, Generation: 1, Deletion: "Delete"})
		s.recorded(t)
	}},
	{"changes are selected by username, action, age, ID and number", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, creation("bob", 0, by(stranger)))
		s.apply(t, next(user.Update, o, roles("admin"), writing(user.FieldRoles)))
		of := func(query store.ChangeQuery) (names []string) {
			changes, err := s.Store.Changes(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				names = append(names, c.Username+" "+string(c.Action))
			}
			return names
		}
		all := []string{"alice roles", "bob created", "alice created"}
		expect(t, "all", of(store.ChangeQuery{Since: time.Hour}), all)
		expect(t, "those of alice", of(store.ChangeQuery{Username: "alice"}), []string{"alice roles", "alice created"})
		expect(t, "the created ones", of(store.ChangeQuery{Actions: []user.Action{user.ActionCreated, user.ActionDeleted}}), all[1:])
		expect(t, "the latest", of(store.ChangeQuery{Limit: 1}), all[:1])
		expect(t, "those of another", of(store.ChangeQuery{Username: "Alice"}), nil)
		expect(t, "those of a name that nobody can have", of(store.ChangeQuery{Username: "al\x00ice"}), nil)
		latest, err := s.Store.Changes(t.Context(), store.ChangeQuery{Limit: 1})
		if err != nil || len(latest) != 1 {
			t.Fatal(latest, err)
		}
		expect(t, "those before the latest", of(store.ChangeQuery{Before: latest[0].ID}), all[1:])
		s.Other.Age(t, 2*time.Hour)
		expect(t, "those of the last hour", of(store.ChangeQuery{Since: time.Hour}), nil)
	}},
	{"attempts are selected by username, outcome, age, ID and number", func(t *testing.T, s *subject) {
		s.created(t)
		s.apply(t, creation("bob", 0, by(stranger)))
		for _, username := range []string{"alice", "bob", "alice"} {
			charged, err := s.Store.Charge(t.Context(), store.Attempt{Username: username, Source: "192.0.2.1"}, limits)
			if err != nil {
				t.Fatal(err)
			}
			if username == "bob" {
				if _, err := s.Store.Settle(t.Context(), charged, false); err != nil {
					t.Fatal(err)
				}
			}
		}
		read := func(trail store.Trail) []store.CountedRecord {
			t.Helper()
			records, err := s.Store.ReadAttempts(t.Context(), trail)
			if err != nil {
				t.Fatal(err)
			}
			return records
		}
		of := func(trail store.Trail) (names []string) {
			t.Helper()
			for _, r := range read(trail) {
				names = append(names, r.Username+" "+string(r.Outcome))
				expect(t, "the number of attempts", r.Attempts, 1)
				expect(t, "the source", r.Source, "192.0.2.1")
			}
			return names
		}
		all := []string{"alice pending", "bob failed", "alice pending"}
		expect(t, "all", of(store.Trail{Since: time.Hour}), all)
		expect(t, "those of alice", of(store.Trail{Username: "alice"}), []string{all[0], all[2]})
		expect(t, "the failed ones", of(store.Trail{Outcomes: []store.Outcome{store.Failed, store.RefusedLocked}}), all[1:2])
		expect(t, "the latest", of(store.Trail{Limit: 1}), all[:1])
		expect(t, "those before the latest", of(store.Trail{Before: read(store.Trail{Limit: 1})[0].ID}), all[1:])
		expect(t, "those of a name that nobody can have", of(store.Trail{Username: "al\x00ice"}), nil)
		s.Other.Age(t, 2*time.Hour)
		expect(t, "those of the last hour", of(store.Trail{Since: time.Hour}), nil)
	}},
	{"old changes are deleted in batches", func(t *testing.T, s *subject) {
		for _, username := range []string{"a", "b", "c"} {
			s.apply(t, creation(username, 0))
		}
		s.Other.Age(t, 2*time.Hour)
		s.apply(t, creation("d", 0))
		for _, want := range []int{2, 1, 0} {
			purged, err := s.Store.PurgeChanges(t.Context(), time.Hour, 2)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, "the purged changes", purged, want)
		}
		s.recorded(t, creates)
	}},
}
