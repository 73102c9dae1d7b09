// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// leaving is about accounts whose owner is gone.
var leaving = []test{
	{"an account whose owner is gone is suspended, and its record stays as it is", func(t *testing.T, s *subject) {
		for _, state := range []user.OwnershipState{user.Owned, user.Released} {
			username := string(state)
			s.apply(t, creation(username, 0, generation(7)))
			if state == user.Released {
				s.apply(t, next(user.Release, s.observe(t, username), named(username)))
			}
			before, o := s.Other.Columns(t, username), s.observe(t, username)
			s.apply(t, user.Suspension(username, o, nil))
			s.unchangedBut(t, username, before, "active", "password_hash", "updated_at")
			after := s.observe(t, username)
			expect(t, "active", after.Row.Active, false)
			expect(t, "the hash", after.Row.PasswordHash, user.DisabledHash(firstHash))
			want := *o.Ownership
			want.Suspended, want.Revision = true, after.Ownership.Revision
			expect(t, "the record", *after.Ownership, want)
		}
	}},
	{"a suspended account can be taken up by a resource of its former place", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, user.Suspension("alice", o, nil))
		s.apply(t, adoption("alice", s.revision(t, "alice"), by(remade)))
		after := s.observe(t, "alice")
		expect(t, "active", after.Row.Active, true)
		expect(t, "suspended", after.Ownership.Suspended, false)
		expect(t, "owned", after.OwnedBy(remade), true)
	}},
	{"a suspension that comes too late changes nothing", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.apply(t, next(user.Update, o))
		s.conflicts(t, user.Suspension("alice", o, nil))
		another := s.observe(t, "alice")
		another.Ownership.Owner = stranger
		s.conflicts(t, user.Suspension("alice", another, nil))
		gone := s.observe(t, "alice")
		s.apply(t, next(user.Delete, gone))
		s.conflicts(t, user.Suspension("alice", gone, nil))
	}},
	{"the last holder of a role is not suspended", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin"))
		s.isSpared(t, user.Suspension("alice", o, []string{"admin", "auditor"}))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `["admin"]`, Active: true})
		s.apply(t, user.Suspension("alice", o, []string{"admin", "auditor"}))
	}},
	{"Released lists the released records of one cluster whose rows are active", func(t *testing.T, s *subject) {
		elsewhere := user.Owner{Cluster: "cluster-2", Namespace: "team-a", Name: "far", UID: "uid-9"}
		var want []store.Owned
		for _, username := range []string{"a", "b", "c"} {
			want = append(want, store.Owned{Username: username, Owner: alice, RowExists: true, Active: true})
		}
		for _, username := range []string{"a", "b", "c", "inactive", "rowless"} {
			s.apply(t, creation(username, 0))
			s.apply(t, next(user.Release, s.observe(t, username), named(username)))
		}
		s.apply(t, creation("far", 0, by(elsewhere)))
		s.apply(t, next(user.Release, s.observe(t, "far"), named("far"), by(elsewhere)))
		s.apply(t, creation("owned", 0))
		s.Other.SetActive(t, "inactive", new(false))
		s.Other.Delete(t, "rowless")

		expectReleased(t, s, "", 2, want[:2]...)
		expectReleased(t, s, "b", 2, want[2:]...)
		expectReleased(t, s, "c", 2)
		if s.Nullable {
			s.Other.SetActive(t, "c", nil)
			expectReleased(t, s, "b", 2)
		}
	}},
}

func expectReleased(t *testing.T, s *subject, after string, limit int, want ...store.Owned) {
	t.Helper()
	got, err := s.Store.Released(t.Context(), store.Scope{Cluster: alice.Cluster}, after, limit)
	if err != nil {
		t.Fatalf("Released after %q: %v", after, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Released after %q: got %s, want %s", after, fmt.Sprint(got), fmt.Sprint(want))
	}
}
