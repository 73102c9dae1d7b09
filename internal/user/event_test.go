// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// told is events as people read them, a line each.
func told(events []user.Event) string {
	var b strings.Builder
	for _, e := range events {
		kind := "Normal"
		if e.Warning {
			kind = "Warning"
		}
		b.WriteString(kind + " " + e.Reason + ": " + e.Message + "\n")
	}
	return b.String()
}

func TestChangeEvents(t *testing.T) {
	const (
		created   = "Normal Created: Created the row for username \"alice\".\n"
		rotated   = "Normal PasswordChanged: The password was changed.\n"
		unlocked  = "Normal Unlocked: Unlocked by request: the lock and the failed-attempt counter were cleared.\n"
		putBack   = "Corrected to match the spec.\n"
		corrected = "Warning DriftCorrected: Another program changed "
	)
	for name, tt := range map[string]struct {
		change user.Change
		drift  []user.Field
		want   string
	}{
		"nothing is nothing to tell": {
			change(user.Nothing), nil, "",
		},
		"a new row": {
			change(user.Create, puttingNew(hashV1, "v1")), nil, created,
		},
		"a new row with a request to unlock": {
			change(user.Create, puttingNew(hashV1, "v1"), unlocking("t1")), nil, created,
		},
		"a row that was put back": {
			change(user.Create, puttingBack), []user.Field{user.FieldRow}, corrected + "the whole row. " + putBack,
		},
		"an adopted row": {
			change(user.Adopt), nil, "Normal Adopted: Adopted the row for username \"alice\".\n",
		},
		"an adopted row with another password, unlocked": {
			change(user.Adopt, puttingNew(hashV1, "v1"), unlocking("t1")), nil,
			"Normal Adopted: Adopted the row for username \"alice\".\n" + rotated + unlocked,
		},
		"an adopted row with a request that was handled already": {
			change(user.Adopt, noting("t1")), nil, "Normal Adopted: Adopted the row for username \"alice\".\n",
		},
		"edits": {
			change(user.Update, writing(user.FieldRoles, user.FieldActive)), nil, "Normal Updated: Updated roles, active.\n",
		},
		"an edit that is only noted": {
			change(user.Update), nil, "",
		},
		"drift": {
			change(user.Update, puttingBack, writing(user.FieldRoles, user.FieldPasswordHash)),
			[]user.Field{user.FieldRoles, user.FieldPasswordHash},
			corrected + "roles, password_hash. " + putBack,
		},
		"drift beside an edit": {
			change(user.Update, puttingBack, writing(user.FieldRoles, user.FieldPasswordHash)),
			[]user.Field{user.FieldPasswordHash},
			corrected + "password_hash. " + putBack + "Normal Updated: Updated roles.\n",
		},
		"another password is told once": {
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldPasswordHash)), nil, rotated,
		},
		"another password beside an edit": {
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldRoles, user.FieldPasswordHash)), nil,
			"Normal Updated: Updated roles.\n" + rotated,
		},
		"another password with the same hash in the row": {
			change(user.Update, puttingNew(hashV2, "v2")), nil, rotated,
		},
		"another version of the same password": {
			change(user.Update, puttingBack), nil, "",
		},
		"a password that is no longer ours": {
			change(user.Update, lettingGo), nil, "",
		},
		"an unlock": {
			change(user.Update, unlocking("t1")), nil, unlocked,
		},
		"another password that starts from a clean counter is no unlock": {
			change(user.Update, puttingNew(hashV2, "v2"), clearsLock), nil, rotated,
		},
		"a suspension": {
			change(user.Update, suspending, writing(user.FieldActive)), nil,
			"Normal Deactivated: Deactivated the row for username \"alice\": no policy permits the resource.\n",
		},
		"a suspension of a row that is inactive already": {
			change(user.Update, suspending), nil, "",
		},
		"a suspended row that another program activated": {
			change(user.Update, suspending, writing(user.FieldActive)),
			[]user.Field{user.FieldActive},
			corrected + "active. Corrected: no policy permits the resource.\n",
		},
		"a row that was suspended and is permitted again": {
			change(user.Update, writing(user.FieldActive)), nil, "Normal Updated: Updated active.\n",
		},
		"other terms of lockout": {
			change(user.Update, onTerms(strict)), nil, "",
		},
		"a deletion": {
			change(user.Delete), nil, "Normal Deleted: Deleted the row for username \"alice\".\n",
		},
		"a deactivation": {
			change(user.Deactivate), nil,
			"Normal Deactivated: Deactivated the row for username \"alice\"; the row stays in the table.\n",
		},
		"a row that was let go of": {
			change(user.Release), nil, "",
		},
		"a burial": {
			change(user.Bury), nil, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := image(t, tt.change, tt.drift)
			got := told(user.ChangeEvents(tt.change, tt.drift))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the events tell something else (-want +got):\n%s", diff)
			}
			if again := told(user.ChangeEvents(tt.change, tt.drift)); again != got {
				t.Errorf("the same change was told of in two ways:\n%s\n%s", got, again)
			}
			if after := image(t, tt.change, tt.drift); before != after {
				t.Errorf("ChangeEvents changed its input:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestEventsHoldNoHash(t *testing.T) {
	for name, d := range map[string]user.Desired{
		"drift":                    desired(),
		"a rotated password":       desired(withSecret("v2")),
		"a password let go of":     desired(edited, withoutPassword),
		"drift without the Secret": desired(secretMissing),
	} {
		t.Run(name, func(t *testing.T) {
			o := synced(rowHash(alien))
			decision := plan(t, d, o)
			c := decision.Change
			if decision.TakePassword {
				c = decision.WithPassword(user.PasswordChange{Hash: hashV2, Version: "v2", New: true}, o)
			}
			s := status(t, fresh(), d, &o, decision.Problem)
			all := told(user.ChangeEvents(c, decision.Drift)) + told(user.StatusEvents(fresh(), s)) + golden(s)
			if strings.Contains(all, "$2a$") {
				t.Errorf("a hash is told of:\n%s", all)
			}
		})
	}
}

func TestStatusEvents(t *testing.T) {
	const (
		locked = "Warning Locked: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
			"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n"
		weakPassword = "Warning WeakPassword: The password works, but attackers try it first. " +
			"Put another password into the Secret.\n"
	)
	minute := lockedFor(time.Minute)
	for name, tt := range map[string]struct {
		from, to               user.Observed
		fromProblem, toProblem *user.Problem
		want                   string
	}{
		"nothing new is nothing to tell": {from: synced(), to: synced()},
		"Ready that turned False is told by its reason": {
			from: synced(), to: synced(), toProblem: noSecret, want: "Warning SecretNotFound: There is no Secret.\n",
		},
		"Ready that stays False for the same reason is told once": {
			from: synced(), to: synced(), fromProblem: noSecret, toProblem: noSecret,
		},
		"another message of the same reason is not told": {
			from: synced(), to: synced(), fromProblem: problem(v1alpha1.ReasonSecretNotFound), toProblem: noSecret,
		},
		"Ready that is False for another reason is told": {
			from: synced(), to: synced(), fromProblem: noSecret, toProblem: problem(v1alpha1.ReasonPasswordInvalid),
			want: "Warning PasswordInvalid: It is PasswordInvalid.\n",
		},
		"Ready that turned True is not told": {
			from: synced(), to: synced(), fromProblem: noSecret,
		},
		"a pause is not told": {
			from: synced(), to: synced(), toProblem: problem(v1alpha1.ReasonPaused),
		},
		"a problem that was there before the pause is told again": {
			from: synced(), to: synced(), fromProblem: problem(v1alpha1.ReasonPaused), toProblem: noSecret,
			want: "Warning SecretNotFound: There is no Secret.\n",
		},
		"a lock is told": {
			from: synced(), to: synced(minute), want: locked,
		},
		"a lock that lasts is told once": {
			from: synced(minute), to: synced(lockedFor(time.Hour)),
		},
		"more attempts are not told": {
			from: synced(failed(1)), to: synced(failed(4), loggedIn(0)),
		},
		"a lock that ran out is told": {
			from: synced(minute), to: synced(lockedFor(0)),
			want: "Normal Unlocked: The last lock expired; logins are checked again.\n",
		},
		"a lock that came and ran out unseen is not told": {
			from: synced(), to: synced(lockedFor(-time.Second)),
		},
		"a lock that another program lifted is told": {
			from: synced(minute), to: synced(), want: "Normal Unlocked: The account is not locked.\n",
		},
		"a lock that went by request was told of already": {
			from: synced(minute), to: synced(unlockHandled("t1")),
		},
		"a lock that went by itself is told, though an earlier one went by request": {
			from: synced(unlockHandled("t1"), minute), to: synced(unlockHandled("t1")),
			want: "Normal Unlocked: The account is not locked; the last unlock request was applied.\n",
		},
		"a weak password is told": {
			from: synced(), to: synced(weak), want: weakPassword,
		},
		"a password that stays weak is told once": {
			from: synced(weak), to: synced(weak),
		},
		"a suspicious password is told": {
			from: synced(), to: synced(suspected("username")), want: "Warning PasswordSuspicious: The password works, but is probably not the " +
				"intended one: it is in a kubernetes.io/basic-auth Secret whose key \"username\" differs from the username of this user. " +
				"If so, put the intended password into the Secret.\n",
		},
		"a password that stays suspicious is told once": {
			from: synced(suspected("edge")), to: synced(suspected("edge,username")),
		},
		"a password that is no longer suspicious is not told": {
			from: synced(suspected("edge")), to: synced(),
		},
		"a lock and a missing Secret are told both": {
			from: synced(), to: synced(minute), toProblem: noSecret,
			want: "Warning SecretNotFound: There is no Secret.\n" + locked,
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := status(t, fresh(), desired(), &tt.from, tt.fromProblem)
			to := status(t, from, desired(), &tt.to, tt.toProblem)
			before := image(t, from, to)
			if diff := cmp.Diff(tt.want, told(user.StatusEvents(from, to))); diff != "" {
				t.Errorf("the events tell something else (-want +got):\n%s", diff)
			}
			if after := image(t, from, to); before != after {
				t.Errorf("StatusEvents changed its input:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestAPasswordThatExpiresIsToldOfOnce(t *testing.T) {
	account := synced()
	before := status(t, fresh(), desired(expiring(25*time.Hour)), &account, nil)
	expired := status(t, before, desired(expiring(time.Hour)), &account, nil)
	const want = "Warning PasswordExpired: The password works, but is older than the 1h0m0s that ShardingUserPolicy \"team-a\" " +
		"allows. Put another password into the Secret.\n"
	if diff := cmp.Diff(want, told(user.StatusEvents(before, expired))); diff != "" {
		t.Errorf("the events tell something else (-want +got):\n%s", diff)
	}
	if !user.Urgent(before, expired) || user.AboutAccount(before, expired) {
		t.Error("it is not told of at once, or taken for something that log-ins can bring about")
	}
	later := status(t, expired, desired(expiring(time.Minute)), &account, nil)
	if again := told(user.StatusEvents(expired, later)); again != "" {
		t.Errorf("it is told of again:\n%s", again)
	}
}

// The API server refuses an Event with a note of more than a kilobyte.
func TestAnEventIsNoLongerThanTheAPIServerTakes(t *testing.T) {
	account := synced()
	for name, tt := range map[string]struct{ message, want string }{
		"as long as may be":            {strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
		"longer":                       {strings.Repeat("x", 1001), strings.Repeat("x", 1000) + "..."},
		"cut in the middle of a rune":  {"x" + strings.Repeat("ä", 600), "x" + strings.Repeat("ä", 499) + "..."},
		"a condition is told as it is": {"Short.", "Short."},
	} {
		t.Run(name, func(t *testing.T) {
			s := status(t, fresh(), desired(), &account, &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: tt.message})
			events := user.StatusEvents(fresh(), s)
			if len(events) != 1 || events[0].Message != tt.want {
				t.Errorf("the events are\n%s\nwant one that says\n%s", told(events), tt.want)
			}
			if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); c.Message != tt.message {
				t.Errorf("the condition says %q, want all of it", c.Message)
			}
		})
	}
}

func TestTheFirstStatusTellsOfWhatIsWrong(t *testing.T) {
	account := synced(lockedFor(time.Minute))
	first := status(t, fresh(), desired(), &account, noSecret)
	const want = "Warning SecretNotFound: There is no Secret.\n" +
		"Warning Locked: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
		"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n"
	if diff := cmp.Diff(want, told(user.StatusEvents(fresh(), first))); diff != "" {
		t.Errorf("the events tell something else (-want +got):\n%s", diff)
	}
}
