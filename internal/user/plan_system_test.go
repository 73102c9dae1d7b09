// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

func TestARecordOfAnOlderOperatorGetsTheSystemOfItsOwner(t *testing.T) {
	decision := plan(t, desired(inSystem("orders")), synced())
	if decision.Problem != nil || decision.Change.Verb != user.Update || len(decision.Change.Write) > 0 {
		t.Errorf("the decision is %+v, want an update of the record alone", decision)
	}
	if system := decision.Change.Owner.System; system != "orders" {
		t.Errorf("the change records the system %q", system)
	}
	recorded := synced()
	recorded.Ownership.Owner.System = "orders"
	if decision := plan(t, desired(inSystem("orders")), recorded); decision.Change.Verb != user.Nothing {
		t.Errorf("with the system recorded the decision is %+v, want nothing", decision)
	}
}

func TestAReleasedRowOfAnotherSystemIsNotTakenUp(t *testing.T) {
	for name, recorded := range map[string]user.Owner{"of a named system": ordered, "of the default system": predecessor} {
		d := desired()
		if recorded.System == "" {
			d = desired(inSystem("orders"))
		}
		decision := plan(t, d, synced(ownedBy(recorded), inState(user.Released)))
		if decision.Problem == nil || decision.Problem.Reason != "RowExists" || decision.Change.Verb != user.Nothing {
			t.Errorf("%s: the decision is %+v, want RowExists", name, decision)
		}
	}
}
