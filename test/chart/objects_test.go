// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"errors"
	"io"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// objects are manifests by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func parse(t *testing.T, manifests string) objects {
	t.Helper()
	all := objects{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Object) == 0 {
			continue
		}
		name := o.GetKind() + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
		if all[name] != nil {
			t.Fatalf("there are two of %s", name)
		}
		all[name] = o
	}
}

// render returns what the chart renders, as the release that has the names of config/default.
func render(t *testing.T, args ...string) objects {
	t.Helper()
	return parse(t, helm(t, append([]string{"template", release, chartFolder, "--namespace=" + system}, args...)...))
}

// get returns one of the objects as its own type.
func get[T any](t *testing.T, all objects, name string) *T {
	t.Helper()
	o := all[name]
	if o == nil {
		t.Fatalf("there is no %s", name)
	}
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, typed, true); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return typed
}

const deploymentName = "Deployment " + system + "/" + release + "-controller-manager"

// manager returns the only container.
func manager(t *testing.T, all objects) corev1.Container {
	t.Helper()
	containers := get[appsv1.Deployment](t, all, deploymentName).Spec.Template.Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("there are %d containers", len(containers))
	}
	return containers[0]
}

// flagsOf returns arguments by flag. The last one of a kind counts; a flag without a value is "true".
func flagsOf(args []string) map[string]string {
	flags := map[string]string{}
	for _, arg := range args {
		name, value, found := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !found {
			value = "true"
		}
		flags[name] = value
	}
	return flags
}
