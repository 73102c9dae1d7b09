// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// foreign reports whether the object's kind is of another project, whose CRD is not installed.
func foreign(u *unstructured.Unstructured) bool {
	return slices.Contains([]string{"bitnami.com", "external-secrets.io"}, u.GroupVersionKind().Group)
}

// promised returns the name and the keys of the Secret that another project's controller creates for an object; none for a
// SecretStore.
func promised(t *testing.T, u *unstructured.Unstructured) (name string, keys []string) {
	t.Helper()
	switch u.GetKind() {
	case "SealedSecret":
		name, _, _ = unstructured.NestedString(u.Object, "spec", "template", "metadata", "name")
		sealed, _, _ := unstructured.NestedStringMap(u.Object, "spec", "encryptedData")
		for key := range sealed {
			keys = append(keys, key)
		}
	case "ExternalSecret":
		name, _, _ = unstructured.NestedString(u.Object, "spec", "target", "name")
		data, _, _ := unstructured.NestedSlice(u.Object, "spec", "data")
		for _, item := range data {
			key, _ := item.(map[string]any)["secretKey"].(string)
			keys = append(keys, key)
		}
	default:
		return "", nil
	}
	if name == "" || len(keys) == 0 {
		t.Fatalf("%s has no Secret", named(u))
	}
	return name, keys
}

// TestExampleRepository commits examples/gitops, syncs the folder of each team, and acts as the controllers of the other projects.
// Then it runs the commands of docs/argocd.md.
func TestExampleRepository(t *testing.T) {
	tree := filepath.Join(root, "examples/gitops")
	files := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(tree, "*/*/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name, err := filepath.Rel(tree, path)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = content(t, path)
	}
	repository := newRepository(t)
	revision := repository.commit(t, files)

	teams := map[string][]string{"team-a": {"alice", "bob"}, "team-b": {"carol"}}
	applications := map[string]*application{}
	for team, names := range teams {
		a := newApplication(t)
		a.namespace, a.repository, a.revision, a.path = team, repository, revision, "teams/"+team
		a.serverSide, a.skipped = true, foreign // as in the ApplicationSet
		applications[team] = a
		a.sync(t)
		waiting := map[string]healthCode{}
		for _, name := range names {
			waiting["ShardingUser/"+name] = "Progressing"
		}
		a.syncedAnd(t, waiting)
		for _, u := range repository.manifests(t, revision, a.path) {
			if u.GetNamespace() != team && u.GetName() != team {
				t.Errorf("%s is in the namespace %q, want %s", named(u), u.GetNamespace(), team)
			}
			switch name, keys := promised(t, u); {
			case name != "" && slices.Contains(keys, "hash"):
				shell(t, root, "", `kubectl -n `+team+` create secret generic `+name+
					` --from-literal=hash='$2a$12$zYLGH1/6XTG8m7j6BsGicO3/NqSM7l1fcEApFwS2kfwsDTmU0RJOu'`)
			case name != "":
				createSecret(t, team, name, keys...)
			case u.GetKind() == "Secret":
				t.Errorf("%s has a password in Git", named(u))
			}
		}
		a.syncedAnd(t, healthy(names...))
	}

	runThePage(t)

	for _, a := range applications {
		a.delete(t)
	}
	if hasRow(t, "alice", "true") || !hasRow(t, "carol", "NOT active") {
		t.Error("the rows do not match the deletion policies")
	}
}

// runThePage runs every shell block of docs/argocd.md unchanged.
func runThePage(t *testing.T) {
	t.Helper()
	lock(t, "alice")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(content(t, filepath.Join(root, "docs/argocd.md")), -1)
	for _, block := range blocks {
		output := shell(t, root, "", block[1])
		if strings.Contains(block[1], "status.locked=true") && !strings.Contains(output, "alice") {
			t.Errorf("%s prints\n%swant the locked user alice", block[1], output)
		}
	}
	if len(blocks) != 4 {
		t.Errorf("found %d blocks, want 4: check the pattern", len(blocks))
	}
	row(t, "alice", "locked_until IS NULL")
	if u := stored(t, "team-a", "alice"); u.GetAnnotations()["sharding.io/allow-removing-last-administrator"] != "true" {
		t.Error("alice lacks the annotation sharding.io/allow-removing-last-administrator")
	}
}

// Argo CD accepts its manifests. Its manifests and those of Flux name existing folders.
func TestExamplesOfApplicationsAreValid(t *testing.T) {
	tree := filepath.Join(root, "examples/gitops")
	var set v1alpha1.ApplicationSet
	parse(t, content(t, filepath.Join(tree, "argocd/users.yaml")), &set)
	var folders []string
	for _, directory := range set.Spec.Generators[0].Git.Directories {
		matches, err := filepath.Glob(filepath.Join(tree, directory.Path, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range matches {
			folders = append(folders, filepath.Base(filepath.Dir(match)))
		}
	}
	if want := []string{"team-a", "team-b"}; !slices.Equal(folders, want) {
		t.Errorf("the ApplicationSet is for the folders %v, want %v", folders, want)
	}

	list, err := kube.SplitYAML([]byte(content(t, filepath.Join(tree, "flux/users.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	kustomizations := 0
	for _, u := range list {
		if path, ok, _ := unstructured.NestedString(u.Object, "spec", "path"); ok {
			kustomizations++
			if _, err := os.Stat(filepath.Join(tree, path, "kustomization.yaml")); err != nil {
				t.Error(err)
			}
		}
	}
	if kustomizations != len(folders) {
		t.Errorf("Flux has %d Kustomizations, want one for each of %v", kustomizations, folders)
	}
}
