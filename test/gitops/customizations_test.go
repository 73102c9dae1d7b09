// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const customizations = "config/argocd/resource_customizations"

// A kind is a kind with customizations for Argo CD.
type kind string

const (
	users    kind = "ShardingUser"
	policies kind = "ShardingUserPolicy"
)

// path returns the path of a file of the kind's customizations.
func (k kind) path(elements ...string) string {
	return filepath.Join(append([]string{root, customizations, "sharding.io", string(k)}, elements...)...)
}

// argoCM returns the ConfigMap of an Argo CD with other settings.
func argoCM() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "argocd-cm", Namespace: "argocd", Labels: map[string]string{"app.kubernetes.io/part-of": "argocd"},
		},
		Data: map[string]string{"url": "https://argocd.example.com"},
	}
}

var installed struct {
	once      sync.Once
	overrides map[string]v1alpha1.ResourceOverride
}

// overrides returns Argo CD's settings of resources, read from its ConfigMap after the command of docs/argocd.md.
func overrides(t *testing.T) map[string]v1alpha1.ResourceOverride {
	t.Helper()
	installed.once.Do(func() {
		cm := argoCM()
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cm.Namespace}}
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().ConfigMaps(cm.Namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		shell(t, root, "", "kubectl -n argocd patch configmap argocd-cm --patch-file config/argocd/argocd-cm.yaml")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		read, err := settings.NewSettingsManager(ctx, client, cm.Namespace).GetResourceOverrides()
		if err != nil {
			t.Fatal(err)
		}
		installed.overrides = read
	})
	if installed.overrides == nil {
		t.Fatal("Argo CD's settings could not be read: see the first failed test")
	}
	return installed.overrides
}

// runner returns a VM that runs the scripts of the ConfigMap as Argo CD does, without Lua's standard library.
func runner(t *testing.T) lua.VM {
	t.Helper()
	return lua.VM{ResourceOverrides: overrides(t)}
}

func TestArgoCDReadsTheScriptsFromTheConfigMap(t *testing.T) {
	for kind, actions := range map[kind][]string{users: {"deactivate", "pause", "resume", "unlock"}, policies: nil} {
		t.Run(string(kind), func(t *testing.T) {
			override := overrides(t)["sharding.io/"+string(kind)]
			if diff := cmp.Diff(content(t, kind.path("health.lua")), override.HealthLua); diff != "" {
				t.Errorf("the health script differs (-want +got):\n%s", diff)
			}
			if override.UseOpenLibs {
				t.Error("the scripts require Lua's standard library")
			}
			got, err := override.GetActions()
			if err != nil {
				t.Fatal(err)
			}
			var want v1alpha1.ResourceActions
			for _, name := range actions {
				want.ActionDiscoveryLua = content(t, kind.path("actions", "discovery.lua"))
				want.Definitions = append(want.Definitions, v1alpha1.ResourceActionDefinition{
					Name: name, ActionLua: content(t, kind.path("actions", name, "action.lua")),
				})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the actions differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchKeepsOtherSettingsOfArgoCD(t *testing.T) {
	overrides(t)
	cm, err := client.CoreV1().ConfigMaps("argocd").Get(t.Context(), "argocd-cm", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cm.Data["url"], argoCM().Data["url"]; got != want {
		t.Errorf("the setting url is %q, want %q", got, want)
	}
	if len(cm.Data) != 4 { // url, health of two kinds, actions of one
		t.Errorf("the ConfigMap has %d keys, want 4", len(cm.Data))
	}
}

func TestComponentPatchesAnArgoCDInstalledByKustomize(t *testing.T) {
	folder := t.TempDir()
	base, err := yaml.Marshal(argoCM())
	if err != nil {
		t.Fatal(err)
	}
	component, err := filepath.Rel(folder, filepath.Join(root, "config/argocd"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"argocd-cm.yaml":     string(base),
		"kustomization.yaml": "resources: [argocd-cm.yaml]\ncomponents: [" + component + "]\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var built, patch corev1.ConfigMap
	parse(t, shell(t, folder, "", "kubectl kustomize --load-restrictor=LoadRestrictionsNone ."), &built)
	parse(t, content(t, filepath.Join(root, "config/argocd/argocd-cm.yaml")), &patch)
	want := argoCM()
	for key, value := range patch.Data {
		want.Data[key] = value
	}
	if diff := cmp.Diff(want, &built); diff != "" {
		t.Errorf("the ConfigMap differs (-want +got):\n%s", diff)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parse reads YAML, and rejects unknown fields.
func parse(t *testing.T, text string, value any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), value); err != nil {
		t.Fatal(err)
	}
}

// object returns the object in a file of the customizations' tests.
func object(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict([]byte(content(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil { // it reads numbers as API clients do
		t.Fatal(err)
	}
	return u
}
