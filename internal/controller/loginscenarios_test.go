// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// logIns are scenarios in which a login goes through the real login side, beside the operator and on the same database.
var logIns = map[string]scenario{
	"failure to log in": {
		given: withPassword(), when: []step{{until: always}}, logsIn: second,
		overtakings: overtakings("a rotation", "an unlocking", "deactivation"),
	},
	// A charge that nobody settles shows as a lock after store.PendingTime.
	"failure that locks": {
		given: append(withPassword(), failures(4)...), when: []step{{until: locked}}, logsIn: second,
		overtakings: overtakings("an unlocking", "a rotation"),
	},
	"login after failures": {
		given: append(withPassword(), failures(2)...), when: []step{{until: always}}, logsIn: first,
		overtakings: overtakings("a rotation", "an unlocking", "deactivation"),
	},
	"login at the last try": {
		given: append(withPassword(), failures(4)...), when: []step{{until: always}}, logsIn: first,
		overtakings: overtakings("a rotation", "an unlocking", "an edit"),
	},
	"login while locked": {
		given: append(withPassword(), steps(lock, locked)...), when: []step{{until: always}}, logsIn: first,
		overtakings: overtakings("a rotation", "an edit"),
	},
}

// failures are attempts with a wrong password, one after the other.
func failures(number int) (all []step) {
	for range number {
		all = append(all, step{
			do: func(r *run) {
				r.Expect(r.replica.try(r.t, r.name, r.plain(second))).To(gomega.Equal(login.Failed))
			},
			until: func(g gomega.Gomega, r *run) { g.Expect(r.trail(r.name)).NotTo(gomega.ContainElement("pending")) },
		})
	}
	return all
}

// logIn starts a login, and does not wait for the answer.
func (r *run) logIn() {
	answered, replica := make(chan login.Outcome, 1), r.replica
	r.answered = answered
	go func() { answered <- replica.try(r.t, r.name, r.plain(r.logsIn)) }()
}

// checksOnce is how often the login compared a password, in a run that is over: once where it was charged and nobody stopped
// the process then, even where nothing was to be compared.
func (r *run) checksOnce() int {
	if r.answered == nil || (r.at.call == callCharge && !r.fault.waits() && r.fault != noFault) {
		return 0
	}
	return 1
}

// charge is the beginning of a login, and settleCharge its end.
func (r *run) charge() {
	var err error
	r.charged, err = r.side.Charge(r.t.Context(), store.Attempt{Username: r.name, Alias: "nobody"}, usual)
	r.Expect(err).NotTo(gomega.HaveOccurred())
}

func (r *run) settleCharge() {
	_, err := r.side.Settle(r.t.Context(), r.charged, isOf(r.charged.PasswordHash, r.plain(r.logsIn)))
	r.Expect(err).NotTo(gomega.HaveOccurred())
}
