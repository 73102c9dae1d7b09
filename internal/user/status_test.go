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

// Statuses are written at reported. Conditions of an earlier status changed at known.
var (
	reported = time.Date(2026, time.March, 4, 12, 0, 1, 0, time.UTC)
	known    = metav1.NewTime(now.Add(-time.Hour))
)

// fresh is the status that the CRD gives a new resource.
func fresh() v1alpha1.ShardingUserStatus { return v1alpha1.ShardingUserStatus{ObservedGeneration: -1} }

// status calls user.Status and checks what always holds: equal input gives equal statuses, no input is changed or
// shared, and reporting the same again changes nothing.
func status(t rapid.TB, previous v1alpha1.ShardingUserStatus, d user.Desired, o *user.Observed, p *user.Problem) v1alpha1.ShardingUserStatus {
	t.Helper()
	before := image(t, previous, d, o, p)
	got := user.Status(previous, d, o, p, reported)
	again := user.Status(previous, d, o, p, reported)
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("the statuses of one input differ (-first +second):\n%s", diff)
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

// golden returns the status as text: figures first, then a line for each condition, in order.
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

const (
	isSynced    = "Ready True Synced: The row matches the spec.\n"
	isNotLocked = "Locked False NotLocked: The account is not locked.\n"

	weakNotOurs = "WeakPassword True WellKnown: The password works, but it is a well-known default of the sharding manager. " +
		"Add spec.password with a Secret, or change the password in the sharding manager.\n"
)

type statusCase struct {
	desired  user.Desired
	observed user.Observed
	problem  *user.Problem
	want     string
}

func runStatus(t *testing.T, cases map[string]statusCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			got := status(t, fresh(), tt.desired, &tt.observed, tt.problem)
			if diff := cmp.Diff(tt.want, golden(got)); diff != "" {
				t.Errorf("the status differs (-want +got):\n%s", diff)
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

func TestStatus(t *testing.T) {
	runStatus(t, map[string]statusCase{
		"a row that says what the spec says is ready and not locked": {
			desired(), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked + isSynced,
		},
		"attempts and the last login are reported": {
			desired(), synced(failed(4), loggedIn(time.Minute)), nil,
			"alice at 3: locked=false failed=4\nlastLogin=2026-03-04T11:59:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				isNotLocked + isSynced,
		},
		"a lock is reported with its end; the user stays ready": {
			desired(), synced(lockedFor(15 * time.Minute)), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:15:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:15:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + isSynced,
		},
		"times are UTC and full seconds in every session time zone": {
			desired(), synced(lockedFor(90*time.Second+999*time.Millisecond), loggedIn(time.Minute), inTokyo), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:31Z\nlastLogin=2026-03-04T11:59:00Z\n" +
				"passwordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:31Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + isSynced,
		},
		"an expired lock is reported without its end": {
			desired(), synced(lockedFor(-time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + isSynced,
		},
		"a lock that ends now has expired": {
			desired(), synced(lockedFor(0)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + isSynced,
		},
		"a pending lock is reported only as attempts": {
			desired(), synced(lockedFor(15*time.Minute), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked + isSynced,
		},
		"a pending lock does not replace an unlock by request": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked False Unlocked: The account is not locked; the last unlock request was applied.\n" + isSynced,
		},
		"a lock that expired while it was pending has expired": {
			desired(), synced(lockedFor(-time.Second), pendingFor(time.Second)), nil,
			"alice at 3: locked=false failed=5\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked False LockExpired: The last lock expired; logins are checked again.\n" + isSynced,
		},
		"a lock that was cleared by request is reported as such": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked False Unlocked: The account is not locked; the last unlock request was applied.\n" + isSynced,
		},
		"a lock after a handled request is reported": {
			desired(requestUnlock("t1")), synced(unlockHandled("t1"), lockedFor(time.Minute)), nil,
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:00Z\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" + isSynced,
		},
	})
}

func TestStatusOfAPassword(t *testing.T) {
	runStatus(t, map[string]statusCase{
		"a weak password is reported; the user stays ready": {
			desired(), synced(weak), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\n" + isSynced,
		},
		"a default hash from the Secret is weak despite the record": {
			desired(), synced(rowHash(defaultAdmin)), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\n" + isSynced,
		},
		"a default hash in an adopted row is reported": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(defaultViewer)), nil,
			"alice at 3: locked=false failed=0\n" + isNotLocked + weakNotOurs + isSynced,
		},
		"a disabled default hash is reported": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash("!"+defaultViewer[1:]), rowInactive), nil,
			"alice at 3: locked=false failed=0\n" + isNotLocked + weakNotOurs + isSynced,
		},
		"a default hash in another resource's row is not reported": {
			desired(), synced(ownedBy(neighbour), rowHash(defaultAdmin)), problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + isNotLocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"a suspicious password is reported; the user stays ready": {
			desired(), synced(suspected("quotes")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked +
				"PasswordSuspicious True LooksQuoted: The password works, but is probably not the intended one: it is surrounded by " +
				"quotation marks, which are part of the password. If so, put the intended password into the Secret.\n" + isSynced,
		},
		"a suspicion of a later version is not reported": {
			desired(), synced(suspected("of-later")), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked + isSynced,
		},
		"a password of the maximum age is expired; the user is ready": {
			desired(expiring(24 * time.Hour)), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\npermittedBy=team-a\n" + isNotLocked +
				"PasswordExpired True MaxAgeExceeded: The password works, but is older than the 24h0m0s that ShardingUserPolicy \"team-a\" " +
				"allows. Put another password into the Secret.\n" + isSynced,
		},
		"a password one second younger has not expired": {
			desired(expiring(24*time.Hour + time.Second)), synced(), nil,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\npermittedBy=team-a\n" + isNotLocked + isSynced,
		},
		"an unmanaged password does not expire": {
			desired(expiring(time.Second), withoutPassword), synced(nothingOfOurs), nil,
			"alice at 3: locked=false failed=0\npermittedBy=team-a\n" + isNotLocked + isSynced,
		},
		"the password's age in another resource's row is not reported": {
			desired(expiring(time.Second)), synced(ownedBy(neighbour)), problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\npermittedBy=team-a\n" + isNotLocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
	})
}

func TestStatusOfAProblem(t *testing.T) {
	runStatus(t, map[string]statusCase{
		"a resource that no policy permits is stalled": {
			desired(refused), synced(suspended), notPermitted,
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked +
				"Ready False NotPermitted: No policy permits alice.\nStalled True NotPermitted: No policy permits alice.\n",
		},
		"a resource that removes the last administrator is stalled": {
			desired(deleting), synced(), problem(v1alpha1.ReasonLastAdministrator),
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked +
				"Ready False LastAdministrator: It is LastAdministrator.\nStalled True LastAdministrator: It is LastAdministrator.\n",
		},
		"an unmanaged password has no time of a change": {
			desired(withoutPassword), synced(nothingOfOurs, rowHash(alien)), nil,
			"alice at 3: locked=false failed=0\n" + isNotLocked + isSynced,
		},
		"a counter beyond the range of the status is cut": {
			desired(), synced(failed(math.MaxInt64)), nil,
			"alice at 3: locked=false failed=2147483647\npasswordChanged=2026-03-03T12:00:00Z\n" + isNotLocked + isSynced,
		},
		"a locked user of a paused resource is reported as locked": {
			desired(paused), synced(lockedFor(time.Minute)), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=true failed=5\nlockedUntil=2026-03-04T12:01:00Z\npasswordChanged=2026-03-03T12:00:00Z\n" +
				"Locked True TooManyFailedAttempts: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
				"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n" +
				"Ready Unknown Paused: It is Paused.\n",
		},
	})
}

func TestStatusOfARowThatIsNotOwned(t *testing.T) {
	runStatus(t, map[string]statusCase{
		"a row that another resource owns is not reported": {
			desired(), synced(ownedBy(neighbour), lockedFor(time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak, suspected("quotes")),
			problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + isNotLocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"a row of the same name in another cluster is not reported": {
			desired(), synced(ownedBy(twin), lockedFor(time.Minute), loggedIn(time.Minute), unlockHandled("t1"), weak),
			problem(v1alpha1.ReasonUsernameTaken),
			"alice at 3: locked=false failed=0\n" + isNotLocked +
				"Ready False UsernameTaken: It is UsernameTaken.\nStalled True UsernameTaken: It is UsernameTaken.\n",
		},
		"an unowned row is not reported": {
			desired(), synced(noRecord, lockedFor(time.Minute), loggedIn(time.Minute)),
			problem(v1alpha1.ReasonRowExists),
			"alice at 3: locked=false failed=0\n" + isNotLocked +
				"Ready False RowExists: It is RowExists.\nStalled True RowExists: It is RowExists.\n",
		},
		"a row that a predecessor released is not reported": {
			desired(paused), synced(ownedBy(predecessor), inState(user.Released), lockedFor(time.Minute), unlockHandled("t1"), weak),
			problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\n" + isNotLocked + "Ready Unknown Paused: It is Paused.\n",
		},
		"an unused username has no figures": {
			desired(paused), nothingThere(), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\n" + isNotLocked + "Ready Unknown Paused: It is Paused.\n",
		},
	})
}

func TestStatusOfWhatIsMissing(t *testing.T) {
	runStatus(t, map[string]statusCase{
		"a missing owned row is reported from the record": {
			desired(paused), synced(rowGone, unlockHandled("t1"), weak), problem(v1alpha1.ReasonPaused),
			"alice at 3: locked=false failed=0\npasswordChanged=2026-03-03T12:00:00Z\nunlocked=t1\n" + isNotLocked +
				"WeakPassword True WellKnown: The password works, but attackers try it first. " +
				"Put another password into the Secret.\nReady Unknown Paused: It is Paused.\n",
		},
		"a missing Secret is not stalled": {
			desired(secretMissing), synced(nothingOfOurs, rowHash(user.UnusablePassword)), problem(v1alpha1.ReasonSecretNotFound),
			"alice at 3: locked=false failed=0\n" + isNotLocked + "Ready False SecretNotFound: It is SecretNotFound.\n",
		},
		"a missing key is not stalled": {
			desired(secretMissing), synced(nothingOfOurs), problem(v1alpha1.ReasonSecretKeyNotFound),
			"alice at 3: locked=false failed=0\n" + isNotLocked + "Ready False SecretKeyNotFound: It is SecretKeyNotFound.\n",
		},
		"an invalid password is stalled": {
			desired(secretMissing), synced(nothingOfOurs), problem(v1alpha1.ReasonPasswordInvalid),
			"alice at 3: locked=false failed=0\n" + isNotLocked +
				"Ready False PasswordInvalid: It is PasswordInvalid.\nStalled True PasswordInvalid: It is PasswordInvalid.\n",
		},
		"spec.username is the effective username": {
			desired(func(d *user.Desired) { d.Username = "Alice@Example.com" }), synced(nothingOfOurs), nil,
			"Alice@Example.com at 3: locked=false failed=0\n" + isNotLocked + isSynced,
		},
	})
}
