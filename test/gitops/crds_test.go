// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"path/filepath"
	"testing"

	syncing "github.com/argoproj/gitops-engine/pkg/sync/common"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// An application of the operator loses its CRDs, by a commit or by a wrong path.
func TestCRDsThatAreRemovedFromGitAreNotPruned(t *testing.T) {
	files := map[string]string{"alice.yaml": user("alice")}
	for _, name := range []string{"shardingusers", "shardinguserpolicies"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "sharding.io_"+name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		files[name+".yaml"] = string(content)
	}
	application := newApplication(t)
	application.commit(t, files)
	application.sync(t)
	row(t, "alice", "active")

	application.commit(t, map[string]string{"alice.yaml": files["alice.yaml"]})
	o := application.finish(t, begin())
	skipped := 0
	for _, result := range o.results {
		if result.ResourceKey.Kind == "CustomResourceDefinition" && result.Status == syncing.ResultCodePruneSkipped {
			skipped++
		}
	}
	if o.phase != syncing.OperationSucceeded || skipped != 2 {
		t.Errorf("the sync ended as %s, and skipped the CRDs %d times: %+v", o.phase, skipped, o.results)
	}
	crds := objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if crd, err := crds.Get(t.Context(), "shardingusers.sharding.io", metav1.GetOptions{}); err != nil || crd.GetDeletionTimestamp() != nil {
		t.Errorf("the CRD is deleted: %v", err)
	}
	if !hasRow(t, "alice", "active") {
		t.Error("the account of alice is gone")
	}
}
