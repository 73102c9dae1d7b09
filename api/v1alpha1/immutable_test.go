// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const immutable = "spec.username: Invalid value: username cannot be changed, added or removed after creation; " +
	"create another ShardingUser and delete this one"

const immutableSystem = "spec.system: Invalid value: system cannot be changed, added or removed after creation; " +
	"create another ShardingUser and delete this one"

func TestUsernameIsImmutable(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	named := created(t, c, manifest(ns, "named", fields{"username": "alice"}))
	unnamed := created(t, c, manifest(ns, "unnamed", fields{}))
	ofOrders := created(t, c, manifest(ns, "of-orders", fields{"system": "orders"}))

	set := func(value any, path ...string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) {
			if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
				panic(err)
			}
		}
	}
	remove := func(path ...string) func(*unstructured.Unstructured) {
		return func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, path...) }
	}
	annotate := func(u *unstructured.Unstructured) {
		u.SetAnnotations(map[string]string{"sharding.io/paused": "true"})
		u.SetLabels(map[string]string{"team": "a"})
	}

	for name, tt := range map[string]struct {
		from *unstructured.Unstructured
		edit func(*unstructured.Unstructured)
		want string
	}{
		"a username cannot be changed":                       {named, set("bob", "spec", "username"), immutable},
		"not even by a capital":                              {named, set("Alice", "spec", "username"), immutable},
		"a username cannot be removed":                       {named, remove("spec", "username"), immutable},
		"nor with all the rest of the spec":                  {named, remove("spec"), immutable},
		"a username cannot be added":                         {unnamed, set("bob", "spec", "username"), immutable},
		"not even the one in effect":                         {unnamed, set("unnamed", "spec", "username"), immutable},
		"a system cannot be changed":                         {ofOrders, set("billing", "spec", "system"), immutableSystem},
		"a system cannot be removed":                         {ofOrders, remove("spec", "system"), immutableSystem},
		"a system cannot be added":                           {unnamed, set("orders", "spec", "system"), immutableSystem},
		"the same system again passes":                       {ofOrders, set("orders", "spec", "system"), ""},
		"other fields of a user of a system may be changed":  {ofOrders, set(false, "spec", "active"), ""},
		"what is wrong with the new one is told first":       {named, set("b b", "spec", "username"), badUsername},
		"the same username again passes":                     {named, set("alice", "spec", "username"), ""},
		"other fields of a named user may be changed":        {named, set(false, "spec", "active"), ""},
		"other fields of an unnamed user may be changed":     {unnamed, set(false, "spec", "active"), ""},
		"other fields of a named user may be removed":        {named, remove("spec", "roles"), ""},
		"an unnamed user may lose all of the spec":           {unnamed, remove("spec"), ""},
		"a password may be added":                            {named, set(fields{"secretRef": fields{"name": "s"}}, "spec", "password"), ""},
		"annotations and labels of a named user may come":    {named, annotate, ""},
		"annotations and labels of an unnamed user may come": {unnamed, annotate, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := tt.from.DeepCopy()
			tt.edit(u)
			expect(t, complaints(t, c.Update(t.Context(), u, client.DryRunAll)), tt.want)
		})
	}
	for name, tt := range map[string]struct {
		from  *unstructured.Unstructured
		patch string
		want  string
	}{
		"a patch cannot change it":    {named, `{"spec":{"username":"bob"}}`, immutable},
		"a patch cannot remove it":    {named, `{"spec":{"username":null}}`, immutable},
		"a patch cannot add it":       {unnamed, `{"spec":{"username":"unnamed"}}`, immutable},
		"a patch may leave it out":    {named, `{"spec":{"roles":["viewer"]}}`, ""},
		"a patch of null where is no": {unnamed, `{"spec":{"username":null}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			patch := client.RawPatch(types.MergePatchType, []byte(tt.patch))
			expect(t, complaints(t, c.Patch(t.Context(), tt.from.DeepCopy(), patch, client.DryRunAll)), tt.want)
		})
	}
}

func TestKubectlApplySaysThatTheUsernameIsImmutable(t *testing.T) {
	t.Parallel()
	ns := namespace(t, server(t))
	manifest := func(spec string) string {
		return "{apiVersion: sharding.io/v1alpha1, kind: ShardingUser, metadata: {name: a, namespace: " + ns + "}, spec: " + spec + "}"
	}
	for name, arguments := range map[string][]string{
		"kubectl apply":               nil,
		"kubectl apply --server-side": {"--server-side", "--force-conflicts"},
	} {
		t.Run(name, func(t *testing.T) {
			plane := testenv.Cluster(t)
			if _, err := plane.Apply(t.Context(), manifest("{username: alice}"), arguments...); err != nil {
				t.Fatal(err)
			}
			for _, spec := range []string{"{username: bob}", "{}"} {
				_, err := plane.Apply(t.Context(), manifest(spec), arguments...)
				if err == nil || !strings.Contains(err.Error(), immutable) {
					t.Errorf("applying %s gives %v, want %q", spec, err, immutable)
				}
			}
			if _, err := plane.Apply(t.Context(), manifest("{username: alice, roles: [viewer]}"), arguments...); err != nil {
				t.Error(err)
			}
		})
	}
}
