// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"cmp"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/rbac"
	jsonpatch "github.com/evanphx/json-patch"
	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	unlockRequestedAt = "sharding.io/unlock-requested-at"
	paused            = "sharding.io/paused"
)

// offered returns the actions that Argo CD offers for an object, sorted by name.
func offered(t *testing.T, u *unstructured.Unstructured) []v1alpha1.ResourceAction {
	t.Helper()
	vm := runner(t)
	scripts, err := vm.GetResourceActionDiscovery(u)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := vm.ExecuteResourceActionDiscovery(u, scripts)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(actions, func(a, b v1alpha1.ResourceAction) int { return cmp.Compare(a.Name, b.Name) })
	return actions
}

// enabled returns the names of the enabled actions.
func enabled(t *testing.T, u *unstructured.Unstructured) []string {
	t.Helper()
	var names []string
	for _, action := range offered(t, u) {
		if !action.Disabled {
			names = append(names, action.Name)
		}
	}
	return names
}

// after returns the object that results from an action.
func after(t *testing.T, u *unstructured.Unstructured, name string) *unstructured.Unstructured {
	t.Helper()
	vm := runner(t)
	action, err := vm.GetResourceAction(u, name)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := vm.ExecuteResourceAction(u.DeepCopy(), action.ActionLua, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(changed) != 1 || changed[0].K8SOperation != lua.PatchOperation {
		t.Fatalf("the action changes %+v, want only the object", changed)
	}
	return changed[0].UnstructuredObj
}

// patch returns the patch that Argo CD sends to the API server for an action.
func patch(t *testing.T, u *unstructured.Unstructured, name string) (merge []byte, fields map[string]any) {
	t.Helper()
	from, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	to, err := json.Marshal(after(t, u, name))
	if err != nil {
		t.Fatal(err)
	}
	if merge, err = jsonpatch.CreateMergePatch(from, to); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(merge, &fields); err != nil {
		t.Fatal(err)
	}
	return merge, fields
}

// act runs an action on a live user.
func act(t *testing.T, namespace, user, name string) {
	t.Helper()
	u := stored(t, namespace, user)
	if !slices.Contains(enabled(t, u), name) {
		t.Fatalf("the action %s is not enabled", name)
	}
	merge, _ := patch(t, u, name)
	if _, err := of(u).Patch(t.Context(), user, types.MergePatchType, merge, metav1.PatchOptions{FieldManager: "argocd-server"}); err != nil {
		t.Fatal(err)
	}
}

// actionTests is an action_test.yaml, in the format of Argo CD's repository.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string                    `json:"inputPath"`
		Result    []v1alpha1.ResourceAction `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

// TestActionsOnEveryState runs the tests in Argo CD's format with the scripts of the ConfigMap.
func TestActionsOnEveryState(t *testing.T) {
	var tests actionTests
	parse(t, content(t, users.path("actions", "action_test.yaml")), &tests)
	for _, tt := range tests.DiscoveryTests {
		t.Run("discovery/"+tt.InputPath, func(t *testing.T) {
			slices.SortFunc(tt.Result, func(a, b v1alpha1.ResourceAction) int { return cmp.Compare(a.Name, b.Name) })
			if diff := gocmp.Diff(tt.Result, offered(t, object(t, users.path("actions", tt.InputPath)))); diff != "" {
				t.Errorf("the offered actions differ (-want +got):\n%s", diff)
			}
		})
	}
	run := map[string]bool{}
	for _, tt := range tests.ActionTests {
		run[tt.Action] = true
		t.Run(tt.Action+"/"+tt.InputPath, func(t *testing.T) {
			u := object(t, users.path("actions", tt.InputPath))
			want := object(t, users.path("actions", tt.ExpectedOutputPath))
			got := after(t, u, tt.Action)
			if tt.Action == "unlock" {
				annotations := got.GetAnnotations()
				at, err := time.Parse(time.RFC3339, annotations[unlockRequestedAt])
				if age := time.Since(at); err != nil || age < 0 || age > patience {
					t.Errorf("the action requests an unlock with %q, want the current time", annotations[unlockRequestedAt])
				}
				annotations[unlockRequestedAt] = "0001-01-01T00:00:00Z"
				got.SetAnnotations(annotations)
			}
			if len(got.GetAnnotations()) == 0 {
				got.SetAnnotations(nil)
			}
			if diff := gocmp.Diff(want.Object, got.Object); diff != "" {
				t.Errorf("the changed object differs (-want +got):\n%s", diff)
			}
		})
	}
	for _, action := range offered(t, object(t, users.path("actions", "testdata", "ready.yaml"))) {
		if !run[action.Name] {
			t.Errorf("the action %s is not tested", action.Name)
		}
	}
}

// Lua changes empty lists, maps and numbers of an object. The patch must not contain them.
func TestActionsPatchOnlyTheirFields(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"users.yaml": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: untouched}
`})
	application.sync(t)
	application.becomes(t, healthy("untouched"))
	edit(t, application.namespace, "untouched", `{"metadata":{"labels":{}}}`)
	for action, want := range map[string]map[string]any{
		"pause":      {"metadata": map[string]any{"annotations": map[string]any{paused: "true"}}},
		"resume":     {},
		"deactivate": {"spec": map[string]any{"active": false}},
	} {
		_, got := patch(t, stored(t, application.namespace, "untouched"), action)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("the patch of %s differs (-want +got):\n%s", action, diff)
		}
	}
	_, got := patch(t, stored(t, application.namespace, "untouched"), "unlock")
	at, _, _ := unstructured.NestedString(got, "metadata", "annotations", unlockRequestedAt)
	if diff := gocmp.Diff(map[string]any{"metadata": map[string]any{"annotations": map[string]any{unlockRequestedAt: at}}}, got); diff != "" {
		t.Errorf("the patch of unlock differs (-want +got):\n%s", diff)
	}
}

func TestActionsOnALiveUser(t *testing.T) {
	application := newApplication(t)
	application.commit(t, map[string]string{"users.yaml": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: acted}
spec: {roles: [viewer]}
`})
	application.sync(t)
	application.becomes(t, healthy("acted"))
	offers := func(want ...string) {
		t.Helper()
		eventually(t, func() string {
			if got := enabled(t, stored(t, application.namespace, "acted")); !slices.Equal(got, want) {
				return "the actions " + gocmp.Diff(want, got) + " are offered"
			}
			return ""
		})
	}
	row := func(condition string) {
		t.Helper()
		eventually(t, func() string {
			if !hasRow(t, "acted", condition) {
				return "the row is not " + condition
			}
			return ""
		})
	}
	offers("deactivate", "pause")

	lock(t, "acted")
	offers("deactivate", "pause", "unlock")
	act(t, application.namespace, "acted", "unlock")
	row("locked_until IS NULL AND failed_login_attempts = 0")
	offers("deactivate", "pause")
	application.syncedAnd(t, healthy("acted")) // an annotation that is not in Git is no difference

	act(t, application.namespace, "acted", "pause")
	application.syncedAnd(t, map[string]healthCode{"ShardingUser/acted": suspended})
	edit(t, application.namespace, "acted", `{"spec":{"roles":["operator"]}}`)
	application.becomes(t, map[string]healthCode{"ShardingUser/acted": suspended})
	row(`roles = '["viewer"]'`)
	application.sync(t) // a sync does not resume the user
	application.syncedAnd(t, map[string]healthCode{"ShardingUser/acted": suspended})
	offers("deactivate", "resume")
	act(t, application.namespace, "acted", "resume")
	application.syncedAnd(t, healthy("acted"))

	act(t, application.namespace, "acted", "deactivate")
	row("NOT active")
	offers("pause")
	application.syncedAnd(t, healthy("acted")) // the field is not in Git, so it stays

	application.commit(t, map[string]string{"users.yaml": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata: {name: acted}
spec: {roles: [viewer], active: true}
`})
	if application.outOfSync(t) == "" {
		t.Error("the user is active in Git, and Argo CD finds no difference")
	}
	act(t, application.namespace, "acted", "pause")
	application.becomes(t, map[string]healthCode{"ShardingUser/acted": suspended})
	application.sync(t)
	application.syncedAnd(t, map[string]healthCode{"ShardingUser/acted": suspended})
	row("NOT active") // the pause keeps the row unchanged
	act(t, application.namespace, "acted", "resume")
	row("active")
	application.syncedAnd(t, healthy("acted"))
}

// A sync reverts annotations that are in Git.
func TestActionsOnAnnotationsThatGitHas(t *testing.T) {
	application := newApplication(t)
	const asked = "2026-01-31T12:00:00Z"
	application.commit(t, map[string]string{"users.yaml": `
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: asked
  annotations: {sharding.io/unlock-requested-at: "` + asked + `"}
---
apiVersion: sharding.io/v1alpha1
kind: ShardingUser
metadata:
  name: halted
  annotations: {sharding.io/paused: "true"}
`})
	application.sync(t)
	health := map[string]healthCode{"ShardingUser/asked": "Healthy", "ShardingUser/halted": suspended}
	application.syncedAnd(t, health)

	unlocked := func(by string) {
		t.Helper()
		eventually(t, func() string {
			handled, _, _ := unstructured.NestedString(stored(t, application.namespace, "asked").Object, "status", "lastHandledUnlock")
			if hasRow(t, "asked", "locked_until IS NULL") && (handled == asked) == (by == "Git") {
				return ""
			}
			return "the last handled request is " + handled
		})
	}
	locked := func() {
		t.Helper()
		lock(t, "asked")
		eventually(t, func() string {
			if !slices.Contains(enabled(t, stored(t, application.namespace, "asked")), "unlock") {
				return "the lock is not reported"
			}
			return ""
		})
	}
	locked()
	act(t, application.namespace, "asked", "unlock")
	unlocked("the action")
	locked()
	application.sync(t)
	unlocked("Git")

	act(t, application.namespace, "halted", "resume")
	application.becomes(t, healthy("asked", "halted"))
	application.sync(t)
	application.syncedAnd(t, health)
}

// docs/argocd.md has an RBAC rule that permits only unlocking.
func TestDocumentedRuleLetsTheHelpDeskUnlock(t *testing.T) {
	rule := regexp.MustCompile(`(?m)^p, role:help-desk,.*$`).FindString(content(t, filepath.Join(root, "docs/argocd.md")))
	enforcer := rbac.NewEnforcer(client, "argocd", "argocd-rbac-cm", nil)
	if err := enforcer.SetUserPolicy(rule); err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string]bool{
		"action/sharding.io/ShardingUser/unlock": true, "action/sharding.io/ShardingUser/deactivate": false, "sync": false,
	} {
		if got := enforcer.Enforce("role:help-desk", "applications", action, "default/sharding-users-team-a"); got != want {
			t.Errorf("the help desk may %s: %t, want %t", action, got, want)
		}
	}
}
