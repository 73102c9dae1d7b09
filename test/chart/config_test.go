// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A tree of config/ and the equivalent values.
type twin struct {
	on     map[string][]string // commented lines of a file of config/ that are enabled
	trees  []string            // of config/, with the enabled lines
	values string
}

var twins = map[string]twin{
	"as they are": {trees: []string{"default"}},
	"with all that can be turned on": {
		on: map[string][]string{"default/kustomization.yaml": {
			"- ../prometheus", "- ../network-policy", "- ../default-users", "- ../generated-passwords",
			"- path: login_database_patch.yaml", "  target:", "    kind: Deployment", "    name: controller-manager",
		}},
		trees: []string{"default", "admission"},
		values: `
monitoring: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}
networkPolicy: {enabled: true}
defaultUsers: {passwords: generated}
generatedPasswords: {enabled: true}
loginDatabase: {existingSecret: shardinguser-login-database}
admission: {enabled: true}
`,
	},
	"for one namespace": {trees: []string{"namespaced"}, values: "watchNamespaces: [team-a]"},
	"one namespace, policies, default users, generated passwords": {
		on: map[string][]string{"namespaced/kustomization.yaml": {
			"- ../default-users/namespaced", "- ../generated-passwords/namespaced", "- policies",
		}},
		trees: []string{"namespaced"},
		values: `
watchNamespaces: [team-a]
policies: {enabled: true}
defaultUsers: {passwords: generated}
generatedPasswords: {enabled: true}
`,
	},
}

// A change in only one of them fails this test.
func TestTheChartRendersTheObjectsOfConfig(t *testing.T) {
	t.Parallel()
	flags := defaults(t)
	for name, twin := range twins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, got := objects{}, render(t, "--values="+values(t, twin.values))
			folder := turnedOn(t, twin.on)
			for _, tree := range twin.trees {
				maps.Copy(want, parse(t, kubectl(t, "kustomize", filepath.Join(folder, tree))))
			}
			delete(want, "Namespace "+system) // helm install --create-namespace creates it
			wanted, made := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))
			if diff := cmp.Diff(wanted, made); diff != "" {
				t.Fatalf("config (-) and chart (+) have different objects:\n%s", diff)
			}
			for name := range want {
				if name == deploymentName {
					sameArguments(t, flags, want[name], got[name])
				}
				if diff := cmp.Diff(essence(want[name], nil), essence(got[name], want[name])); diff != "" {
					t.Errorf("%s differs between config (-) and chart (+):\n%s", name, diff)
				}
			}
		})
	}
}

// turnedOn returns a copy of config/ in which these lines are no longer comments.
func turnedOn(t *testing.T, lines map[string][]string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	for name, on := range lines {
		file := filepath.Join(folder, name)
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, line := range on {
			if !strings.Contains(text, "\n#"+line+"\n") {
				t.Fatalf("config/%s has no line #%s", name, line)
			}
			text = strings.Replace(text, "\n#"+line+"\n", "\n"+line+"\n", 1)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// sameArguments fails if the manager's arguments differ. The chart sets some defaults explicitly, which have to be
// right.
func sameArguments(t *testing.T, defaults map[string]string, config, chart *unstructured.Unstructured) {
	t.Helper()
	want, got := argumentsOf(t, config), argumentsOf(t, chart)
	for name, value := range want {
		if got[name] == value || (got[name] == "" && defaults[name] == value) {
			continue
		}
		t.Errorf("config starts the manager with --%s=%s, the chart with %q", name, value, got[name])
	}
	for name, value := range got {
		fallback, known := defaults[name]
		if want[name] == "" && (!known || !sameValue(fallback, value)) {
			t.Errorf("the chart starts the manager with --%s=%s, config without it, and the default is %q", name, value, fallback)
		}
	}
}

func argumentsOf(t *testing.T, deployment *unstructured.Unstructured) map[string]string {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("there are the containers %v: %v", containers, err)
	}
	args, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	if err != nil {
		t.Fatal(err)
	}
	return flagsOf(args)
}

func sameValue(a, b string) bool {
	one, err := time.ParseDuration(a)
	other, otherErr := time.ParseDuration(b)
	if err == nil && otherErr == nil {
		return one == other
	}
	return a == b
}

// essence returns an object without what may differ: labels beyond those of its twin, the label of the release, the image, arguments (see above),
// and the keys that a volume names.
func essence(o, twin *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	labels := o.GetLabels()
	delete(labels, "app.kubernetes.io/managed-by")
	if twin != nil {
		maps.DeleteFunc(labels, func(name, _ string) bool { _, shared := twin.GetLabels()[name]; return !shared })
	}
	if len(labels) == 0 {
		labels = nil
	}
	o.SetLabels(labels)
	annotations := o.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	o.SetAnnotations(annotations)
	if o.GetKind() == "Deployment" {
		pod := o.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
		for _, c := range pod["containers"].([]any) {
			container := c.(map[string]any)
			for _, field := range []string{"args", "image", "imagePullPolicy"} {
				delete(container, field)
			}
		}
		volumes, _ := pod["volumes"].([]any)
		for _, v := range volumes {
			if secret, ok := v.(map[string]any)["secret"].(map[string]any); ok {
				secret["items"] = slices.DeleteFunc(slices.Clone(asSlice(secret["items"])), func(item any) bool {
					return item.(map[string]any)["key"] == item.(map[string]any)["path"]
				})
				if len(secret["items"].([]any)) == 0 {
					delete(secret, "items")
				}
			}
		}
	}
	return unfolded(o.Object).(map[string]any)
}

// unfolded removes empty lines from all strings, because kustomize adds some to folded ones, and the label of the release.
func unfolded(value any) any {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "app.kubernetes.io/instance")
		for key := range value {
			value[key] = unfolded(value[key])
		}
	case []any:
		for i := range value {
			value[i] = unfolded(value[i])
		}
	case string:
		return regexp.MustCompile(`\n+`).ReplaceAllString(value, "\n")
	}
	return value
}

func asSlice(value any) []any {
	slice, _ := value.([]any)
	return slice
}
