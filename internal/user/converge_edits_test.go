// SPDX-License-Identifier: Apache-2.0

package user_test

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// TestPlansFollowEdits runs edits, drift, rotations, requests and restored backups in any order, each followed by
// reconciles, and deletes the resource at the end.
func TestPlansFollowEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{Observed: user.Observed{Now: now}}
		d := desired(protecting("admin"))
		backups, resources := []user.Desired{d}, 1
		remove := func() {
			old := d
			old.Deleting, old.Generation = true, old.Generation+1
			w.settle(t, old)
		}
		another := func() {
			resources++
			d.Owner.UID = "uid-" + strconv.Itoa(resources)
			d.Generation = 1
		}
		w.settle(t, d)
		t.Repeat(map[string]func(*rapid.T){
			"edit": func(t *rapid.T) {
				d.Generation++
				d.Roles, d.Active = roleSets.Draw(t, "roles"), rapid.Bool().Draw(t, "active")
				d.Deletion, d.Adoption = policies.Draw(t, "policy"), adoptions.Draw(t, "adoption")
			},
			"rotate": func(t *rapid.T) {
				next := passwords.Draw(t, "password")
				if next.Managed != d.Password.Managed {
					d.Generation++
				}
				d.Password = next
			},
			"request an unlock":         func(t *rapid.T) { d.Unlock = requests.Draw(t, "unlock") },
			"fall under other policies": func(t *rapid.T) { d.Permission = permissions.Draw(t, "permission") },
			"fail to log in": func(*rapid.T) {
				if w.Row == nil {
					return // no login is possible
				}
				w.Row = ptrTo(*w.Row)
				if w.Row.FailedLoginAttempts++; w.Row.FailedLoginAttempts >= 5 {
					w.Row.LockedUntil = ptrTo(w.Now.Add(15 * time.Minute))
				}
			},
			"wait": func(*rapid.T) { w.Now = w.Now.Add(10 * time.Minute) },
			"drift": func(t *rapid.T) {
				if w.Row == nil {
					return // there is nothing to change
				}
				row := *w.Row
				row.Roles, row.Active = roleSets.Draw(t, "roles"), rapid.Bool().Draw(t, "active")
				row.PasswordHash = hashes.Draw(t, "hash")
				w.Row = &row
			},
			"delete the row": func(*rapid.T) { w.Row = nil },
			"be recreated": func(*rapid.T) {
				// As by kubectl delete and apply, after the finalizer of the old one.
				remove()
				another()
			},
			"vanish": func(*rapid.T) {
				// The finalizer was removed by force.
				another()
			},
			"make a backup": func(*rapid.T) { backups = append(backups, d) },
			"be restored": func(t *rapid.T) {
				// The API server lost everything since, perhaps the deletion.
				if rapid.Bool().Draw(t, "deleted before") {
					remove()
				}
				permission := d.Permission
				d = rapid.SampledFrom(backups).Draw(t, "backup")
				d.Permission = permission // which is not the resource's
			},
			"": func(t *rapid.T) {
				w.settle(t, d)
				before := w.Observed
				last := plan(t, d, w.Observed)
				if d.Permission.Refusal != nil {
					checkRefused(t, d, before, w.Observed, last)
					return
				}
				checkSynced(t, d, before, w.Observed, last)
				want := hashOf(d)
				if !d.Active {
					want = user.DisabledHash(want)
				}
				if d.Password.Version != "" && w.Row.PasswordHash != want {
					t.Errorf("the row has the password %q, want %q", w.Row.PasswordHash, want)
				}
			},
		})
		stays := w.Row != nil &&
			(!w.OwnedBy(d.Owner) || d.Deletion == v1alpha1.DeletionRetain || d.Deletion == v1alpha1.DeletionDeactivate)
		d.Deleting = true
		d.Generation++
		w.settle(t, d)
		if w.OwnedBy(d.Owner) || (w.Row != nil) != stays {
			t.Errorf("the policy %s left %s", d.Deletion, image(t, w.Observed))
		}
	})
}

// TestPlansOfOutdatedCopiesAreConfirmed plans with an outdated copy of the resource, which must not change anything
// without a confirmation. A username that another resource released is excluded, because its record keeps no trace of
// other deletions.
func TestPlansOfOutdatedCopiesAreConfirmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, old := anyWorld(t), anyDesired(t)
		old.Deleting, old.Paused = false, false
		since := rapid.SampledFrom([]string{"edited", "unlocked", "deleted"}).Draw(t, "since")
		if since == "unlocked" {
			old.Unlock = "t1"
		}
		w.settle(t, old)
		present := old
		switch since {
		case "edited":
			present.Generation++
			present.Roles, present.Active = roleSets.Draw(t, "new roles"), rapid.Bool().Draw(t, "new active")
			present.Deletion = policies.Draw(t, "new deletion")
			present.Permission = permissions.Draw(t, "new permission")
		case "unlocked":
			present.Unlock = "t2"
		case "deleted":
			present.Generation++
			present.Deleting = true
			if note := w.Ownership; note != nil && note.State == user.Released && note.Owner != old.Owner {
				// This skips the case, not the test: rapid draws another one. Such a username keeps no tombstone.
				t.Skip("another resource released the username")
			}
		}
		w.settle(t, present)
		if rapid.Bool().Draw(t, "the row goes") && (present.Deleting || w.OwnedBy(present.Owner)) {
			w.Row = nil
		}
		decision := plan(t, old, w.Observed)
		if decision.Confirm || decision.Change.Verb == user.Nothing {
			return
		}
		if w.apply(withPassword(decision, old, w.Observed)) {
			t.Errorf("an old copy went through unasked: %+v", decision)
		}
	})
}
