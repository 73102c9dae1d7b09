// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// Flux uses kstatus, and kubectl wait uses conditions. TestHealthOfEveryState has the states as files; this test causes them.
func TestKstatusOfALiveUser(t *testing.T) {
	namespace := newNamespace(t)
	become := func(name string, want status.Status) {
		t.Helper()
		eventually(t, func() string {
			result, err := status.Compute(stored(t, namespace, name))
			if err != nil || result.Status != want {
				return fmt.Sprintf("kstatus reports %+v and %v, want %s", result, err, want)
			}
			return ""
		})
	}
	apply := func(manifest string) {
		t.Helper()
		shell(t, root, manifest, "kubectl -n "+namespace+" apply --server-side --field-manager=kustomize-controller -f -")
	}
	list, err := kube.SplitYAML([]byte(user("lived", withSecret("lived"))))
	if err != nil {
		t.Fatal(err)
	}
	list[0].SetNamespace(namespace)
	unseen, err := of(list[0]).Create(t.Context(), list[0], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if result, err := status.Compute(unseen); err != nil || result.Status != status.InProgressStatus {
		t.Errorf("for a user that the operator has not seen kstatus reports %+v and %v, want InProgress", result, err)
	}

	apply(user("lived", withSecret("lived")))
	eventually(t, func() string {
		if got := reason(stored(t, namespace, "lived"), "Ready"); got != "SecretNotFound" {
			return "the reason is " + got
		}
		return ""
	})
	become("lived", status.InProgressStatus)
	createSecret(t, namespace, "lived", "password")
	shell(t, root, "", "kubectl -n "+namespace+" wait --for=condition=Ready shardinguser/lived --timeout=120s")
	become("lived", status.CurrentStatus)

	lock(t, "lived")
	shell(t, root, "", "kubectl -n "+namespace+" wait --for=condition=Locked shardinguser/lived --timeout=120s")
	become("lived", status.CurrentStatus)

	edit(t, namespace, "lived", `{"metadata":{"annotations":{"sharding.io/paused":"true"}}}`)
	become("lived", status.InProgressStatus)
	shell(t, root, "", "kubectl -n "+namespace+" delete shardinguser lived --wait=false")
	become("lived", status.TerminatingStatus)
	shell(t, root, "", "kubectl -n "+namespace+" annotate shardinguser lived sharding.io/paused-")
	shell(t, root, "", "kubectl -n "+namespace+" wait --for=delete shardinguser/lived --timeout=120s")

	// Stalled until the resource or the row is changed.
	statement(t, `INSERT INTO users (username, password_hash) VALUES ('stalled', 'x')`)
	apply(user("stalled"))
	shell(t, root, "", "kubectl -n "+namespace+" wait --for=condition=Stalled shardinguser/stalled --timeout=120s")
	become("stalled", status.FailedStatus)
	apply(user("stalled", "  adoptionPolicy: IfUnowned\n"))
	become("stalled", status.CurrentStatus)
	shell(t, root, "", "kubectl -n "+namespace+" delete shardinguser stalled --timeout=120s")
}

// Flux regards as drift what a dry run of its server-side apply would change.
func TestFluxFindsNoDrift(t *testing.T) {
	namespace := newNamespace(t)
	manager := metav1.ApplyOptions{FieldManager: "kustomize-controller", Force: true}
	for name, text := range written {
		if kindOf(text) == string(policies) {
			continue // it would apply to the users of all tests
		}
		t.Run(name, func(t *testing.T) {
			user := "flux-" + strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name))
			text = strings.ReplaceAll(text, "NAME", user)
			shell(t, root, text, "kubectl -n "+namespace+" apply --server-side --field-manager=kustomize-controller -f -")
			shell(t, root, "", "kubectl -n "+namespace+" wait --for=condition=Ready shardinguser/"+user+" --timeout=120s")
			list, err := kube.SplitYAML([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			list[0].SetNamespace(namespace)
			live := stored(t, namespace, user)
			manager.DryRun = []string{metav1.DryRunAll}
			if strings.Contains(text, "\nstatus:") {
				unstructured.RemoveNestedField(list[0].Object, "status") // as Flux does
			}
			would, err := of(live).Apply(t.Context(), user, withoutNulls(list[0]), manager)
			if err != nil {
				t.Fatal(err)
			}
			if live.GetResourceVersion() != would.GetResourceVersion() || live.GetGeneration() != would.GetGeneration() {
				t.Errorf("an apply would change the user from\n%v\nto\n%v", live, would)
			}
		})
	}
}

// withoutNulls returns the object without a creationTimestamp of null.
func withoutNulls(u *unstructured.Unstructured) *unstructured.Unstructured {
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u
}
