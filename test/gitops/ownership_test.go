// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"strings"
	"testing"

	syncing "github.com/argoproj/gitops-engine/pkg/sync/common"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// annotated returns the manifest with an annotation.
func annotated(manifest, name, value string) string {
	return strings.Replace(manifest, "metadata: {", fmt.Sprintf("metadata: {annotations: {%s: %q}, ", name, value), 1)
}

// claiming returns the manifest of a user whose username differs from its name, with further lines in the spec.
func claiming(name, username string, spec ...string) string {
	return user(name, append([]string{"  username: " + username + "\n"}, spec...)...)
}

// used sets a counter of an account that is zero in a new account.
func used(t *testing.T, username string) {
	t.Helper()
	if n := statement(t, `UPDATE users SET failed_login_attempts = 3 WHERE username = $1`, username); n != 1 {
		t.Fatalf("there are %d rows of %s, want 1", n, username)
	}
}

// byHand are changes of a user's roles without Git.
var byHand = map[string]func(t *testing.T, namespace, name string){
	"by a patch, as kubectl edit sends it": func(t *testing.T, namespace, name string) {
		t.Helper()
		edit(t, namespace, name, `{"spec":{"roles":["viewer","admin"]}}`)
	},
	"by a server-side apply": func(t *testing.T, namespace, name string) {
		t.Helper()
		patch := `{"apiVersion":"sharding.io/v1alpha1","kind":"ShardingUser","spec":{"roles":["viewer","admin"]}}`
		force := true
		if _, err := objects.Resource(userResource).Namespace(namespace).Patch(t.Context(), name, types.ApplyPatchType, []byte(patch),
			metav1.PatchOptions{FieldManager: "by-hand", Force: &force}); err != nil {
			t.Fatal(err)
		}
	},
}

func TestSyncRemovesARoleThatWasAddedByHand(t *testing.T) {
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			application := newApplication(t)
			application.serverSide, application.serverSideDiff = w.serverSide, w.serverSideDiff
			one := "one-" + application.name
			application.commit(t, map[string]string{
				"one.yaml": user(one),
				// Another administrator, so that the first user can lose the role.
				"admin.yaml": annotated(strings.Replace(user("admin-"+application.name), "viewer", "admin", 1),
					"sharding.io/allow-removing-last-administrator", "true"),
			})
			application.sync(t)
			application.syncedAnd(t, healthy(one, "admin-"+application.name))
			for how, add := range byHand {
				add(t, application.namespace, one)
				row(t, one, `roles @> '["admin"]'`)
				eventually(t, func() string {
					if strings.HasPrefix(application.outOfSync(t), "ShardingUser/"+one+" is out of sync") {
						return ""
					}
					return how + " the role is no difference: self-heal would not see it"
				})
				application.sync(t) // as self-heal does
				row(t, one, `roles = '["viewer"]'`)
				application.syncedAnd(t, healthy(one, "admin-"+application.name))
			}
			application.delete(t)
		})
	}
}

func TestRenameInOneCommit(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after []string // lines of the spec before and after the rename
		kept          bool
	}{
		"replaces the account":                        {nil, nil, false},
		"keeps the account with Retain and IfUnowned": {[]string{"  deletionPolicy: Retain\n"}, []string{"  adoptionPolicy: IfUnowned\n"}, true},
		"replaces the account with only IfUnowned":    {nil, []string{"  adoptionPolicy: IfUnowned\n"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			application := newApplication(t)
			username := "renamed-" + application.name
			application.commit(t, map[string]string{"user.yaml": claiming("former", username, tt.before...)})
			application.sync(t)
			application.syncedAnd(t, healthy("former"))
			used(t, username)
			application.commit(t, map[string]string{"user.yaml": claiming("latter", username, tt.after...)})
			application.sync(t)
			application.syncedAnd(t, healthy("latter"))
			if kept := hasRow(t, username, "failed_login_attempts = 3"); kept != tt.kept {
				t.Errorf("the account was kept: %t, want %t", kept, tt.kept)
			}
			application.delete(t)
		})
	}
}

// With PruneLast the new resource is applied before the old one is deleted, so the sync fails. docs/gitops.md recommends two
// commits.
func TestRenameWithPruneLastFailsWithInstructions(t *testing.T) {
	application := newApplication(t)
	username := "last-" + application.name
	last := func(manifest string) string {
		return annotated(manifest, "argocd.argoproj.io/sync-options", "PruneLast=true")
	}
	application.commit(t, map[string]string{"user.yaml": last(claiming("former", username, "  deletionPolicy: Retain\n"))})
	application.sync(t)
	application.syncedAnd(t, healthy("former"))
	used(t, username)

	latter := map[string]string{"user.yaml": last(claiming("latter", username, "  adoptionPolicy: IfUnowned\n"))}
	application.commit(t, latter)
	o := application.finish(t, begin())
	const message = "set spec.deletionPolicy of the old one to Retain before you delete it"
	if o.phase != syncing.OperationFailed || !strings.Contains(fmt.Sprint(o.results), message) {
		t.Errorf("the sync ended as %s: %s: %+v, want a failure with %q", o.phase, o.message, o.results, message)
	}
	if stored(t, application.namespace, "former") == nil || !hasRow(t, username, "active") {
		t.Error("a failed sync deleted the account")
	}

	application.commit(t, nil)
	application.sync(t)
	application.syncedAnd(t, healthy())
	if !hasRow(t, username, "active AND failed_login_attempts = 3") {
		t.Error("the account does not work between the two commits")
	}
	application.commit(t, latter)
	application.sync(t)
	application.syncedAnd(t, healthy("latter"))
	if !hasRow(t, username, "failed_login_attempts = 3") {
		t.Error("the account was not kept")
	}
	application.delete(t)
}
