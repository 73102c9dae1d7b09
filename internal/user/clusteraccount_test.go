// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// claim is a resource (namespace/name) that was created the given number of hours ago and has this status.
func claim(namespace, name string, hours int, say ...func(*v1alpha1.ShardingUser)) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(now.Add(-time.Duration(hours) * time.Hour)),
		},
		Status: fresh(),
	}
	for _, s := range say {
		s(u)
	}
	return u
}

func says(reason string) func(*v1alpha1.ShardingUser) {
	return func(u *v1alpha1.ShardingUser) {
		u.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: reason}}
	}
}

func tells(change func(*v1alpha1.ShardingUserStatus)) func(*v1alpha1.ShardingUser) {
	return func(u *v1alpha1.ShardingUser) { change(&u.Status) }
}

func TestClaimant(t *testing.T) {
	ends := func(u *v1alpha1.ShardingUser) { u.DeletionTimestamp = &known }
	passwordKnown := tells(func(s *v1alpha1.ShardingUserStatus) { s.PasswordChangedTime = &known })
	for name, tt := range map[string]struct {
		claims []*v1alpha1.ShardingUser
		want   string // namespace/name; "" for none
		noted  bool
	}{
		"no resource claims the username":                             {nil, "", false},
		"the only resource has the username":                          {[]*v1alpha1.ShardingUser{claim("a", "new", 1)}, "a/new", false},
		"the only resource is Ready and had it before":                {[]*v1alpha1.ShardingUser{claim("a", "old", 1, says("Synced"))}, "a/old", true},
		"a resource that is being deleted has no account":             {[]*v1alpha1.ShardingUser{claim("a", "old", 1, says("Synced"), ends)}, "", false},
		"a resource that was refused the username has no account":     {[]*v1alpha1.ShardingUser{claim("a", "late", 1, says("UsernameTaken"))}, "", false},
		"a resource that may not adopt the row has no account":        {[]*v1alpha1.ShardingUser{claim("a", "late", 1, says("RowExists"))}, "", false},
		"a refused resource has no account despite a former password": {[]*v1alpha1.ShardingUser{claim("a", "late", 1, passwordKnown, says("UsernameTaken"))}, "", false},
		"the older of two new resources":                              {[]*v1alpha1.ShardingUser{claim("a", "young", 1), claim("b", "old", 2)}, "b/old", true},
		"the first by namespace of two of the same age": {
			[]*v1alpha1.ShardingUser{claim("b", "alice", 1), claim("a", "bob", 1)}, "a/bob", true,
		},
		"the first by name of two of the same age and namespace": {
			[]*v1alpha1.ShardingUser{claim("a", "bob", 1), claim("a", "alice", 1)}, "a/alice", true,
		},
		"the younger one if only it is Ready": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 9), claim("b", "young", 1, says("Synced"))}, "b/young", true,
		},
		"the older of two that both show an account": {
			[]*v1alpha1.ShardingUser{claim("a", "young", 1, says("Synced")), claim("b", "old", 2, says("Synced"))}, "b/old", true,
		},
		"the younger one if the owner is being deleted": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 9, says("Synced"), ends), claim("b", "young", 1)}, "b/young", true,
		},
		"a resource that was never permitted has no account": {
			[]*v1alpha1.ShardingUser{claim("a", "late", 1, says("NotPermitted"))}, "", false,
		},
		"a resource that lost its permission keeps its account": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 1, says("NotPermitted"), passwordKnown)}, "a/old", true,
		},
		"the younger new one if the older is not permitted": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 9, says("NotPermitted")), claim("b", "young", 1)}, "b/young", true,
		},
		"the younger owner, not an older last administrator": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 9, says("LastAdministrator")), claim("b", "young", 1, says("Synced"))},
			"b/young", true,
		},
		"none if the owner is being deleted and the other refused": {
			[]*v1alpha1.ShardingUser{claim("a", "old", 9, says("Synced"), ends), claim("b", "young", 1, says("UsernameTaken"))}, "", false,
		},
		"a paused one without status if the other was refused": {
			[]*v1alpha1.ShardingUser{claim("a", "young", 1, says("Paused")), claim("b", "old", 2, says("UsernameTaken"))}, "a/young", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := image(t, tt.claims)
			check := func() {
				t.Helper()
				owner, noted := user.Claimant(tt.claims)
				got := ""
				if owner != nil {
					got = owner.Namespace + "/" + owner.Name
				}
				if got != tt.want || noted != tt.noted {
					t.Errorf("Claimant = %q, noted %t, want %q, %t", got, noted, tt.want, tt.noted)
				}
			}
			check()
			if after := image(t, tt.claims); before != after {
				t.Errorf("the claims changed:\nbefore %s\nafter  %s", before, after)
			}
			slices.Reverse(tt.claims) // whose order has no meaning
			check()
		})
	}
}

func TestShowsAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		status func(*v1alpha1.ShardingUser)
		want   bool
	}{
		"no status":            {func(*v1alpha1.ShardingUser) {}, false},
		"Synced":               {says("Synced"), true},
		"SecretNotFound":       {says("SecretNotFound"), true},
		"SecretKeyNotFound":    {says("SecretKeyNotFound"), true},
		"PasswordInvalid":      {says("PasswordInvalid"), true},
		"DatabaseUnavailable":  {says("DatabaseUnavailable"), false},
		"Paused":               {says("Paused"), false},
		"a lock":               {tells(func(s *v1alpha1.ShardingUserStatus) { s.Locked = true }), true},
		"failed attempts":      {tells(func(s *v1alpha1.ShardingUserStatus) { s.FailedLoginAttempts = 1 }), true},
		"a login":              {tells(func(s *v1alpha1.ShardingUserStatus) { s.LastLoginTime = &known }), true},
		"a password":           {tells(func(s *v1alpha1.ShardingUserStatus) { s.PasswordChangedTime = &known }), true},
		"a handled request":    {tells(func(s *v1alpha1.ShardingUserStatus) { s.LastHandledUnlock = "t1" }), true},
		"a requested username": {tells(func(s *v1alpha1.ShardingUserStatus) { s.Username = "alice" }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, noted := user.Claimant([]*v1alpha1.ShardingUser{claim("a", "alice", 1, tt.status)}); noted != tt.want {
				t.Errorf("noted = %t, want %t", noted, tt.want)
			}
		})
	}
}

// An account that is restored from its status gives the same status, and all that is left to do is to take the
// password.
func TestClusterAccountMatchesTheReportedAccount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, w := anyDesired(t), anyWorld(t)
		d.Deleting, d.Paused = false, false
		w.settle(t, d)
		if w.Row == nil || !w.OwnedBy(d.Owner) {
			return // another resource owns it
		}
		if rapid.Bool().Draw(t, "attacked") {
			w.Row.FailedLoginAttempts = rapid.IntRange(0, 6).Draw(t, "failed since")
			w.Row.LockedUntil = ptrTo(now.Add(time.Duration(rapid.Int64Range(-1000, 1000).Draw(t, "lock since")) * time.Second))
		}
		w.Ownership.PasswordChangedAt = ptrTo(now.Add(-time.Hour))
		problem := plan(t, d, w.Observed).Problem
		told := status(t, fresh(), d, &w.Observed, problem)

		p := user.PasswordChange{Hash: w.Row.PasswordHash, Version: w.Ownership.PasswordVersion, Weak: w.Ownership.PasswordWeak, Suspicion: w.Ownership.PasswordSuspicion}
		if !w.Row.Active {
			p.Hash = user.EnabledHash(p.Hash)
		}
		if rapid.Bool().Draw(t, "not taken yet") {
			p.Version = ""
		}
		before := image(t, d, told, p)
		declared := user.ClusterAccount(d, told, p, now.Add(time.Second))
		scribble(user.ClusterAccount(d, told, p, now).Row.Roles)
		if after := image(t, d, told, p); before != after {
			t.Errorf("ClusterAccount changed its input, or shares it:\nbefore %s\nafter  %s", before, after)
		}
		if again := status(t, told, d, &declared, problem); !user.Same(told, again) && !lockEnded(told, declared) {
			t.Errorf("the status differs (-before +after):\n%s", cmp.Diff(told, again))
		}
		decision := plan(t, d, declared)
		change := decision.WithPassword(user.PasswordChange{Hash: hashV2, Version: d.Password.Version}, declared)
		if change.ClearLockout || len(decision.Drift) > 0 || len(decision.Change.Write) > 0 {
			t.Errorf("there is more to do than to take the password: %+v", decision)
		}
	})
}

// lockEnded reports whether the reported lock has expired when the account is restored.
func lockEnded(told v1alpha1.ShardingUserStatus, declared user.Observed) bool {
	return told.Locked && !declared.Locked()
}

func TestClusterAccount(t *testing.T) {
	taken := user.PasswordChange{Hash: hashV1, Version: "v1"}
	toTake := user.PasswordChange{Hash: "print of v1", Weak: true, Suspicion: "edge"}
	tellsOf := func(o user.Observed) v1alpha1.ShardingUserStatus {
		s := user.Status(fresh(), desired(), &o, nil, reported)
		return s
	}
	for name, tt := range map[string]struct {
		desired  user.Desired
		status   v1alpha1.ShardingUserStatus
		password user.PasswordChange
		want     user.Observed
	}{
		"everything reported is restored": {
			desired(), tellsOf(synced(lockedFor(15*time.Minute), loggedIn(time.Minute), unlockHandled("t1"))), taken,
			synced(lockedFor(15*time.Minute), loggedIn(time.Minute), unlockHandled("t1")),
		},
		"a pending password is in the row but not recorded": {
			desired(), tellsOf(synced(weak)), toTake,
			synced(weak, suspected("edge"), rowHash("print of v1"), func(o *user.Observed) { o.Ownership.PasswordHash, o.Ownership.PasswordVersion = "", "" }),
		},
		"counters and handled requests are restored": {
			desired(), tellsOf(synced(failed(4), unlockHandled("t1"))), taken, synced(failed(4), unlockHandled("t1")),
		},
		"the counter of an expired lock leaves a new budget": {
			desired(), tellsOf(synced(lockedFor(-time.Minute))), taken,
			synced(failed(5), func(o *user.Observed) { o.Row.LockedUntil = ptrTo(now) }),
		},
		"a pending lock is no lock and leaves one attempt": {
			desired(), tellsOf(synced(lockedFor(time.Minute), pendingFor(time.Second))), taken, synced(failed(5)),
		},
		"a later edit is in the row but not recorded": {
			desired(edited, inactive, withRoles("admin"), withPolicy(v1alpha1.DeletionRetain)), tellsOf(synced()), taken,
			synced(rowRoles("admin"), rowInactive, recordedPolicy(v1alpha1.DeletionRetain)),
		},
		"an account that no policy permits is suspended": {
			desired(refused), tellsOf(synced(loggedIn(time.Minute))), taken, synced(loggedIn(time.Minute), suspended),
		},
		"an account is locked on the terms of its policy": {
			desired(permitted(strict)), tellsOf(synced()), taken, synced(notedTerms(strict)),
		},
		"a new resource starts with a clean account": {
			desired(), fresh(), toTake,
			synced(recordedGeneration(0), nothingOfOurs, weak, suspected("edge"), rowHash("print of v1")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Ownership.Revision = 0 // which a store gives
			if diff := cmp.Diff(tt.want, user.ClusterAccount(tt.desired, tt.status, tt.password, now)); diff != "" {
				t.Errorf("another account (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClusterAccountLeavesANewUnlockRequestToHandle(t *testing.T) {
	account := synced(lockedFor(time.Hour), unlockHandled("t1"))
	told := user.Status(fresh(), desired(), &account, nil, reported)
	d := desired(requestUnlock("t2"))
	decision := plan(t, d, user.ClusterAccount(d, told, user.PasswordChange{Hash: hashV1, Version: "v1"}, now))
	if c := decision.Change; c.Unlock != "t2" || !c.ClearLockout {
		t.Errorf("the request is not handled: %+v", c)
	}
}

func TestWithLock(t *testing.T) {
	lock := func(left time.Duration) user.Row {
		return user.Row{FailedLoginAttempts: 5, LockedUntil: ptrTo(now.Add(left))}
	}
	for name, tt := range map[string]struct {
		before user.Observed
		row    user.Row
		want   string // until when it is locked; "" where the status is to stay as it is
	}{
		"a lock is reported":                         {synced(failed(2)), lock(15 * time.Minute), "2026-03-04T12:15:00Z"},
		"a lock after an expired one is reported":    {synced(lockedFor(-time.Hour)), lock(time.Minute), "2026-03-04T12:01:00Z"},
		"a longer lock is reported":                  {synced(lockedFor(time.Minute)), lock(time.Hour), "2026-03-04T13:00:00Z"},
		"the same lock changes nothing":              {synced(lockedFor(time.Minute)), lock(time.Minute), ""},
		"a fraction of a second changes nothing":     {synced(lockedFor(time.Minute)), lock(time.Minute - 900*time.Millisecond), ""},
		"a fraction of a second is rounded up":       {synced(lockedFor(time.Minute)), lock(time.Minute + time.Millisecond), "2026-03-04T12:01:01Z"},
		"a shorter lock changes nothing":             {synced(lockedFor(time.Hour)), lock(time.Minute), ""},
		"an expired lock changes nothing":            {synced(), lock(-time.Second), ""},
		"a lock that expires now changes nothing":    {synced(), lock(0), ""},
		"no lock changes nothing":                    {synced(), user.Row{FailedLoginAttempts: 4}, ""},
		"a lock after a handled request is reported": {synced(unlockHandled("t1")), lock(time.Minute), "2026-03-04T12:01:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			before := user.Status(fresh(), desired(), &tt.before, nil, known.Time)
			image0 := image(t, before, tt.row)
			got := user.WithLock(before, tt.row, now)
			if after := image(t, before, tt.row); image0 != after {
				t.Errorf("WithLock changed its input, or shares it:\nbefore %s\nafter  %s", image0, after)
			}
			if tt.want == "" {
				if !user.Same(before, got) {
					t.Errorf("the status changed (-before +after):\n%s", cmp.Diff(before, got))
				}
				return
			}
			// It equals the status by a database that knows the lock, and nothing else is reported.
			locked := tt.before
			locked.Row.FailedLoginAttempts, locked.Row.LockedUntil = 5, tt.row.LockedUntil
			if diff := cmp.Diff(user.Status(before, desired(), &locked, nil, now), got); diff != "" {
				t.Errorf("the lock is reported differently (-usual +this):\n%s", diff)
			}
			if got.LockedUntil.Format(time.RFC3339) != tt.want || !user.AboutAccount(before, got) {
				t.Errorf("locked until %s, want %s", got.LockedUntil, tt.want)
			}
			if again := user.WithLock(got, tt.row, now.Add(time.Second)); !user.Same(got, again) {
				t.Errorf("a reported lock is reported again (-before +after):\n%s", cmp.Diff(got, again))
			}
			away := user.Status(got, desired(), nil, problem(v1alpha1.ReasonDatabaseUnavailable), now)
			if c := meta.FindStatusCondition(away.Conditions, v1alpha1.ConditionLocked); !away.Locked || c.Status != metav1.ConditionTrue {
				t.Error("an unavailable database unlocks")
			}
		})
	}
}

func TestWithLockOfANewResourceReportsOnlyTheLock(t *testing.T) {
	got := user.WithLock(fresh(), user.Row{FailedLoginAttempts: 5, LockedUntil: ptrTo(now.Add(time.Minute))}, now)
	const want = " at -1: locked=true failed=5\nlockedUntil=2026-03-04T12:01:00Z\n" +
		"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
		"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n"
	if diff := cmp.Diff(want, golden(got)); diff != "" {
		t.Errorf("the status differs (-want +got):\n%s", diff)
	}
	if got.Conditions[0].ObservedGeneration != 0 {
		t.Error("the API server takes no generation below zero")
	}
}
