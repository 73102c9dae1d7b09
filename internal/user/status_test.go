// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Statuses are written at reported; what an earlier status says has changed at known.
var (
	reported = time.Date(2026, time.March, 4, 12, 0, 1, 0, time.UTC)
	known    = metav1.NewTime(now.Add(-time.Hour))
)

// fresh is the status that the CRD gives a new resource.
func fresh() v1alpha1.ShardingUserStatus { return v1alpha1.ShardingUserStatus{ObservedGeneration: -1} }

// status is user.Status, together with what holds in every case: the same input gives the same status, no input is
// changed, nothing is shared with it, and to say the same again is to change nothing.
func status(t rapid.TB, previous v1alpha1.ShardingUserStatus, d user.Desired, o *user.Observed, p *user.Problem) v1alpha1.ShardingUserStatus {
	t.Helper()
	before := image(t, previous, d, o, p)
	got := user.Status(previous, d, o, p, reported)
	again := user.Status(previous, d, o, p, reported)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the same input was told of in two ways (-first +second):\n%s", diff)
	}
	for i := range again.Conditions {
		again.Conditions[i].Message = "scribbled"
	}
	for _, at := range []*metav1.Time{again.LockedUntil, again.LastLoginTime, again.PasswordChangedTime} {
		if at != nil {
			*at = known
		}
	}
	if after := image(t, previous, d, o, p); before != after {
		t.Errorf("Status changed its input, or shares it:\nbefore %s\nafter  %s", before, after)
	}
	if next := user.Status(got, d, o, p, reported.Add(time.Hour)); !user.Same(got, next) {
		t.Errorf("an hour later, with nothing new, the status differs (-before +after):\n%s", cmp.Diff(got, next))
	}
	return got
}

// golden is the status as people read it: figures first, a line for each condition, in order.
func golden(s v1alpha1.ShardingUserStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %d: locked=%t failed=%d\n", s.Username, s.ObservedGeneration, s.Locked, s.FailedLoginAttempts)
	line := func(name string, at *metav1.Time) {
		if at != nil {
			fmt.Fprintf(&b, "%s=%s\n", name, at.Format(time.RFC3339Nano))
		}
	}
	line("lockedUntil", s.LockedUntil)
	line("lastLogin", s.LastLoginTime)
	line("passwordChanged", s.PasswordChangedTime)
	if s.LastHandledUnlock != "" {
		fmt.Fprintf(&b, "unlocked=%s\n", s.LastHandledUnlock)
	}
	if s.PasswordSecretVersion != "" {
		fmt.Fprintf(&b, "passwordSecretVersion=%s\n", s.PasswordSecretVersion)
	}
	if s.PermittedBy != "" {
		fmt.Fprintf(&b, "permittedBy=%s\n", s.PermittedBy)
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s %s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	return b.String()
}

func problem(reason string) *user.Problem {
	return &user.Problem{Reason: reason, Message: "It is " + reason + "."}
}

func TestStatus(t *testing.T) {
	const (
		synced0  = "Ready True Synced: The row matches the spec.\n"
		unlocked = "Locked False NotLocked: The account is not locked.\n"

		weakNotOurs = "WeakPassword True WellKnown: The password works, but it is a well-known default of the sharding manager. " +
			"Add spec.password with a Secret, or change the password in the sharding manager.\n"
	)
	for name, tt := range map[string]struct {
		desired  user.Desired
		observed user.Observed
		problem  *user.Problem
		want     string
	}{
		"a row that says what the spec says is ready and not locked": {
			desired(), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked + synced0,
		},
		"attempts and the last log-in are told": {
			desired(), synced(failed(4), loggedIn(time.Minute)), nil,
			"alice at 3: locked=false failed=4\nlastLogin=2026-03-04T11:59:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				unlocked + synced0,
		},
		"a lock is told with its end, and the user is ready all the same": {
			desired(), synced(lockedFor(15 * time.Minute)), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:15:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:15:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + synced0,
		},
		"times are UTC and whole seconds wherever the database session is": {
			desired(), synced(lockedFor(90*time.Second+999*time.Millisecond), loggedIn(time.Minute), inTokyo), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:31Z\nlastLogin=2026-03-04T11:59:00Z\n" +
				"passwordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:31Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + synced0,
		},
		"a lock that ran out is told as such, without its end": {
			desired(), synced(lockedFor(-time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + synced0,
		},
		"a lock that runs out this very moment has run out": {
			desired(), synced(lockedFor(0)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + synced0,
		},
		"a lock that is pending is told of as none, and the attempts are told": {
			desired(), synced(lockedFor(15*time.Minute), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked + synced0,
		},
		"a lock that is pending is not told of over an unlock by request": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked False Unlocked: The account is not locked; the last unlock request was applied.\n" + synced0,
		},
		"a lock that ran out while it was pending ran out": {
			desired(), synced(lockedFor(-time.Second), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + synced0,
		},
		"a lock that was lifted by request is told as such": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked False Unlocked: The account is not locked; the last unlock request was applied.\n" + synced0,
		},
		"a lock after a request that was handled is a lock": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute)), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:00Z\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + synced0,
		},
		"a weak password is told, and the user is ready all the same": {
			desired(), synced(weak), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\n" + synced0,
		},
		"a default hash from the Secret is told, also where it was noted as no weak one": {
			desired(), synced(rowHash(defaultAdmin)), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\n" + synced0,
		},
		"a default hash in an adopted row is told, though the password is not ours": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(defaultViewer)), nil,
			"alice at 3: locked=false failed=0\n" + unlocked + weakNotOurs + synced0,
		},
		"a default hash that is shut is told: it works again once the account is active": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash("!"+defaultViewer[1:]), rowInactive), nil,
			"alice at 3: locked=false failed=0\n" + unlocked + weakNotOurs + synced0,
		},
		"a default hash in somebody else's row is nobody's business here": {
			desired(), synced(ownedBy(neighbour), rowHash(defaultAdmin)), problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + unlocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"a suspicious password is told, and the user is ready all the same": {
			desired(), synced(suspected("quotes")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked +
				"PasswordSuspicious True LooksQuoted: The password works, but is probably not the intended one: it is surrounded by " +
				"quotation marks, which are part of the password. If so, put the intended password into the Secret.\n" + synced0,
		},
		"a suspicion of a later version is not told": {
			desired(), synced(suspected("of-later")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked + synced0,
		},
		"a password as old as the policy lets it become has expired, and the user is ready all the same": {
			desired(expiring(24 * time.Hour)), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\npermittedBy=team-a\n" + unlocked +
				"PasswordExpired True MaxAgeExceeded: The password works, but is older than the 24h0m0s that ShardingUserPolicy \"team-a\" " +
				"allows. Put another password into the Secret.\n" + synced0,
		},
		"a password that may become a second older has not expired": {
			desired(expiring(24*time.Hour + time.Second)), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\npermittedBy=team-a\n" + unlocked + synced0,
		},
		"a password that is not ours does not expire": {
			desired(expiring(time.Second), withoutPassword), synced(nothingOfOurs), nil,
			"alice at 3: locked=false failed=0\npermittedBy=team-a\n" + unlocked + synced0,
		},
		"how old the password of somebody else's row is, is nobody's business here": {
			desired(expiring(time.Second)), synced(ownedBy(neighbour)), problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\npermittedBy=team-a\n" + unlocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"a resource that no policy permits is stalled": {
			desired(refused), synced(suspended), notPermitted,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked +
				"Ready False NotPermitted: No policy permits alice.\nStalled True NotPermitted: No policy permits alice.\n",
		},
		"a resource that would take the last administrator away is stalled": {
			desired(deleting), synced(), problem(v1alpha1.ReasonLastAdministrator),
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked +
				"Ready False LastAdministrator: It is LastAdministrator.\nStalled True LastAdministrator: It is LastAdministrator.\n",
		},
		"a row whose password is not ours has no time of a change": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(alien)), nil,
			"alice at 3: locked=false failed=0\n" + unlocked + synced0,
		},
		"a counter beyond what the status can hold is cut": {
			desired(), synced(failed(math.MaxInt64)), nil,
			"alice at 3: locked=false failed=2147483647\npasswordChanged=2026-03-03T12:00:00Z\n" + unlocked + synced0,
		},
		"a locked user of a paused resource is told to be locked": {
			desired(paused), synced(lockedFor(time.Minute)), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" +
				"Ready Unknown Paused: It is Paused.\n",
		},
		"the figures of a row that another resource owns are nobody's business here": {
			desired(), synced(ownedBy(neighbour), lockedFor(time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak, suspected("quotes")),
			problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + unlocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"nor are those of the same place in another cluster": {
			desired(), synced(ownedBy(twin), lockedFor(time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak),
			problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + unlocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"nor are those of a row that nobody owns": {
			desired(), synced(neverNoted, lockedFor(time.Minute), loggedIn(time.Minute)),
			problem(v1alpha1.ReasonRowExists),
			"alice at 3: locked=false failed=0\n" + unlocked +
				"Ready False RowExists: It is RowExists.\nStalled True RowExists: It is RowExists.\n",
		},
		"nor are those of a row that a former resource of the place released": {
			desired(paused), synced(ownedBy(predecessor), inState(user.Released), lockedFor(time.Minute), unlockHandled("t1"), weak),
			problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\n" + unlocked + "Ready Unknown Paused: It is Paused.\n",
		},
		"a name that the database does not know has no figures": {
			desired(paused), nothingThere(), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\n" + unlocked + "Ready Unknown Paused: It is Paused.\n",
		},
		"an owned row that is gone has what was noted": {
			desired(paused), synced(rowGone, unlockHandled("t1"), weak), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" + unlocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\nReady Unknown Paused: It is Paused.\n",
		},
		"a Secret that is missing may still come": {
			desired(secretMissing), synced(nothingOfOurs, rowHash(user.UnusablePassword)), problem(v1alpha1.ReasonSecretNotFound),
			"alice at 3: locked=false failed=0\n" + unlocked + "Ready False SecretNotFound: It is SecretNotFound.\n",
		},
		"a key that is missing may still come": {
			desired(secretMissing), synced(nothingOfOurs), problem(v1alpha1.ReasonSecretKeyNotFound),
			"alice at 3: locked=false failed=0\n" + unlocked + "Ready False SecretKeyNotFound: It is SecretKeyNotFound.\n",
		},
		"a password that cannot be one is stalled": {
			desired(secretMissing), synced(nothingOfOurs), problem(v1alpha1.ReasonPasswordInvalid),
			"alice at 3: locked=false failed=0\n" + unlocked +
				"Ready False PasswordInvalid: It is PasswordInvalid.\nStalled True PasswordInvalid: It is PasswordInvalid.\n",
		},
		"a username of its own is the effective one": {
			desired(func(d *user.Desired) { d.Username = "Alice@Example.com" }), synced(nothingOfOurs), nil,
			"Alice@Example.com at 3: locked=false failed=0\n" + unlocked + synced0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := status(t, fresh(), tt.desired, &tt.observed, tt.problem)
			if diff := cmp.Diff(tt.want, golden(got)); diff != "" {
				t.Errorf("the status says something else (-want +got):\n%s", diff)
			}
			for _, c := range got.Conditions {
				if c.ObservedGeneration != tt.desired.Generation || !c.LastTransitionTime.Time.Equal(reported) {
					t.Errorf("condition %s is of generation %d and %s, want %d and %s",
						c.Type, c.ObservedGeneration, c.LastTransitionTime, tt.desired.Generation, reported)
				}
			}
		})
	}
}
