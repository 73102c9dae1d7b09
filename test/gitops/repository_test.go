// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A repository is a Git repository of manifests.
type repository struct {
	folder string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	r := repository{folder: t.TempDir()}
	shell(t, r.folder, "", "git init --quiet --initial-branch=main")
	return r
}

// commit replaces the files of the repository, and returns the revision.
func (r repository) commit(t *testing.T, files map[string]string) string {
	t.Helper()
	shell(t, r.folder, "", "git rm -r --quiet --force --ignore-unmatch .")
	for name, text := range files {
		path := filepath.Join(r.folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.TrimSpace(shell(t, r.folder, "",
		"git add --all && git commit --quiet --allow-empty --message='As it should be' && git rev-parse HEAD"))
}

// manifests returns the manifests of a revision as Argo CD's repo-server does: it builds a kustomization, or reads all YAML files
// of the folder.
func (r repository) manifests(t *testing.T, revision, path string) []*unstructured.Unstructured {
	t.Helper()
	checkout := t.TempDir()
	shell(t, r.folder, "", "git archive "+revision+" | tar -x -C "+checkout)
	folder := filepath.Join(checkout, path)
	text := ""
	if _, err := os.Stat(filepath.Join(folder, "kustomization.yaml")); err == nil {
		text = shell(t, folder, "", "kubectl kustomize .")
	} else {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text += content(t, file) + "\n---\n"
		}
	}
	list, err := kube.SplitYAML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}
