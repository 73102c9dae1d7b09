// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

var (
	userResource   = schema.GroupVersionResource{Group: "sharding.io", Version: "v1alpha1", Resource: "shardingusers"}
	policyResource = schema.GroupVersionResource{Group: "sharding.io", Version: "v1alpha1", Resource: "shardinguserpolicies"}
)

// of returns the client for the kind and the namespace of an object.
func of(u *unstructured.Unstructured) dynamic.ResourceInterface {
	if u.GetKind() == string(policies) {
		return objects.Resource(policyResource)
	}
	return objects.Resource(userResource).Namespace(u.GetNamespace())
}

// newNamespace creates a namespace and returns its name.
func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "gitops-"}}
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// stored returns a live user; nil if it does not exist.
func stored(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := objects.Resource(userResource).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// edit changes a live user with a merge patch.
func edit(t *testing.T, namespace, name, patch string) {
	t.Helper()
	_, err := objects.Resource(userResource).Namespace(namespace).
		Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "by-hand"})
	if err != nil {
		t.Fatal(err)
	}
}

// reason returns the reason of a user's condition; "" if there is none.
func reason(u *unstructured.Unstructured, condition string) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == condition {
			reason, _ := c["reason"].(string)
			return reason
		}
	}
	return ""
}

// manifest returns an object as YAML.
func manifest(t *testing.T, u *unstructured.Unstructured) string {
	t.Helper()
	text, err := yaml.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
