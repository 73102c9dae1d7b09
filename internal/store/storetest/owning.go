// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var owning = []test{
	{"Owned lists the records of one cluster that are owned, with the state of their rows", func(t *testing.T, s *subject) {
		elsewhere := user.Owner{Cluster: "cluster-2", Namespace: "team-a", Name: "far", UID: "uid-9"}
		s.apply(t, creation("active", 0))
		s.apply(t, creation("inactive", 0, inactive))
		s.apply(t, creation("rowless", 0))
		s.apply(t, creation("far", 0, by(elsewhere)))
		s.apply(t, creation("released", 0))
		s.apply(t, creation("deleted", 0))
		s.Other.Delete(t, "rowless")
		for username, verb := range map[string]user.Verb{"released": user.Release, "deleted": user.Delete} {
			change := next(verb, s.observe(t, username))
			change.Username = username
			s.apply(t, change)
		}
		s.Other.Insert(t, "unowned", Row{Hash: firstHash, Roles: "[]", Active: true})

		expectOwned(t, s, "", 10,
			store.Owned{Username: "active", Owner: alice, RowExists: true, Active: true},
			store.Owned{Username: "inactive", Owner: alice, RowExists: true},
			store.Owned{Username: "rowless", Owner: alice})
	}},

	{"Owned and Released list the records of one system", func(t *testing.T, s *subject) {
		s.apply(t, creation("default", 0))
		s.apply(t, creation("ordered", 0, by(ordered)))
		s.apply(t, creation("left", 0, by(ordered)))
		s.apply(t, next(user.Release, s.observe(t, "left"), named("left"), by(ordered)))

		expectOwned(t, s, "", 10, store.Owned{Username: "default", Owner: alice, RowExists: true, Active: true})
		expectReleased(t, s, "", 10)
		orders := store.Scope{Cluster: alice.Cluster, System: "orders"}
		owned, err := s.Store.Owned(t.Context(), orders, "", 10)
		if want := []store.Owned{{Username: "ordered", Owner: ordered, RowExists: true, Active: true}}; err != nil || !slices.Equal(owned, want) {
			t.Errorf("Owned of the system: got %+v, %v, want %+v", owned, err, want)
		}
		released, err := s.Store.Released(t.Context(), orders, "", 10)
		if want := []store.Owned{{Username: "left", Owner: ordered, RowExists: true, Active: true}}; err != nil || !slices.Equal(released, want) {
			t.Errorf("Released of the system: got %+v, %v, want %+v", released, err, want)
		}
	}},

	{"a row of another system is not taken over, not even by a resource of the same namespace and name", func(t *testing.T, s *subject) {
		o := s.created(t)
		s.conflicts(t, adoption("alice", o.Ownership.Revision, by(ordered)))
		expect(t, "the owner", s.observe(t, "alice").Ownership.Owner, alice)
	}},

	{"an update records the system of its owner", func(t *testing.T, s *subject) {
		o := s.created(t) // as by an operator that does not know systems
		same := alice
		same.System = "orders"
		s.apply(t, next(user.Update, o, by(same)))
		expect(t, "the owner", s.observe(t, "alice").Ownership.Owner, same)
	}},

	{"Owned pages from one username to the next", func(t *testing.T, s *subject) {
		var all []store.Owned
		for i := range 5 {
			username := fmt.Sprintf("user-%d", i)
			s.apply(t, creation(username, 0))
			all = append(all, store.Owned{Username: username, Owner: alice, RowExists: true, Active: true})
		}
		expectOwned(t, s, "", 2, all[:2]...)
		expectOwned(t, s, "user-1", 2, all[2:4]...)
		expectOwned(t, s, "user-3", 2, all[4:]...)
		expectOwned(t, s, "user-4", 2)
	}},
}

func expectOwned(t *testing.T, s *subject, after string, limit int, want ...store.Owned) {
	t.Helper()
	got, err := s.Store.Owned(t.Context(), store.Scope{Cluster: alice.Cluster}, after, limit)
	if err != nil {
		t.Fatalf("Owned after %q: %v", after, err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Owned after %q: got %+v, want %+v", after, got, want)
	}
}
