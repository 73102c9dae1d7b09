// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	created(t, c, manifest(ns, "alice", fields{"roles": []any{"operator"}}))

	table := tableOf(t, ns)
	var always, wide []string
	types := map[string]string{}
	for _, column := range table.ColumnDefinitions {
		name := strings.ToUpper(column.Name)
		types[name] = column.Type
		wide = append(wide, name)
		if column.Priority == 0 {
			always = append(always, name)
		}
	}
	want := []string{"NAME", "USERNAME", "ROLES", "ACTIVE", "READY", "LOCKED", "LOCKED-UNTIL", "FAILED", "LAST-LOGIN", "AGE"}
	if diff := cmp.Diff(want, always); diff != "" {
		t.Errorf("kubectl get shows other columns (-want +got):\n%s", diff)
	}
	wantWide := []string{"NAME", "USERNAME", "ROLES", "ACTIVE", "READY", "SYSTEM", "REASON", "VALID-UNTIL", "EXPIRED", "LOCKED", "LOCKED-UNTIL", "FAILED", "LAST-LOGIN", "AGE"}
	if diff := cmp.Diff(wantWide, wide); diff != "" {
		t.Errorf("kubectl get -o wide shows other columns (-want +got):\n%s", diff)
	}
	if types["LOCKED-UNTIL"] != "string" {
		t.Errorf("LOCKED-UNTIL is a %s, want a string: a date to come is printed as <invalid>", types["LOCKED-UNTIL"])
	}
	for _, column := range table.ColumnDefinitions {
		if column.Description == "" {
			t.Errorf("column %s has no description", column.Name)
		}
	}
}

func tableOf(t *testing.T, namespace string) metav1.Table {
	t.Helper()
	content, err := discovery.NewDiscoveryClientForConfigOrDie(testenv.APIServer(t)).RESTClient().Get().
		AbsPath("/apis/sharding.io/v1alpha1/namespaces/"+namespace+"/shardingusers").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestCells(t *testing.T) {
	t.Parallel()
	c := server(t)
	ns := namespace(t, c)
	created(t, c, manifest(ns, "a-new-one", nil))
	until := time.Now().Add(15 * time.Minute).UTC().Format(time.RFC3339)
	locked := created(t, c, manifest(ns, "b-locked", fields{"username": "bob", "system": "orders", "active": false, "roles": []any{"admin", "viewer"}}))
	writeStatus(t, c, locked, fields{
		"observedGeneration": int64(1), "username": "bob", "locked": true, "failedLoginAttempts": int64(5),
		"lockedUntil": until, "lastLoginTime": time.Now().Add(-49 * time.Hour).UTC().Format(time.RFC3339),
		"conditions": []any{
			fields{
				"type": "Locked", "status": "True", "reason": "TooManyFailedAttempts", "message": "",
				"lastTransitionTime": "2026-01-01T00:00:00Z",
			},
			fields{
				"type": "Ready", "status": "False", "reason": "SecretNotFound", "message": "",
				"lastTransitionTime": "2026-01-01T00:00:00Z",
			},
		},
	})

	got := map[string][]any{}
	for _, row := range tableOf(t, ns).Rows {
		name, ok := row.Cells[0].(string)
		if !ok {
			t.Fatalf("the first cell is %v, want a name", row.Cells[0])
		}
		got[name] = row.Cells[1 : len(row.Cells)-1] // without the age
	}
	want := map[string][]any{
		"a-new-one": {nil, "[]", true, "Unknown", nil, "Pending", nil, false, false, nil, 0.0, nil},
		"b-locked":  {"bob", `["admin","viewer"]`, false, "False", "orders", "SecretNotFound", nil, false, true, until, 5.0, "2d1h"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table has other cells (-want +got):\n%s", diff)
	}
}

// Not parallel: the category shows the policies of other tests, too.
func TestWhatKubectlGetShows(t *testing.T) {
	c := server(t)
	ns := namespace(t, c)
	created(t, c, manifest(ns, "alice", nil))
	for command, want := range map[string]string{
		"get shardingusers":         "NAME USERNAME ROLES ACTIVE READY LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE",
		"get suser":                 "NAME USERNAME ROLES ACTIVE READY LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE",
		"get shardinguser":          "NAME USERNAME ROLES ACTIVE READY LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE",
		"get sharding":              "NAME USERNAME ROLES ACTIVE READY LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE",
		"get shardingusers -o wide": "NAME USERNAME ROLES ACTIVE READY SYSTEM REASON VALID-UNTIL EXPIRED LOCKED LOCKED-UNTIL FAILED LAST-LOGIN AGE",
	} {
		t.Run(command, func(t *testing.T) {
			output, err := testenv.Cluster(t).Kubectl(t.Context(), append(strings.Fields(command), "--namespace="+ns)...)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(output), "\n")
			if got := strings.Join(strings.Fields(lines[0]), " "); got != want {
				t.Errorf("the header is\n%s\nwant\n%s", got, want)
			}
			// Of a category, which holds several kinds, each name is told with its kind.
			if len(lines) != 2 || !strings.HasPrefix(strings.TrimPrefix(lines[1], "shardinguser.sharding.io/"), "alice ") {
				t.Errorf("it does not show the one user:\n%s", output)
			}
		})
	}
}

func TestNamesOfTheResource(t *testing.T) {
	t.Parallel()
	resources, err := discovery.NewDiscoveryClientForConfigOrDie(testenv.APIServer(t)).
		ServerResourcesForGroupVersion("sharding.io/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	type resource struct {
		Singular, Kind string
		Namespaced     bool
		Short, In      []string
	}
	got := map[string]resource{}
	for _, r := range resources.APIResources {
		got[r.Name] = resource{r.SingularName, r.Kind, r.Namespaced, r.ShortNames, r.Categories}
	}
	want := map[string]resource{
		"shardingusers":        {"shardinguser", "ShardingUser", true, []string{"suser"}, []string{"sharding"}},
		"shardingusers/status": {"", "ShardingUser", true, nil, nil},
		"shardinguserpolicies": {
			"shardinguserpolicy", "ShardingUserPolicy", false, []string{"supolicy"}, []string{"sharding"},
		},
		"shardinguserpolicies/status": {"", "ShardingUserPolicy", false, nil, nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the API server offers something else (-want +got):\n%s", diff)
	}
}

func TestEveryFieldIsExplained(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"shardingusers.sharding.io", "shardinguserpolicies.sharding.io"} {
		t.Run(name, func(t *testing.T) { checkFieldsExplained(t, name) })
	}
}

func checkFieldsExplained(t *testing.T, name string) {
	t.Helper()
	c := server(t)
	var crd apiextensionsv1.CustomResourceDefinition
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &crd); err != nil {
		t.Fatal(err)
	}
	for _, version := range crd.Spec.Versions {
		schema := version.Schema.OpenAPIV3Schema
		if strings.TrimSpace(schema.Description) == "" {
			t.Errorf("%s as a whole has no description", version.Name)
		}
		explained := 0
		for _, part := range []string{"spec", "status"} {
			explained += checkDescriptions(t, version.Name+"."+part, schema.Properties[part])
		}
		if explained < 20 {
			t.Errorf("only %d fields were found in %s", explained, version.Name)
		}
	}
}

// checkDescriptions goes through a field and all that it holds, and counts them.
func checkDescriptions(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) int {
	t.Helper()
	if strings.TrimSpace(schema.Description) == "" {
		t.Errorf("%s has no description", path)
	}
	count := 1
	for name, property := range schema.Properties {
		count += checkDescriptions(t, path+"."+name, property)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		count += checkDescriptions(t, path+"[]", *schema.Items.Schema)
	}
	return count
}

func TestKubectlExplainTeachesTheResource(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                                      "account of a sharding system",
		".spec.username":                        "defaults to metadata.name",
		".spec.roles":                           "up to 64 roles",
		".spec.password.format":                 "Plain is the password itself",
		".spec.password.secretRef":              "same namespace",
		".spec.adoptionPolicy":                  "IfUnowned adopts the row",
		".spec.deletionPolicy":                  "Deactivate keeps it with active=false",
		".status.locked":                        "--field-selector status.locked=true",
		".status.lastHandledUnlock":             "sharding.io/unlock-requested-at",
		".status.conditions":                    "Ready (the row matches the spec)",
		".status.observedGeneration":            "-1 until the operator has processed the resource",
		".spec.password.secretRef.name":         "name of the Secret",
		".status.passwordChangedTime":           "wrote a new password",
		".status.passwordSecretVersion":         "resourceVersion of the Secret whose password is in the row",
		".status.failedLoginAttempts":           "up to a minute",
		".spec.active":                          "An inactive user is always refused",
		".status.lockedUntil":                   "absent when the account is not locked",
		".status.lastLoginTime":                 "when the user last logged in",
		".status.permittedBy":                   "name of the ShardingUserPolicy that permits this user",
		".status.conditions.lastTransitionTime": "transitioned from one status to another",
	} {
		t.Run("shardingusers"+path, func(t *testing.T) {
			t.Parallel()
			output, err := testenv.Cluster(t).Kubectl(t.Context(), "explain", "shardingusers"+path)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(strings.Fields(output), " "); !strings.Contains(text, want) {
				t.Errorf("it does not say %q:\n%s", want, output)
			}
		})
	}
}
