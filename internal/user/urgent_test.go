// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// differences are pairs of statuses, with the expected results of Urgent and AboutAccount.
var differences = map[string]struct {
	from, to               user.Observed
	fromProblem, toProblem *user.Problem
	edit                   bool
	urgent, account        bool
}{
	"nothing":          {from: synced(), to: synced(), account: true},
	"one more attempt": {from: synced(), to: synced(failed(1)), account: true},
	"a login":          {from: synced(failed(3)), to: synced(loggedIn(time.Second)), account: true},
	"a longer lock":    {from: synced(lockedFor(time.Minute)), to: synced(lockedFor(time.Hour)), account: true},
	"a lock that is pending": {
		from: synced(failed(4)), to: synced(lockedFor(time.Minute), pendingFor(time.Second)), account: true,
	},
	"a pending lock that became effective": {
		from: synced(lockedFor(time.Minute), pendingFor(time.Second)), to: synced(lockedFor(time.Minute)), urgent: true, account: true,
	},
	"a new lock":         {from: synced(), to: synced(lockedFor(time.Minute)), urgent: true, account: true},
	"an ended lock":      {from: synced(lockedFor(time.Minute)), to: synced(lockedFor(0)), urgent: true, account: true},
	"a lock in between":  {from: synced(), to: synced(lockedFor(-time.Second)), urgent: true, account: true},
	"a cleared old lock": {from: synced(lockedFor(-time.Second)), to: synced(), urgent: true, account: true},
	"an unlock by request": {
		from: synced(lockedFor(time.Minute)), to: synced(unlockHandled("t1")), urgent: true,
	},
	"an attempt and an unlock by request": {from: synced(failed(2)), to: synced(unlockHandled("t1")), urgent: true},
	"another password": {
		from: synced(), to: synced(func(o *user.Observed) { o.Ownership.PasswordChangedAt = ptrTo(now) }), urgent: true,
	},
	"a suspicious password":          {from: synced(), to: synced(suspected("quotes")), urgent: true},
	"a weak password":                {from: synced(), to: synced(weak), urgent: true},
	"a Secret that went missing":     {from: synced(), to: synced(), toProblem: noSecret, urgent: true},
	"another reason not to be ready": {from: synced(), to: synced(), fromProblem: problem("PasswordInvalid"), toProblem: noSecret, urgent: true},
	"a recovery":                     {from: synced(), to: synced(), fromProblem: problem("DatabaseUnavailable"), urgent: true},
	"another generation":             {from: synced(), to: synced(), edit: true, urgent: true},
	"an attempt and an edit":         {from: synced(), to: synced(failed(1)), edit: true, urgent: true},
	"a lock and a missing Secret":    {from: synced(), to: synced(lockedFor(time.Minute)), toProblem: noSecret, urgent: true},
}

func TestUrgentAndAboutAccount(t *testing.T) {
	for name, tt := range differences {
		t.Run(name, func(t *testing.T) {
			d := desired()
			from := status(t, fresh(), d, &tt.from, tt.fromProblem)
			if tt.edit {
				d.Generation++
			}
			to := status(t, from, d, &tt.to, tt.toProblem)
			before := image(t, from, to)
			if got := user.Urgent(from, to); got != tt.urgent {
				t.Errorf("Urgent = %t, want %t", got, tt.urgent)
			}
			if got := user.AboutAccount(from, to); got != tt.account {
				t.Errorf("AboutAccount = %t, want %t", got, tt.account)
			}
			if after := image(t, from, to); before != after {
				t.Errorf("the statuses changed:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func TestTheFirstStatusOfAResourceIsUrgent(t *testing.T) {
	account := synced()
	first := status(t, fresh(), desired(), &account, nil)
	if !user.Urgent(fresh(), first) {
		t.Error("Urgent = false, want true")
	}
	if user.AboutAccount(fresh(), first) {
		t.Error("AboutAccount = true, want false")
	}
}
