// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/store/memory"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// restored is a store, whose time stands still, with these accounts.
func restored(accounts map[string]user.Observed) (*memory.Store, time.Time) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := memory.New(func() time.Time { return now })
	s.Restore(accounts)
	return s, now
}

func account(until time.Time) user.Observed {
	return user.Observed{
		Row: &user.Row{PasswordHash: "hash", Roles: []string{"viewer"}, Active: true, FailedLoginAttempts: 5, LockedUntil: &until, LastLogin: &until},
		Ownership: &user.Ownership{
			Owner: user.Owner{UID: "uid"}, State: user.Owned, Generation: 3, PasswordChangedAt: &until, UnlockHandled: "t1",
		},
	}
}

func observe(t *testing.T, s *memory.Store, username string) user.Observed {
	t.Helper()
	o, err := s.Observe(t.Context(), username)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWhatIsRestoredIsThereAndGoesOn(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC)
	given := account(until)
	s, now := restored(map[string]user.Observed{"alice": given, "bob": {Row: &user.Row{Active: true}}, "carol": {Ownership: account(until).Ownership}})
	want := account(until)
	want.Now, want.Ownership.Revision = now, observe(t, s, "alice").Ownership.Revision
	if diff := cmp.Diff(want, observe(t, s, "alice")); diff != "" || want.Ownership.Revision == 0 {
		t.Errorf("another account, or no revision (-want +got):\n%s", diff)
	}
	if o := observe(t, s, "bob"); o.Row == nil || o.Ownership != nil {
		t.Errorf("a row without an ownership record became %+v", o)
	}
	if o := observe(t, s, "carol"); o.Row != nil || o.Ownership == nil || o.Ownership.Revision == want.Ownership.Revision {
		t.Errorf("an ownership record without a row became %+v", o)
	}

	// Nothing is shared with who gave it.
	given.Row.Roles[0], *given.Row.LockedUntil, *given.Ownership.PasswordChangedAt = "admin", now, now
	if diff := cmp.Diff(want, observe(t, s, "alice")); diff != "" {
		t.Errorf("the account changed from outside (-before +after):\n%s", diff)
	}

	locked, err := s.Charge(t.Context(), store.Attempt{Username: "alice"}, store.Limits{Attempts: 5, Duration: time.Minute})
	if err != nil || locked.Verdict != store.Locked {
		t.Errorf("Charge = %+v, %v, want that it is locked", locked, err)
	}
	change := user.Change{
		Verb: user.Update, Username: "alice", Owner: want.Ownership.Owner, Generation: 4, Revision: want.Ownership.Revision,
		Write: []user.Field{user.FieldActive},
	}
	if _, err := s.Apply(t.Context(), change); err != nil {
		t.Errorf("a plan that rests on what was restored does not hold: %v", err)
	}
}

func TestWhatIsThereAlreadyIsNotRestored(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC)
	s, _ := restored(nil)
	s.Edit("alice", func(*user.Row) *user.Row { return &user.Row{PasswordHash: "ours"} })
	if _, err := s.Apply(t.Context(), user.Change{Verb: user.Bury, Username: "bob", Owner: user.Owner{UID: "former"}}); err != nil {
		t.Fatal(err)
	}
	before := []user.Observed{observe(t, s, "alice"), observe(t, s, "bob")}
	s.Restore(map[string]user.Observed{"alice": account(until), "bob": account(until)})
	if diff := cmp.Diff(before, []user.Observed{observe(t, s, "alice"), observe(t, s, "bob")}); diff != "" {
		t.Errorf("what was there changed (-before +after):\n%s", diff)
	}
}

func TestALockThatIsRestoredIsNotPending(t *testing.T) {
	o := account(time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC))
	o.Row.LockPendingUntil = new(*o.Row.LockedUntil)
	s, _ := restored(map[string]user.Observed{"alice": o})
	if o := observe(t, s, "alice"); !o.Locked() || o.LockPending() {
		t.Errorf("it is restored as %+v", o.Row)
	}
}

func TestASubscriberIsNotifiedOfRestoredAccounts(t *testing.T) {
	s, now := restored(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	watched := make(chan struct{})
	var told []string
	s.Edit("first", func(*user.Row) *user.Row { return &user.Row{} })
	s.Watch(ctx, func(usernames []string) {
		if slices.Contains(usernames, "first") {
			go func() { defer close(watched); s.Restore(map[string]user.Observed{"alice": account(now)}) }()
		}
		if told = append(told, usernames...); slices.Contains(told, "alice") {
			cancel()
		}
	}, func() {})
	<-watched
	if !slices.Contains(told, "alice") {
		t.Errorf("reported are %q", told)
	}
}

func TestALoginSucceedsThoughTheStandInHashWasReplacedMeanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		password user.PasswordChange
		edit     func(*user.Row) // after it
		want     bool
	}{
		"of the same password":                  {user.PasswordChange{Hash: "hash", Version: "v1", Replaces: "print"}, func(*user.Row) {}, true},
		"of another password":                   {user.PasswordChange{Hash: "hash", Version: "v1", New: true}, func(*user.Row) {}, false},
		"in place of something else":            {user.PasswordChange{Hash: "hash", Version: "v1", Replaces: "another print"}, func(*user.Row) {}, false},
		"and another one after it":              {user.PasswordChange{Hash: "hash", Version: "v1", Replaces: "print"}, func(r *user.Row) { r.PasswordHash = "alien" }, false},
		"of an account that is inactive by now": {user.PasswordChange{Hash: "hash", Version: "v1", Replaces: "print"}, func(r *user.Row) { r.Active = false }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := account(time.Time{})
			o.Row.PasswordHash, o.Row.FailedLoginAttempts, o.Row.LockedUntil = "print", 0, nil
			s, _ := restored(map[string]user.Observed{"alice": o})
			charged, err := s.Charge(t.Context(), store.Attempt{Username: "alice"}, store.Limits{Attempts: 1, Duration: time.Minute})
			if err != nil || charged.PasswordHash != "print" {
				t.Fatalf("Charge = %+v, %v", charged, err)
			}
			record := observe(t, s, "alice").Ownership
			_, err = s.Apply(t.Context(), user.Change{
				Verb: user.Update, Username: "alice", Owner: record.Owner, Generation: record.Generation, Revision: record.Revision,
				Write: []user.Field{user.FieldPasswordHash}, Password: &tt.password,
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Edit("alice", func(row *user.Row) *user.Row { tt.edit(row); return row })
			if accepted, err := s.Settle(t.Context(), charged, true); accepted != tt.want || err != nil {
				t.Errorf("Settle = %v, %v, want %v", accepted, err, tt.want)
			}
			if locked := observe(t, s, "alice").Locked(); locked == tt.want {
				t.Errorf("locked = %v", locked)
			}
			if accepted, err := s.Settle(t.Context(), charged, true); accepted != tt.want || err != nil {
				t.Errorf("the second time, Settle = %v, %v, want %v", accepted, err, tt.want)
			}
		})
	}
}

func TestAnAccountThatIsRestatedKeepsItsCounterAndLock(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC)
	s, _ := restored(map[string]user.Observed{"alice": account(until)})
	other := account(until)
	other.Row = &user.Row{PasswordHash: "another hash", Active: false}
	other.Ownership.UnlockHandled = "t2"
	s.Restate("alice", other)
	got := observe(t, s, "alice")
	want := user.Row{PasswordHash: "another hash", FailedLoginAttempts: 5, LockedUntil: &until, LastLogin: &until}
	if diff := cmp.Diff(want, *got.Row); diff != "" || got.Ownership.UnlockHandled != "t2" {
		t.Errorf("%s%+v", diff, got.Ownership)
	}
	s.Restate("alice", user.Observed{})
	if got := observe(t, s, "alice"); got.Row != nil || got.Ownership != nil {
		t.Errorf("there is still %+v", got)
	}
}

func TestACounterAndALockAreRaisedAndNeverLowered(t *testing.T) {
	soon := time.Date(2026, 1, 2, 3, 10, 0, 0, time.UTC)
	late, over := soon.Add(time.Hour), soon.Add(-time.Hour)
	for name, tt := range map[string]struct {
		failed         int
		lock           *time.Time
		raiseFailed    int
		raiseLock      *time.Time
		wantFailed     int
		wantLockedTill *time.Time
	}{
		"by more":                                {1, nil, 3, &soon, 3, &soon},
		"not by less":                            {3, &late, 1, &soon, 3, &late},
		"not by nothing":                         {3, &soon, 0, nil, 3, &soon},
		"from a clean counter after an old lock": {5, &over, 2, nil, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := restored(map[string]user.Observed{"alice": {Row: &user.Row{FailedLoginAttempts: tt.failed, LockedUntil: tt.lock}}})
			s.Raise("alice", tt.raiseFailed, tt.raiseLock)
			got := observe(t, s, "alice").Row
			if diff := cmp.Diff(tt.wantLockedTill, got.LockedUntil); got.FailedLoginAttempts != tt.wantFailed || diff != "" {
				t.Errorf("%d failures, want %d; the lock %s", got.FailedLoginAttempts, tt.wantFailed, diff)
			}
			s.Raise("nobody", 1, nil)
			if observe(t, s, "nobody").Row != nil {
				t.Error("a row was made")
			}
		})
	}
}
