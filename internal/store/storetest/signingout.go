// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func signOut(request string) func(*user.Change) { return func(c *user.Change) { c.SignOut = request } }

// signedOut returns the time of the last sign-out of alice.
func (s *subject) signedOut(t *testing.T) time.Time {
	t.Helper()
	at := s.observe(t, "alice").Ownership.SignedOutAt
	if at == nil {
		t.Fatal("no sign-out is recorded")
	}
	return *at
}

// signingOut is about sign-outs, which tokens are bound to.
var signingOut = []test{
	{"a sign-out is recorded with its time, and a charge has it", func(t *testing.T, s *subject) {
		o := s.created(t)
		if charged := s.verdict(t); charged.SignedOutAt != nil {
			t.Errorf("a charge before has the sign-out %v", charged.SignedOutAt)
		}
		before := s.Other.Now(t).Truncate(time.Second)
		s.apply(t, next(user.Update, o, signOut("monday")))
		after := s.observe(t, "alice")
		expect(t, "the request", after.Ownership.SignOutHandled, "monday")
		at := s.signedOut(t)
		if at.Before(before) || at.Nanosecond() != 0 || at.After(s.Other.Now(t)) {
			t.Errorf("the sign-out is at %v, after %v", at, before)
		}
		charged := s.verdict(t)
		if charged.SignedOutAt == nil || !charged.SignedOutAt.Equal(at) {
			t.Errorf("a charge has the sign-out %v, want %v", charged.SignedOutAt, at)
		}
	}},
	{"each sign-out is later than the one before, also within a second", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Update, s.created(t), signOut("a")))
		for _, request := range []string{"b", "a"} {
			before := s.signedOut(t)
			s.apply(t, next(user.Update, s.observe(t, "alice"), signOut(request)))
			if at := s.signedOut(t); !at.After(before) {
				t.Errorf("the sign-out %q is at %v, not after %v", request, at, before)
			}
		}
	}},
	{"a sign-out stays over other changes, and clears no lock", func(t *testing.T, s *subject) {
		o := s.created(t)
		for range 5 {
			s.verdict(t)
		}
		s.apply(t, next(user.Update, o, signOut("monday")))
		at := s.signedOut(t)
		s.apply(t, next(user.Update, s.observe(t, "alice"), writing(user.FieldRoles)))
		o = s.observe(t, "alice")
		expect(t, "the request", o.Ownership.SignOutHandled, "monday")
		expect(t, "its time", s.signedOut(t), at)
		expect(t, "the lock", o.Locked(), true)
	}},
	{"the time of a sign-out outlives the owner, so that tokens of the same hash stay refused", func(t *testing.T, s *subject) {
		s.apply(t, next(user.Update, s.created(t), signOut("monday")))
		at := s.signedOut(t)
		s.apply(t, next(user.Delete, s.observe(t, "alice")))
		expect(t, "after the deletion", s.signedOut(t), at)
		again := next(user.Create, s.observe(t, "alice"))
		again.Owner.UID = "another"
		s.apply(t, again)
		o := s.observe(t, "alice")
		expect(t, "after the next creation", s.signedOut(t), at)
		expect(t, "its request", o.Ownership.SignOutHandled, "")
	}},
}
