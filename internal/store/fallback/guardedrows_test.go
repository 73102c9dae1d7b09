// SPDX-License-Identifier: Apache-2.0

package fallback

import (
	"testing"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The account is marked here and not read: neither the notification nor the reader comes first.
func TestAChangeOfThisProcessIsSeenAtOnce(t *testing.T) {
	change := map[string]func(w *world){
		"an account": func(w *world) {
			w.db.Edit("alice", func(r *user.Row) *user.Row { r.Active = false; return r })
			if _, err := w.ForReconciler(w.db).Apply(w.t.Context(), user.Change{Username: "alice", Verb: user.Nothing}); err != nil {
				w.t.Error(err)
			}
		},
		"a lock": func(w *world) { w.fails("alice", 5) },
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			inWorld(t, false, nil, func(w *world) {
				change(w)
				got := w.observe("alice")
				if got.Active && got.LockedUntil == nil {
					t.Error("not seen")
				}
				if n := w.db.looks.Load(); n != 1 {
					t.Errorf("the database was asked %d times, want once", n)
				}
			})
		})
	}
}
