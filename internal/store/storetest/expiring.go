// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// validUntil has the account end at a time.
func validUntil(at time.Time) func(*user.Change) {
	return func(c *user.Change) { c.ValidUntil = &at }
}

func withheld(by user.Withholding) func(*user.Change) {
	return func(c *user.Change) { c.Withheld = by }
}

// ends returns a time so far from the store's now, in full seconds.
func (s *subject) ends(t *testing.T, in time.Duration) time.Time {
	t.Helper()
	return s.Other.Now(t).Add(in).UTC().Truncate(time.Second)
}

// verdict charges an attempt of alice.
func (s *subject) verdict(t *testing.T) store.Charge {
	t.Helper()
	charged, err := s.Store.Charge(t.Context(), store.Attempt{Username: "alice"}, store.Limits{Attempts: 5, Duration: time.Minute})
	if err != nil {
		t.Fatalf("charge: %v", err)
	}
	return charged
}

// expiring is about accounts that end.
var expiring = []test{
	{"an end and a withholding are recorded, changed and removed", func(t *testing.T, s *subject) {
		at := s.ends(t, time.Hour)
		o := s.created(t, validUntil(at), withheld(user.WithheldLocked), inactive)
		expect(t, "the end", *o.Ownership.ValidUntil, at)
		expect(t, "the withholding", o.Ownership.Withheld, user.WithheldLocked)
		later := at.Add(time.Hour)
		s.apply(t, next(user.Update, o, validUntil(later)))
		o = s.observe(t, "alice")
		expect(t, "the end", *o.Ownership.ValidUntil, later)
		expect(t, "the withholding", o.Ownership.Withheld, user.NotWithheld)
		s.apply(t, next(user.Update, o))
		if end := s.observe(t, "alice").Ownership.ValidUntil; end != nil {
			t.Errorf("the end is %v, want none", end)
		}
	}},
	{"a charge before the end is checked, and one after it is refused as inactive, while the row is active", func(t *testing.T, s *subject) {
		o := s.created(t, validUntil(s.ends(t, time.Hour)))
		expect(t, "before", s.verdict(t).Verdict, store.Check)
		failed := s.observe(t, "alice").Row.FailedLoginAttempts
		s.apply(t, next(user.Update, o, validUntil(s.ends(t, -time.Second))))
		expect(t, "after", s.verdict(t).Verdict, store.Inactive)
		o = s.observe(t, "alice")
		expect(t, "active", o.Row.Active, true)
		expect(t, "ended", o.Ended(), true)
		expect(t, "charged", o.Row.FailedLoginAttempts, failed)
		s.apply(t, next(user.Update, o, validUntil(s.ends(t, time.Hour))))
		expect(t, "moved forward", s.verdict(t).Verdict, store.Check)
	}},
	{"an account ends at its time by the store's clock, with no other change", func(t *testing.T, s *subject) {
		at := s.ends(t, 2*time.Second)
		s.created(t, validUntil(at))
		for deadline := time.Now().Add(30 * time.Second); ; {
			before, verdict, after := s.Other.Now(t), s.verdict(t).Verdict, s.Other.Now(t)
			switch {
			case before.After(at):
				expect(t, "the verdict after the end", verdict, store.Inactive)
				return
			case after.Before(at) && verdict == store.Inactive:
				t.Fatalf("the account ended before its time")
			case time.Now().After(deadline):
				t.Fatalf("the store's clock did not reach the end")
			}
		}
	}},
	{"a right password that is settled after the end is not accepted", func(t *testing.T, s *subject) {
		o := s.created(t)
		charged := s.verdict(t)
		s.apply(t, next(user.Update, o, validUntil(s.ends(t, -time.Second))))
		accepted, err := s.Store.Settle(t.Context(), charged, true)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "accepted", accepted, false)
	}},
	{"the end of a released record ends no logins", func(t *testing.T, s *subject) {
		o := s.created(t, validUntil(s.ends(t, -time.Second)))
		s.apply(t, next(user.Release, o))
		expect(t, "the verdict", s.verdict(t).Verdict, store.Check)
	}},
}
