// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// createdPolicy is the manifest as the API server stores it. It is deleted after the test, because policies are cluster-wide.
func createdPolicy(t *testing.T, c client.Client, p *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), p); err != nil {
			t.Error(err)
		}
	})
	there := policyManifest("", nil)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), there); err != nil {
		t.Fatal(err)
	}
	return there
}

func TestPolicyDefaults(t *testing.T) {
	t.Parallel()
	c := server(t)
	least := fields{"namespaceSelector": fields{}, "usernames": []any{"*"}}
	defaults := with(least, fields{"roles": []any{}, "adoption": "Forbidden", "priority": int64(0)})
	for name, tt := range map[string]struct {
		name       string
		spec, want fields
	}{
		"the least":         {"least", least, defaults},
		"nothing but nulls": {"nulls", with(least, fields{"roles": nil, "adoption": nil, "priority": nil, "lockout": nil, "password": nil}), defaults},
		"a lockout": {
			"lockout", with(least, fields{"lockout": fields{}}), with(defaults, fields{"lockout": fields{"mode": "Enforced"}}),
		},
		"what was said stays": {
			"all",
			with(defaults, fields{"adoption": "Allowed", "priority": int64(7), "roles": []any{"a"}, "password": fields{"minLength": int64(9)}}),
			with(defaults, fields{"adoption": "Allowed", "priority": int64(7), "roles": []any{"a"}, "password": fields{"minLength": int64(9)}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := createdPolicy(t, c, policyManifest("defaults-"+tt.name, tt.spec))
			delete(got.Object, "metadata")
			want := fields{
				"apiVersion": "sharding.io/v1alpha1", "kind": "ShardingUserPolicy", "spec": tt.want,
				"status": fields{"observedGeneration": int64(-1)},
			}
			if diff := cmp.Diff(want, got.Object); diff != "" {
				t.Errorf("another object is stored (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATypedPolicyComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	c := server(t)
	hours := func(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * time.Hour} }
	for name, spec := range map[string]v1alpha1.ShardingUserPolicySpec{
		"least": {NamespaceSelector: &v1alpha1.NamespaceSelector{}, Usernames: []v1alpha1.Glob{"*"}},
		"full": {
			NamespaceSelector: &v1alpha1.NamespaceSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{"team": "a", "empty": ""},
				MatchExpressions: []v1alpha1.NamespaceSelectorRequirement{
					{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []v1alpha1.LabelValue{"x", ""}},
					{Key: "tier", Operator: metav1.LabelSelectorOpExists},
				},
			},
			Usernames: []v1alpha1.Glob{"a-*", "b"}, Roles: []v1alpha1.Glob{"*"}, Adoption: v1alpha1.AdoptionAllowed, Priority: 3,
			Lockout: &v1alpha1.LockoutTerms{
				Mode: v1alpha1.LockoutEnforced, Attempts: 4, Duration: hours(1), MaxDuration: hours(8760),
			},
			Password: &v1alpha1.PasswordTerms{MinLength: 12, MaxAge: hours(87600)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1alpha1.ShardingUserPolicy{ObjectMeta: metav1.ObjectMeta{Name: "typed-" + name}, Spec: *spec.DeepCopy()}
			if err := c.Create(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if p.Status.ObservedGeneration != -1 {
				t.Errorf("the answer has the status %+v, want one that was not observed yet", p.Status)
			}
			base := p.DeepCopy()
			p.Status = v1alpha1.ShardingUserPolicyStatus{ObservedGeneration: 1, Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, Message: "It is so.",
				ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(time.Date(2026, time.March, 4, 1, 0, 0, 0, time.UTC).Local()),
			}}}
			want := p.DeepCopy()
			if err := c.Status().Patch(t.Context(), p, client.MergeFrom(base)); err != nil {
				t.Fatal(err)
			}
			var list v1alpha1.ShardingUserPolicyList
			if err := c.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
			var got v1alpha1.ShardingUserPolicy
			for _, item := range list.Items {
				if item.Name == p.Name {
					got = item
				}
			}
			if spec.Adoption == "" {
				spec.Adoption = v1alpha1.AdoptionForbidden
			}
			if spec.Roles == nil {
				spec.Roles = []v1alpha1.Glob{}
			}
			if diff := cmp.Diff(spec, got.Spec); diff != "" {
				t.Errorf("the spec says something else (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.Status, got.Status); diff != "" {
				t.Errorf("the status says something else (-want +got):\n%s", diff)
			}
			if err := c.Delete(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPolicyColumns(t *testing.T) {
	t.Parallel()
	c := server(t)
	createdPolicy(t, c, policyManifest("columns", fields{
		"namespaceSelector": fields{"matchLabels": fields{"team": "a"}}, "usernames": []any{"team-a-*", "x"}, "roles": []any{"viewer"},
	}))
	content, err := discovery.NewDiscoveryClientForConfigOrDie(testenv.APIServer(t)).RESTClient().Get().
		AbsPath("/apis/sharding.io/v1alpha1/shardinguserpolicies/columns").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").
		DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	var always, wide []string
	for _, column := range table.ColumnDefinitions {
		wide = append(wide, strings.ToUpper(column.Name))
		if column.Priority == 0 {
			always = append(always, strings.ToUpper(column.Name))
		}
		if column.Description == "" {
			t.Errorf("column %s has no description", column.Name)
		}
	}
	if diff := cmp.Diff([]string{"NAME", "USERNAMES", "ROLES", "ADOPTION", "READY", "AGE"}, always); diff != "" {
		t.Errorf("kubectl get shows other columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"NAME", "USERNAMES", "ROLES", "ADOPTION", "READY", "NAMESPACES", "PRIORITY", "AGE"}, wide); diff != "" {
		t.Errorf("kubectl get -o wide shows other columns (-want +got):\n%s", diff)
	}
	if len(table.Rows) != 1 {
		t.Fatalf("the table has %d rows, want 1", len(table.Rows))
	}
	cells := table.Rows[0].Cells
	want := []any{"columns", `["team-a-*","x"]`, `["viewer"]`, "Forbidden", nil, `{"matchLabels":{"team":"a"}}`, 0.0}
	if diff := cmp.Diff(want, cells[:len(cells)-1]); diff != "" {
		t.Errorf("the table has other cells (-want +got):\n%s", diff)
	}
}

func TestWhatKubectlGetShowsOfPolicies(t *testing.T) {
	t.Parallel()
	createdPolicy(t, server(t), policyManifest("shown", fields{"namespaceSelector": fields{}, "usernames": []any{"*"}}))
	for _, kind := range []string{"shardinguserpolicies", "shardinguserpolicy", "supolicy"} {
		t.Run(kind, func(t *testing.T) {
			output, err := testenv.Cluster(t).Kubectl(t.Context(), "get", kind, "shown")
			if err != nil {
				t.Fatal(err)
			}
			const want = "NAME USERNAMES ROLES ADOPTION READY AGE"
			if got := strings.Join(strings.Fields(strings.Split(output, "\n")[0]), " "); got != want {
				t.Errorf("the header is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestKubectlExplainTeachesPolicies(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                                    "Without any policy, everything is permitted",
		".spec.namespaceSelector":             "An empty selector, {}, selects all",
		".spec.namespaceSelector.matchLabels": "kubernetes.io/metadata.name with its own name",
		".spec.namespaceSelector.matchExpressions":          "The namespace must meet all of them",
		".spec.namespaceSelector.matchExpressions.key":      "the label that the requirement applies to",
		".spec.namespaceSelector.matchExpressions.operator": "check whether the namespace has the label",
		".spec.namespaceSelector.matchExpressions.values":   "values that In and NotIn compare with",
		".spec.usernames":               "* matches any number of characters, including none",
		".spec.roles":                   "Without patterns, only users without roles are permitted",
		".spec.adoption":                "IfUnowned",
		".spec.lockout":                 "overrides the operator's settings",
		".spec.lockout.mode":            "requires password.minLength of at least 20",
		".spec.lockout.attempts":        "number of failed logins that lock an account",
		".spec.lockout.duration":        "for example 15m",
		".spec.lockout.familiarSources": "a budget of failed logins of their own",
		".spec.lockout.maxDuration":     "twice as long as the previous one",
		".spec.password":                "requirements for passwords",
		".spec.password.minLength":      "minimum number of characters",
		".spec.password.maxAge":         "PasswordExpired of the user is True",
		".spec.priority":                "The highest number wins",
		".status.observedGeneration":    "-1 until the operator has processed the policy",
		".status.conditions":            "the operator applies this policy",
	} {
		t.Run("shardinguserpolicies"+path, func(t *testing.T) {
			t.Parallel()
			output, err := testenv.Cluster(t).Kubectl(t.Context(), "explain", "shardinguserpolicies"+path)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(strings.Fields(output), " "); !strings.Contains(text, want) {
				t.Errorf("it does not say %q:\n%s", want, output)
			}
		})
	}
}
