// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// sparing is about the last users that hold a role.
var sparing = []test{
	{"the last active holder of a role is not demoted, deactivated or deleted", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin", "viewer"))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `["viewer", "administrator"]`, Active: true})
		s.Other.Insert(t, "carol", Row{Hash: firstHash, Roles: `["admin"]`, Active: false})
		s.Other.Insert(t, "dave", Row{Hash: firstHash, Roles: `{"admin": true}`, Active: true})
		s.Other.Insert(t, "erin", Row{Hash: firstHash, Roles: `"admin"`, Active: true})
		for _, change := range []user.Change{
			next(user.Update, o, writing(user.FieldRoles), roles("viewer"), endangering("admin")),
			next(user.Update, o, writing(user.FieldActive), inactive, endangering("admin")),
			next(user.Deactivate, o, endangering("admin")),
			next(user.Delete, o, endangering("admin")),
			next(user.Delete, o, endangering("viewer", "admin")),
		} {
			s.isSpared(t, change)
		}
	}},
	{"it is, once there is a second one of any program", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin"))
		for _, verb := range []user.Verb{user.Update, user.Deactivate, user.Delete} {
			s.isSpared(t, next(verb, o, writing(user.FieldRoles), roles(), endangering("admin")))
		}
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `["viewer", "admin"]`, Active: true})
		s.apply(t, next(user.Update, o, writing(user.FieldRoles), roles(), endangering("admin")))
		expect(t, "the roles", len(s.observe(t, "alice").Row.Roles), 0)
	}},
	{"each of several roles needs a holder of its own", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin", "auditor"))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `["admin"]`, Active: true})
		both := next(user.Delete, o, endangering("admin", "auditor"))
		s.isSpared(t, both)
		s.Other.Insert(t, "carol", Row{Hash: firstHash, Roles: `["auditor"]`, Active: true})
		s.apply(t, both)
	}},
	{"the last holder that is taken over is spared, too", func(t *testing.T, s *subject) {
		s.Other.Insert(t, "alice", Row{Hash: firstHash, Roles: `["admin"]`, Active: true})
		s.isSpared(t, adoption("alice", 0, endangering("admin")))
	}},
	{"what endangers nobody is not asked about", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin"))
		s.apply(t, next(user.Delete, o))
	}},
	{"a late plan is a conflict, whatever other user holds the role", func(t *testing.T, s *subject) {
		o := s.created(t, roles("admin"))
		s.Other.Insert(t, "bob", Row{Hash: firstHash, Roles: `["admin"]`, Active: true})
		s.apply(t, next(user.Update, o))
		s.conflicts(t, next(user.Delete, o, endangering("admin")))
	}},
	{"of many that are demoted at once one keeps the role", func(t *testing.T, s *subject) {
		const holders = 12
		for round := range 3 {
			changes := make([]user.Change, holders)
			for i := range changes {
				username := fmt.Sprintf("holder-%d-%02d", round, i)
				owned := func(c *user.Change) { c.Owner.Name, c.Owner.UID = username, username }
				s.apply(t, creation(username, 0, owned, roles("admin")))
				o := s.observe(t, username)
				verb := []user.Verb{user.Update, user.Deactivate, user.Delete}[i%3]
				changes[i] = next(verb, o, owned, writing(user.FieldRoles), roles(), endangering("admin"))
				changes[i].Username = username
			}
			errs := make([]error, holders)
			parallel(t, holders, func(i int) error {
				for errs[i] = store.ErrConflict; errors.Is(errs[i], store.ErrConflict); { // a deadlock, say
					errs[i] = s.try(t.Context(), changes[i])
				}
				return nil
			})
			spared := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, store.ErrLastHolder) })
			for i, err := range errs {
				if err != nil && i != spared {
					t.Errorf("%d: %v", i, err)
				}
			}
			if spared < 0 {
				t.Fatal("nobody was spared")
			}
			expect(t, "the roles of who was spared", s.observe(t, changes[spared].Username).Row.Roles, []string{"admin"})
			s.Other.Delete(t, changes[spared].Username)
		}
	}},
}

func endangering(roles ...string) func(*user.Change) {
	return func(c *user.Change) { c.Endangered = roles }
}

// isSpared expects that a change is rejected since no other user holds the role, and that it changed nothing.
func (s *subject) isSpared(t *testing.T, change user.Change) {
	t.Helper()
	row, note := s.Other.Columns(t, change.Username), s.observe(t, change.Username).Ownership
	if err := s.try(t.Context(), change); !errors.Is(err, store.ErrLastHolder) {
		t.Errorf("%s %q: want the last holder to be spared, got: %v", change.Verb, change.Username, err)
	}
	if !reflect.DeepEqual(s.Other.Columns(t, change.Username), row) {
		t.Errorf("%s %q: the row changed", change.Verb, change.Username)
	}
	expect(t, "the ownership record", s.observe(t, change.Username).Ownership, note)
}
