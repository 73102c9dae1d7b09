// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

type option func(*v1alpha1.ShardingUserPolicy)

// policyOf returns a policy that permits team-a-* with the roles operator and viewer in each namespace.
func policyOf(name string, options ...option) v1alpha1.ShardingUserPolicy {
	p := v1alpha1.ShardingUserPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.ShardingUserPolicySpec{
			NamespaceSelector: &v1alpha1.NamespaceSelector{},
			Usernames:         []v1alpha1.Glob{"team-a-*"},
			Roles:             []v1alpha1.Glob{"operator", "viewer"},
			Adoption:          v1alpha1.AdoptionForbidden,
		},
	}
	for _, o := range options {
		o(&p)
	}
	return p
}

func usernames(globs ...v1alpha1.Glob) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Usernames = globs }
}

func roles(globs ...v1alpha1.Glob) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Roles = globs }
}

func priority(n int32) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Priority = n }
}

func adoption(p *v1alpha1.ShardingUserPolicy) { p.Spec.Adoption = v1alpha1.AdoptionAllowed }

func deletions(policies ...v1alpha1.DeletionPolicy) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.DeletionPolicies = policies }
}

func systems(names ...v1alpha1.SystemName) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Systems = names }
}

func onPasswords(terms v1alpha1.PasswordTerms) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Password = &terms }
}

func onLockout(terms v1alpha1.LockoutTerms) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.Lockout = &terms }
}

func selecting(s *v1alpha1.NamespaceSelector) option {
	return func(p *v1alpha1.ShardingUserPolicy) { p.Spec.NamespaceSelector = s }
}

func labelled(key string, value v1alpha1.LabelValue) option {
	return selecting(&v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{key: value}})
}

func requiring(key string, operator metav1.LabelSelectorOperator, values ...v1alpha1.LabelValue) option {
	return selecting(&v1alpha1.NamespaceSelector{MatchExpressions: []v1alpha1.NamespaceSelectorRequirement{
		{Key: key, Operator: operator, Values: values},
	}})
}

type userOption func(*v1alpha1.ShardingUser)

// userOf returns a user of the namespace team-a as the API server stores it.
func userOf(username string, options ...userOption) *v1alpha1.ShardingUser {
	u := &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "resource"},
		Spec: v1alpha1.ShardingUserSpec{
			Username: username, AdoptionPolicy: v1alpha1.AdoptionNever, DeletionPolicy: v1alpha1.DeletionDelete,
		},
	}
	for _, o := range options {
		o(u)
	}
	return u
}

func withRoles(list ...v1alpha1.Role) userOption {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Roles = list }
}

func adopting(u *v1alpha1.ShardingUser) { u.Spec.AdoptionPolicy = v1alpha1.AdoptionIfUnowned }

func leaving(policy v1alpha1.DeletionPolicy) userOption {
	return func(u *v1alpha1.ShardingUser) { u.Spec.DeletionPolicy = policy }
}

func ofSystem(name string) userOption {
	return func(u *v1alpha1.ShardingUser) { u.Spec.System = name }
}

func withFormat(format v1alpha1.PasswordFormat) userOption {
	return func(u *v1alpha1.ShardingUser) { u.Spec.Password = &v1alpha1.PasswordSource{Format: format} }
}

// Few letters, so that drawn texts often match.
var (
	anyGlob = rapid.Map(rapid.StringMatching(`[ab.*?+]{1,6}`), func(s string) v1alpha1.Glob { return v1alpha1.Glob(s) })
	anyName = rapid.StringMatching(`[ab][ab.+]{0,5}`)
	aKey    = rapid.SampledFrom([]string{"team", "tier", "example.com/team", "example-com/team"})
	aPolicy = rapid.SampledFrom([]v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate, v1alpha1.DeletionRetain})
	aSystem = rapid.SampledFrom([]v1alpha1.SystemName{"", "orders", "order"})
	aValue  = rapid.SampledFrom([]v1alpha1.LabelValue{"", "a", "b", "a.b", "aXb"})
)

func anySelector(t *rapid.T) *v1alpha1.NamespaceSelector {
	s := &v1alpha1.NamespaceSelector{MatchLabels: rapid.MapOfN(aKey, aValue, 0, 1).Draw(t, "match labels")}
	for range rapid.IntRange(0, 2).Draw(t, "requirements") {
		r := v1alpha1.NamespaceSelectorRequirement{
			Key: aKey.Draw(t, "key"),
			Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{
				metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
			}).Draw(t, "operator"),
		}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = rapid.SliceOfN(aValue, 1, 3).Draw(t, "values")
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

func anyPolicy(t *rapid.T, name string) v1alpha1.ShardingUserPolicy {
	p := policyOf(
		name,
		usernames(rapid.SliceOfN(anyGlob, 1, 3).Draw(t, "usernames")...),
		roles(rapid.SliceOfN(anyGlob, 0, 3).Draw(t, "roles")...),
		priority(rapid.Int32Range(0, 2).Draw(t, "priority")),
		selecting(anySelector(t)),
	)
	if rapid.Bool().Draw(t, "adoption") {
		adoption(&p)
	}
	if rapid.Bool().Draw(t, "deletion") {
		p.Spec.DeletionPolicies = rapid.SliceOfNDistinct(aPolicy, 1, 3, rapid.ID).Draw(t, "deletion policies")
	}
	if rapid.Bool().Draw(t, "of systems") {
		p.Spec.Systems = rapid.SliceOfNDistinct(aSystem, 1, 2, rapid.ID).Draw(t, "systems")
	}
	if rapid.Bool().Draw(t, "terms") {
		p.Spec.Password = &v1alpha1.PasswordTerms{MinLength: rapid.Int32Range(0, 20).Draw(t, "least length")}
	}
	switch rapid.IntRange(0, 19).Draw(t, "kind") {
	case 0:
		p.Spec.NamespaceSelector = nil
	case 1:
		p.Spec.Usernames = []v1alpha1.Glob{"(a"}
	}
	return p
}

func anyPolicies(t *rapid.T) []v1alpha1.ShardingUserPolicy {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c]{1,2}`), 0, 4, rapid.ID).Draw(t, "policies")
	policies := make([]v1alpha1.ShardingUserPolicy, 0, len(names))
	for _, name := range names {
		policies = append(policies, anyPolicy(t, name))
	}
	return policies
}

func anyUser(t *rapid.T) *v1alpha1.ShardingUser {
	u := userOf(anyName.Draw(t, "username"))
	for _, role := range rapid.SliceOfN(anyName, 0, 3).Draw(t, "user's roles") {
		u.Spec.Roles = append(u.Spec.Roles, v1alpha1.Role(role))
	}
	if rapid.Bool().Draw(t, "adopting") {
		adopting(u)
	}
	u.Spec.System = string(aSystem.Draw(t, "user's system"))
	u.Spec.DeletionPolicy = aPolicy.Draw(t, "user's deletion policy")
	switch rapid.IntRange(0, 2).Draw(t, "password") {
	case 0:
		withFormat(v1alpha1.PasswordFormatPlain)(u)
	case 1:
		withFormat(v1alpha1.PasswordFormatBcrypt)(u)
	}
	return u
}

func anyLabels(t *rapid.T) map[string]string {
	labels := map[string]string{}
	for key, value := range rapid.MapOfN(aKey, aValue, 0, 3).Draw(t, "labels") {
		labels[key] = string(value)
	}
	return labels
}
