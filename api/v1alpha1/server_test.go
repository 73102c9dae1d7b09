// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// These tests ask a real API server that has the CRD as it is shipped.
func TestMain(m *testing.M) { testenv.Main(m) }

// server returns a client that sends objects unchanged, and fails for unknown fields.
func server(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		v1alpha1.AddToScheme, corev1.AddToScheme, apiextensionsv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(testenv.APIServer(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return client.WithFieldValidation(c, metav1.FieldValidationStrict)
}

// namespace is a fresh one.
func namespace(t *testing.T, c client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// fields are what a manifest says in one place.
type fields = map[string]any //nolint:kubeapilinter // no type of the API

// manifest returns a ShardingUser as a user may write it; nil means no spec.
func manifest(namespace, name string, spec fields) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: fields{}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ShardingUser"))
	u.SetNamespace(namespace)
	u.SetName(name)
	if spec != nil {
		u.Object["spec"] = runtime.DeepCopyJSON(spec)
	}
	return u
}

// created is the manifest as the API server stores it.
func created(t *testing.T, c client.Client, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if err := c.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	return stored(t, c, u)
}

func stored(t *testing.T, c client.Client, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	there := manifest("", "", nil)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(u), there); err != nil {
		t.Fatal(err)
	}
	return there
}

// complaints are what the API server has against an object, a line for each: the field, and what is wrong with it.
func complaints(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) || status.ErrStatus.Details == nil {
		t.Fatalf("got the error %v, want one that says what is invalid", err)
	}
	var lines []string
	for _, cause := range status.ErrStatus.Details.Causes {
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			lines = append(lines, cause.Field+": "+cause.Message)
		}
	}
	return strings.Join(lines, "\n")
}

// attempt is what the API server says of a spec, without storing it.
func attempt(t *testing.T, c client.Client, spec fields) string {
	t.Helper()
	return complaints(t, c.Create(t.Context(), manifest("default", "alice", spec), client.DryRunAll))
}

// expect checks complaints against the part that tells: "" wants none at all.
func expect(t *testing.T, got, want string) {
	t.Helper()
	switch {
	case want == "" && got != "":
		t.Errorf("it is refused:\n%s", got)
	case want != "" && got == "":
		t.Errorf("it is accepted, want it refused with\n%s", want)
	case !strings.Contains(got, want):
		t.Errorf("it is refused with\n%s\nwant\n%s", got, want)
	}
}

// with is the fields and some more.
func with(base, more fields) fields {
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}

// contextWithoutEnd is for what has to be done after the test.
func contextWithoutEnd(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}

// eventually waits until something is so.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return so(), nil })
	if err != nil {
		t.Fatalf("it does not become so: %v", err)
	}
}

// served waits until the API server serves the kind of a CRD.
func served(t *testing.T, c client.Client, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	eventually(t, func() bool {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(crd.Spec.Group + "/" + crd.Spec.Versions[0].Name)
		list.SetKind(crd.Spec.Names.ListKind)
		return c.List(t.Context(), list, client.Limit(1)) == nil
	})
}
