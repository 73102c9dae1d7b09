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

// eventTexts returns events as text, one a line.
func eventTexts(events []user.Event) string {
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

const (
	createdText   = "Normal Created: Created the row for username \"alice\".\n"
	passwordText  = "Normal PasswordChanged: The password was changed.\n"
	unlockedText  = "Normal Unlocked: Unlocked by request: the lock and the failed-attempt counter were cleared.\n"
	correctedText = "Corrected to match the spec.\n"
	driftText     = "Warning DriftCorrected: Another program changed "
)

type changeEventsCase struct {
	change user.Change
	drift  []user.Field
	want   string
}

func runChangeEvents(t *testing.T, cases map[string]changeEventsCase) {
	t.Helper()
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			before := image(t, tt.change, tt.drift)
			got := eventTexts(user.ChangeEvents(tt.change, tt.drift))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the events differ (-want +got):\n%s", diff)
			}
			if again := eventTexts(user.ChangeEvents(tt.change, tt.drift)); again != got {
				t.Errorf("the events of one change differ:\n%s\n%s", got, again)
			}
			if after := image(t, tt.change, tt.drift); before != after {
				t.Errorf("ChangeEvents changed its input:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestChangeEvents(t *testing.T) {
	runChangeEvents(t, map[string]changeEventsCase{
		"no change, no Event": {
			change(user.Nothing), nil, "",
		},
		"a new row": {
			change(user.Create, puttingNew(hashV1, "v1")), nil, createdText,
		},
		"a new row with an unlock request": {
			change(user.Create, puttingNew(hashV1, "v1"), unlocking("t1")), nil, createdText,
		},
		"a restored row": {
			change(user.Create, puttingBack), []user.Field{user.FieldRow}, driftText + "the whole row. " + correctedText,
		},
		"an adopted row": {
			change(user.Adopt), nil, "Normal Adopted: Adopted the row for username \"alice\".\n",
		},
		"an adopted row with another password and an unlock": {
			change(user.Adopt, puttingNew(hashV1, "v1"), unlocking("t1")), nil,
			"Normal Adopted: Adopted the row for username \"alice\".\n" + passwordText + unlockedText,
		},
		"an adopted row with a handled request": {
			change(user.Adopt, recordingUnlock("t1")), nil, "Normal Adopted: Adopted the row for username \"alice\".\n",
		},
		"edits": {
			change(user.Update, writing(user.FieldRoles, user.FieldActive)), nil, "Normal Updated: Updated roles, active.\n",
		},
		"an edit that is only recorded": {
			change(user.Update), nil, "",
		},
		"drift": {
			change(user.Update, puttingBack, writing(user.FieldRoles, user.FieldPasswordHash)),
			[]user.Field{user.FieldRoles, user.FieldPasswordHash},
			driftText + "roles, password_hash. " + correctedText,
		},
		"drift beside an edit": {
			change(user.Update, puttingBack, writing(user.FieldRoles, user.FieldPasswordHash)),
			[]user.Field{user.FieldPasswordHash},
			driftText + "password_hash. " + correctedText + "Normal Updated: Updated roles.\n",
		},
	})
}

func TestChangeEventsOfAPassword(t *testing.T) {
	runChangeEvents(t, map[string]changeEventsCase{
		"another password is reported once": {
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldPasswordHash)), nil, passwordText,
		},
		"another password beside an edit": {
			change(user.Update, puttingNew(hashV2, "v2"), writing(user.FieldRoles, user.FieldPasswordHash)), nil,
			"Normal Updated: Updated roles.\n" + passwordText,
		},
		"another password with the same hash in the row": {
			change(user.Update, puttingNew(hashV2, "v2")), nil, passwordText,
		},
		"another version of the same password": {
			change(user.Update, puttingBack), nil, "",
		},
		"a password that is no longer managed": {
			change(user.Update, unmanaging), nil, "",
		},
		"an unlock": {
			change(user.Update, unlocking("t1")), nil, unlockedText,
		},
		"a counter reset by another password is no unlock": {
			change(user.Update, puttingNew(hashV2, "v2"), clearsLock), nil, passwordText,
		},
	})
}

func TestChangeEventsOfSuspensionAndEnd(t *testing.T) {
	runChangeEvents(t, map[string]changeEventsCase{
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
			driftText + "active. Corrected: no policy permits the resource.\n",
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
		"a released row": {
			change(user.Release), nil, "",
		},
		"a tombstone": {
			change(user.Bury), nil, "",
		},
	})
}

func TestEventsContainNoHash(t *testing.T) {
	for name, d := range map[string]user.Desired{
		"drift":                                desired(),
		"a rotated password":                   desired(withSecret("v2")),
		"a password that is no longer managed": desired(edited, withoutPassword),
		"drift without the Secret":             desired(secretMissing),
	} {
		t.Run(name, func(t *testing.T) {
			o := synced(rowHash(alien))
			decision := plan(t, d, o)
			c := decision.Change
			if decision.TakePassword {
				c = decision.WithPassword(user.PasswordChange{Hash: hashV2, Version: "v2", New: true}, o)
			}
			s := status(t, fresh(), d, &o, decision.Problem)
			all := eventTexts(user.ChangeEvents(c, decision.Drift)) + eventTexts(user.StatusEvents(fresh(), s)) + golden(s)
			if strings.Contains(all, "$2a$") {
				t.Errorf("the events contain a hash:\n%s", all)
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
		"nothing new is not reported": {from: synced(), to: synced()},
		"Ready that became False is reported by its reason": {
			from: synced(), to: synced(), toProblem: noSecret, want: "Warning SecretNotFound: There is no Secret.\n",
		},
		"Ready that stays False for one reason is reported once": {
			from: synced(), to: synced(), fromProblem: noSecret, toProblem: noSecret,
		},
		"another message of the same reason is not reported": {
			from: synced(), to: synced(), fromProblem: problem(v1alpha1.ReasonSecretNotFound), toProblem: noSecret,
		},
		"Ready that is False for another reason is reported": {
			from: synced(), to: synced(), fromProblem: noSecret, toProblem: problem(v1alpha1.ReasonPasswordInvalid),
			want: "Warning PasswordInvalid: It is PasswordInvalid.\n",
		},
		"Ready that became True is not reported": {
			from: synced(), to: synced(), fromProblem: noSecret,
		},
		"a pause is not reported": {
			from: synced(), to: synced(), toProblem: problem(v1alpha1.ReasonPaused),
		},
		"a problem from before a pause is reported again": {
			from: synced(), to: synced(), fromProblem: problem(v1alpha1.ReasonPaused), toProblem: noSecret,
			want: "Warning SecretNotFound: There is no Secret.\n",
		},
		"a lock is reported": {
			from: synced(), to: synced(minute), want: locked,
		},
		"a lock that lasts is reported once": {
			from: synced(minute), to: synced(lockedFor(time.Hour)),
		},
		"more attempts are not reported": {
			from: synced(failed(1)), to: synced(failed(4), loggedIn(0)),
		},
		"an expired lock is reported": {
			from: synced(minute), to: synced(lockedFor(0)),
			want: "Normal Unlocked: The last lock expired; logins are checked again.\n",
		},
		"a lock that expired unobserved is not reported": {
			from: synced(), to: synced(lockedFor(-time.Second)),
		},
		"a lock that another program cleared is reported": {
			from: synced(minute), to: synced(), want: "Normal Unlocked: The account is not locked.\n",
		},
		"a lock that was cleared by request is not reported again": {
			from: synced(minute), to: synced(unlockHandled("t1")),
		},
		"an expired lock after an earlier unlock is reported": {
			from: synced(unlockHandled("t1"), minute), to: synced(unlockHandled("t1")),
			want: "Normal Unlocked: The account is not locked; the last unlock request was applied.\n",
		},
		"a weak password is reported": {
			from: synced(), to: synced(weak), want: weakPassword,
		},
		"a password that stays weak is reported once": {
			from: synced(weak), to: synced(weak),
		},
		"a suspicious password is reported": {
			from: synced(), to: synced(suspected("username")), want: "Warning PasswordSuspicious: The password works, but is probably not the " +
				"intended one: it is in a kubernetes.io/basic-auth Secret whose key \"username\" differs from the username of this user. " +
				"If so, put the intended password into the Secret.\n",
		},
		"a password that stays suspicious is reported once": {
			from: synced(suspected("edge")), to: synced(suspected("edge,username")),
		},
		"a password that is no longer suspicious is not reported": {
			from: synced(suspected("edge")), to: synced(),
		},
		"a lock and a missing Secret are both reported": {
			from: synced(), to: synced(minute), toProblem: noSecret,
			want: "Warning SecretNotFound: There is no Secret.\n" + locked,
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := status(t, fresh(), desired(), &tt.from, tt.fromProblem)
			to := status(t, from, desired(), &tt.to, tt.toProblem)
			before := image(t, from, to)
			if diff := cmp.Diff(tt.want, eventTexts(user.StatusEvents(from, to))); diff != "" {
				t.Errorf("the events differ (-want +got):\n%s", diff)
			}
			if after := image(t, from, to); before != after {
				t.Errorf("StatusEvents changed its input:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestAnExpiredPasswordIsReportedOnce(t *testing.T) {
	account := synced()
	before := status(t, fresh(), desired(expiring(25*time.Hour)), &account, nil)
	expired := status(t, before, desired(expiring(time.Hour)), &account, nil)
	const want = "Warning PasswordExpired: The password works, but is older than the 1h0m0s that ShardingUserPolicy \"team-a\" " +
		"allows. Put another password into the Secret.\n"
	if diff := cmp.Diff(want, eventTexts(user.StatusEvents(before, expired))); diff != "" {
		t.Errorf("the events differ (-want +got):\n%s", diff)
	}
	if !user.Urgent(before, expired) || user.AboutAccount(before, expired) {
		t.Error("the status is not urgent, or counts as caused by logins")
	}
	later := status(t, expired, desired(expiring(time.Minute)), &account, nil)
	if again := eventTexts(user.StatusEvents(expired, later)); again != "" {
		t.Errorf("it is reported again:\n%s", again)
	}
}

// The API server rejects an Event with a note of more than a kilobyte.
func TestEventsFitTheLimitOfTheAPIServer(t *testing.T) {
	account := synced()
	for name, tt := range map[string]struct{ message, want string }{
		"the maximum length":            {strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
		"longer":                        {strings.Repeat("x", 1001), strings.Repeat("x", 1000) + "..."},
		"cut in the middle of a rune":   {"x" + strings.Repeat("ä", 600), "x" + strings.Repeat("ä", 499) + "..."},
		"a condition keeps its message": {"Short.", "Short."},
	} {
		t.Run(name, func(t *testing.T) {
			s := status(t, fresh(), desired(), &account, &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: tt.message})
			events := user.StatusEvents(fresh(), s)
			if len(events) != 1 || events[0].Message != tt.want {
				t.Errorf("the events are\n%s\nwant one with\n%s", eventTexts(events), tt.want)
			}
			if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady); c.Message != tt.message {
				t.Errorf("the condition says %q, want all of it", c.Message)
			}
		})
	}
}

func TestTheFirstStatusReportsProblems(t *testing.T) {
	account := synced(lockedFor(time.Minute))
	first := status(t, fresh(), desired(), &account, noSecret)
	const want = "Warning SecretNotFound: There is no Secret.\n" +
		"Warning Locked: Logins are refused until 2026-03-04T12:01:00Z because of failed attempts; " +
		"to unlock now, set the annotation sharding.io/unlock-requested-at to a new value.\n"
	if diff := cmp.Diff(want, eventTexts(user.StatusEvents(fresh(), first))); diff != "" {
		t.Errorf("the events differ (-want +got):\n%s", diff)
	}
}
