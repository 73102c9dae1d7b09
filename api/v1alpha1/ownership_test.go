// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// owned collects the lists, maps and atomic objects of a schema by their path, with what the schema says of their ownership; ""
// where it says nothing.
func owned(t *testing.T, path string, s apiextensionsv1.JSONSchemaProps, isPartOf string, found map[string]string) {
	t.Helper()
	if isPartOf != "" && s.Default != nil {
		t.Errorf("%s has a default within %s, which is atomic: tools that compare without the CRD show it as out of sync", path, isPartOf)
	}
	value := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	isAtomic := false
	switch {
	case s.Items != nil:
		listType := value(s.XListType)
		isAtomic = listType == "atomic"
		if listType == "map" {
			listType += " by `" + strings.Join(s.XListMapKeys, "`, `") + "`"
		}
		found[path] = listType
	case s.AdditionalProperties != nil, s.XMapType != nil:
		isAtomic = value(s.XMapType) == "atomic"
		found[path] = value(s.XMapType)
	}
	if isAtomic && isPartOf == "" {
		isPartOf = path
	}
	for name, property := range s.Properties {
		owned(t, path+"."+name, property, isPartOf, found)
	}
	if s.Items != nil && s.Items.Schema != nil {
		owned(t, path+"[]", *s.Items.Schema, isPartOf, found)
	}
}

// documented is the table of docs/api-reference.md that has every list and map.
func documented(t *testing.T) map[string]string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/api-reference.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\w+) \\| `([^`]+)` \\| ([^|]+) \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
		rows[row[1]+" "+row[2]] = row[3]
	}
	return rows
}

func TestEveryListAndMapHasAnOwnerThatIsDocumented(t *testing.T) {
	t.Parallel()
	c := server(t)
	found := map[string]string{}
	for _, name := range []string{"shardingusers.sharding.io", "shardinguserpolicies.sharding.io"} {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &crd); err != nil {
			t.Fatal(err)
		}
		for _, version := range crd.Spec.Versions {
			for _, part := range []string{"spec", "status"} {
				ofPart := map[string]string{}
				owned(t, part, version.Schema.OpenAPIV3Schema.Properties[part], "", ofPart)
				for path, kind := range ofPart {
					found[crd.Spec.Names.Kind+" "+path] = kind
				}
			}
		}
	}
	for path, kind := range found {
		if kind == "" {
			t.Errorf("%s has no explicit listType or mapType", path)
		}
	}
	if len(found) < 10 {
		t.Errorf("only %d lists and maps were found: %v", len(found), slices.Sorted(maps.Keys(found)))
	}
	if diff := cmp.Diff(found, documented(t)); diff != "" {
		t.Errorf("the table in hack/server-side-apply.md differs from the CRDs (-CRD +table):\n%s", diff)
	}
}

// applied applies fields to an object by server-side apply, as this manager.
func applied(t *testing.T, c client.Client, u *unstructured.Unstructured, manager string, spec fields, options ...client.ApplyOption) error {
	t.Helper()
	u = u.DeepCopy()
	u.Object["spec"] = runtime.DeepCopyJSON(spec)
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), append(options, client.FieldOwner(manager))...)
}

// liveSpec is the spec of an object as the API server has it.
func liveSpec(t *testing.T, c client.Client, u *unstructured.Unstructured) fields {
	t.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(u.GroupVersionKind())
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(u), live); err != nil {
		t.Fatal(err)
	}
	spec, _, err := unstructured.NestedMap(live.Object, "spec")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestWhatIsAddedByHandGoesWithTheNextApply(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	policy := manifest("", "", nil)
	policy.SetKind("ShardingUserPolicy")
	base := fields{"namespaceSelector": fields{"matchLabels": fields{"team": "a"}}, "usernames": []any{"a-*"}}
	withBase := func(more fields) fields { return with(base, more) }
	for name, tt := range map[string]struct {
		object      *unstructured.Unstructured
		git, byHand fields
		field       string
	}{
		"roles of a user":   {manifest(ns, "roles", nil), fields{"roles": []any{"viewer"}}, fields{"roles": []any{"admin"}}, "roles"},
		"usernames":         {policy, base, withBase(fields{"usernames": []any{"*"}}), "usernames"},
		"roles of a policy": {policy, withBase(fields{"roles": []any{"viewer"}}), withBase(fields{"roles": []any{"*"}}), "roles"},
		"deletion policies": {
			policy, withBase(fields{"deletionPolicies": []any{"Delete"}}),
			withBase(fields{"deletionPolicies": []any{"Retain"}}), "deletionPolicies",
		},
		"labels of a selector": {policy, base, withBase(fields{"namespaceSelector": fields{"matchLabels": fields{"tier": "test"}}}), "namespaceSelector"},
		"requirements of a selector": {policy, base, withBase(fields{"namespaceSelector": fields{
			"matchExpressions": []any{fields{"key": "tier", "operator": "Exists"}},
		}}), "namespaceSelector"},
	} {
		t.Run(name, func(t *testing.T) {
			object := tt.object.DeepCopy()
			if object.GetName() == "" {
				object.SetName("owned-" + strings.ReplaceAll(name, " ", "-"))
				t.Cleanup(func() { _ = c.Delete(contextWithoutEnd(t), object) })
			}
			if err := applied(t, c, object, "git", tt.git); err != nil {
				t.Fatal(err)
			}
			want := liveSpec(t, c, object)
			err := applied(t, c, object, "by-hand", tt.byHand)
			if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "git"`) || !strings.Contains(err.Error(), ".spec."+tt.field) {
				t.Errorf("another manager's apply: %v, want a conflict with git about %s", err, tt.field)
			}
			if err := applied(t, c, object, "by-hand", tt.byHand, client.ForceOwnership); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.byHand[tt.field], liveSpec(t, c, object)[tt.field]); diff != "" {
				t.Errorf("a forced apply does not replace the whole (-want +got):\n%s", diff)
			}
			if err := applied(t, c, object, "git", tt.git, client.ForceOwnership); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, liveSpec(t, c, object)); diff != "" {
				t.Errorf("what was added by hand stays (-want +got):\n%s", diff)
			}
		})
	}
}

// The CRDs before had spec.roles as a set: what two managers added then has to become Git's alone.
func TestRolesThatWereASetBecomeOneList(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	var shipped apiextensionsv1.CustomResourceDefinition
	if err := c.Get(t.Context(), client.ObjectKey{Name: "shardingusers.sharding.io"}, &shipped); err != nil {
		t.Fatal(err)
	}
	// The CRD under another group and name, so that no other test sees how it changes, and kubectl finds one kind of each name.
	const group, plural, singular = "before.example.com", "usersbefore", "userbefore"
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group}, Spec: *shipped.Spec.DeepCopy()}
	crd.Spec.Group, crd.Spec.Conversion = group, nil
	crd.Spec.Names.Plural, crd.Spec.Names.Singular, crd.Spec.Names.ShortNames, crd.Spec.Names.Categories = plural, singular, nil, nil
	roles := func(change func(*apiextensionsv1.JSONSchemaProps)) {
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		field := spec.Properties["roles"]
		change(&field)
		spec.Properties["roles"] = field
	}
	now := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["roles"]
	roles(func(s *apiextensionsv1.JSONSchemaProps) { s.XListType, s.XValidations = new("set"), nil })
	if err := c.Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(contextWithoutEnd(t), crd) })
	served(t, c, crd)

	u := manifest(ns, "alice", nil)
	u.SetAPIVersion(group + "/" + v1alpha1.GroupVersion.Version)
	for manager, role := range map[string]string{"git": "viewer", "by-hand": "admin"} {
		if err := applied(t, c, u, manager, fields{"roles": []any{role}}); err != nil {
			t.Fatal(err)
		}
	}
	both := liveSpec(t, c, u)["roles"]
	if list, ok := both.([]any); !ok || len(list) != 2 {
		t.Fatalf("with the CRD before, the roles are %v, want those of both managers", both)
	}

	if err := c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
		t.Fatal(err)
	}
	roles(func(s *apiextensionsv1.JSONSchemaProps) { *s = now })
	if err := c.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	// Stored objects stay valid, and the upgrade alone removes nothing. The API server needs a moment to apply the schema.
	duplicate := u.DeepCopy()
	duplicate.SetName("duplicate")
	duplicate.Object["spec"] = fields{"roles": []any{"a", "a"}}
	eventually(t, func() bool {
		err := c.Create(t.Context(), duplicate.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "list each role once")
	})
	labelled := u.DeepCopy()
	if err := c.Patch(t.Context(), labelled, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(both, liveSpec(t, c, u)["roles"]); diff != "" {
		t.Errorf("the upgrade changed the roles (-before +after):\n%s", diff)
	}

	// Both own the list now. A plain apply of another list is a conflict, and a forced one takes it.
	err := applied(t, c, u, "git", fields{"roles": []any{"viewer"}})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "by-hand"`) {
		t.Errorf("the first apply after the upgrade: %v, want a conflict with by-hand", err)
	}
	if err := applied(t, c, u, "git", fields{"roles": []any{"viewer"}}, client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"viewer"}, liveSpec(t, c, u)["roles"]); diff != "" {
		t.Errorf("the role that was added by hand stays (-want +got):\n%s", diff)
	}
	if err := applied(t, c, u, "git", fields{"roles": []any{"viewer", "operator"}}); err != nil {
		t.Errorf("the apply after that: %v, want no conflict any more", err)
	}
}
