// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/policy"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// admits decides by an index as config/admission does.
func admits(t rapid.TB, index, labels map[string]string, u *v1alpha1.ShardingUser) bool {
	t.Helper()
	var pairs, roles []string
	for key, value := range labels {
		pairs = append(pairs, key+"="+value)
	}
	for _, role := range u.Spec.Roles {
		roles = append(roles, string(role))
	}
	format := v1alpha1.PasswordFormatPlain
	if u.Spec.Password != nil {
		format = u.Spec.Password.Format
	}
	meets := func(line string) bool {
		kind, expression, _ := strings.Cut(line, " ")
		e, err := regexp.Compile(expression)
		if err != nil {
			t.Fatalf("the line %q: %v", line, err)
		}
		switch kind {
		case "label":
			return slices.ContainsFunc(pairs, e.MatchString)
		case "no-label":
			return !slices.ContainsFunc(pairs, e.MatchString)
		case "username":
			return e.MatchString(user.Username(u))
		case "role":
			return !slices.ContainsFunc(roles, func(role string) bool { return !e.MatchString(role) })
		case "adoption":
			return e.MatchString(string(u.Spec.AdoptionPolicy))
		case "deletion":
			return e.MatchString(string(u.Spec.DeletionPolicy))
		case "valid-until":
			ends := ""
			if u.Spec.ValidUntil != nil {
				ends = "set"
			}
			return e.MatchString(ends)
		case "system":
			return e.MatchString(u.Spec.System)
		case "format":
			return e.MatchString(string(format))
		}
		t.Fatalf("unknown condition %q", line)
		return false
	}
	for _, conditions := range index {
		if !slices.ContainsFunc(strings.Split(conditions, "\n"), func(line string) bool { return !meets(line) }) {
			return true
		}
	}
	return len(index) == 0
}

func TestIndexDecidesAsThePolicies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies, labels, u := anyPolicies(t), anyLabels(t), anyUser(t)
		index := policy.Index(policies)
		permission := policy.New(policies).Permission(labels, u, time.Time{})
		if got, want := admits(t, index, labels, u), permission.Refusal == nil; got != want {
			t.Errorf("the index admits: %t, want %t: %v\n%v", got, want, permission, index)
		}
		if r := permission.Refusal; r != nil && (strings.Contains(r.Message, "permit ;") || strings.Contains(r.Message, "permit .")) {
			t.Errorf("a policy refuses, and does not say what: %s", r.Message)
		}
		if len(index) != len(policies) {
			t.Errorf("%d policies have %d entries", len(policies), len(index))
		}
		if diff := cmp.Diff(index, policy.Index(policies)); diff != "" {
			t.Errorf("the same policies have two indexes:\n%s", diff)
		}
		for key, value := range index {
			if problems := validation.IsConfigMapKey(key); len(problems) > 0 || !utf8.ValidString(value) {
				t.Errorf("a ConfigMap cannot have %q: %v", key, problems)
			}
		}
	})
}

func TestIndex(t *testing.T) {
	for name, tt := range map[string]struct {
		policy v1alpha1.ShardingUserPolicy
		want   string
	}{
		"names and roles": {
			policyOf("p", usernames("a.b-*", "c?")),
			"username ^(?:a\\.b-.*|c.)$\nrole ^(?:operator|viewer)$\nadoption ^(?:Never)$",
		},
		"no roles": {
			policyOf("p", usernames("a"), roles()), "username ^(?:a)$\nrole ^(?:)$\nadoption ^(?:Never)$",
		},
		"adoption": {
			policyOf("p", usernames("a"), roles("*"), adoption), "username ^(?:a)$\nrole ^(?:.*)$",
		},
		"the length of passwords": {
			policyOf("p", usernames("a"), roles("*"), adoption, onPasswords(v1alpha1.PasswordTerms{MinLength: 12})),
			"username ^(?:a)$\nrole ^(?:.*)$\nformat ^(?:Plain)$",
		},
		"deletion policies": {
			policyOf("p", usernames("a"), roles("*"), adoption, deletions(v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate)),
			"username ^(?:a)$\nrole ^(?:.*)$\ndeletion ^(?:Deactivate|Delete)$",
		},
		"systems": {
			policyOf("p", usernames("a"), roles("*"), adoption, systems("orders", "")),
			"username ^(?:a)$\nrole ^(?:.*)$\nsystem ^(?:|orders)$",
		},
		"each kind of requirement": {
			policyOf("p", usernames("a"), roles("*"), adoption, selecting(&v1alpha1.NamespaceSelector{
				MatchLabels: map[string]v1alpha1.LabelValue{"example.com/team": "a.b", "z": ""},
				MatchExpressions: []v1alpha1.NamespaceSelectorRequirement{
					{Key: "e", Operator: metav1.LabelSelectorOpExists},
					{Key: "d", Operator: metav1.LabelSelectorOpDoesNotExist},
					{Key: "i", Operator: metav1.LabelSelectorOpIn, Values: []v1alpha1.LabelValue{"y", "x"}},
					{Key: "n", Operator: metav1.LabelSelectorOpNotIn, Values: []v1alpha1.LabelValue{"v", "u"}},
				},
			})),
			"no-label ^d=\nlabel ^e=\nlabel ^example\\.com/team=(?:a\\.b)$\nlabel ^i=(?:x|y)$\nno-label ^n=(?:u|v)$\nlabel ^z=(?:)$\n" +
				"username ^(?:a)$\nrole ^(?:.*)$",
		},
		"no namespace": {
			policyOf("p", usernames("a"), roles("*"), adoption, selecting(nil)),
			"label ^$\nusername ^(?:a)$\nrole ^(?:.*)$",
		},
		"a policy that is invalid": {policyOf("p", usernames("(")), "username ^$"},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string]string{"p": tt.want}
			if diff := cmp.Diff(want, policy.Index([]v1alpha1.ShardingUserPolicy{tt.policy})); diff != "" {
				t.Errorf("the index differs (-want +got):\n%s", diff)
			}
		})
	}
	if index := policy.Index(nil); len(index) != 0 {
		t.Errorf("without policies the index is %v", index)
	}
}
