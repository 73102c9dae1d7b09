// SPDX-License-Identifier: Apache-2.0

// Package policy says what ShardingUserPolicies make of a ShardingUser: which one permits it and on what terms, or why none
// does. It is pure: no context, clock, logger or I/O.
//
// As with NetworkPolicies, without any policy everything is permitted. Once there is one, wherever, a user needs one that is
// for its namespace and permits all that it asks for. One that is invalid permits nobody.
package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Set is all the policies of a cluster. The zero Set is that of a cluster without any.
type Set struct {
	policies []policy // in the order in which they set terms
	exists   bool     // there are policies, though perhaps none that is valid
}

// policy is a policy that is valid.
type policy struct {
	name      string
	priority  int32
	selector  labels.Selector
	usernames *regexp.Regexp
	roles     *regexp.Regexp
	adoption  bool
	hashes    bool                      // the password may come as a hash
	deletions []v1alpha1.DeletionPolicy // nil for all
	terms     user.Terms
}

// New returns the set of these policies.
func New(policies []v1alpha1.ShardingUserPolicy) Set {
	s := Set{exists: len(policies) > 0}
	for i := range policies {
		if p, err := compile(&policies[i]); err == nil {
			s.policies = append(s.policies, p)
		}
	}
	slices.SortFunc(s.policies, func(a, b policy) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.name, b.name))
	})
	return s
}

// Check tells what is wrong with a policy, as a sentence; nil where it is valid. The API server refuses what
// cannot; this is for what gets past it.
func Check(p *v1alpha1.ShardingUserPolicy) error {
	_, err := compile(p)
	return err
}

func compile(p *v1alpha1.ShardingUserPolicy) (policy, error) {
	compiled := policy{
		name:      p.Name,
		priority:  p.Spec.Priority,
		adoption:  p.Spec.Adoption == v1alpha1.AdoptionAllowed,
		hashes:    p.Spec.Password == nil || p.Spec.Password.MinLength == 0,
		deletions: p.Spec.DeletionPolicies,
		terms:     termsOf(p.Spec),
	}
	var err error
	if compiled.selector, err = selectorOf(p.Spec.NamespaceSelector); err != nil {
		return policy{}, fmt.Errorf("spec.namespaceSelector is invalid: %w", err)
	}
	if compiled.usernames, err = anyOf(p.Spec.Usernames); err != nil {
		return policy{}, fmt.Errorf("spec.usernames is invalid: %w", err)
	}
	if compiled.roles, err = anyOf(p.Spec.Roles); err != nil {
		return policy{}, fmt.Errorf("spec.roles is invalid: %w", err)
	}
	return compiled, nil
}

// selectorOf is the Kubernetes selector. One that is absent selects nothing.
func selectorOf(s *v1alpha1.NamespaceSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Nothing(), nil
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for key, value := range s.MatchLabels {
		selector.MatchLabels[key] = string(value)
	}
	for _, requirement := range s.MatchExpressions {
		values := make([]string, 0, len(requirement.Values))
		for _, value := range requirement.Values {
			values = append(values, string(value))
		}
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: requirement.Key, Operator: requirement.Operator, Values: values,
		})
	}
	return metav1.LabelSelectorAsSelector(selector)
}

func termsOf(spec v1alpha1.ShardingUserPolicySpec) user.Terms {
	var terms user.Terms
	if l := spec.Lockout; l != nil {
		terms.Lockout.Exempt = l.Mode == v1alpha1.LockoutExempt
		terms.Lockout.Attempts = int(l.Attempts)
		if l.Duration != nil {
			terms.Lockout.Duration = l.Duration.Duration
		}
		if l.MaxDuration != nil {
			terms.Lockout.Longest = l.MaxDuration.Duration
		}
	}
	if p := spec.Password; p != nil {
		terms.MinPasswordLength = int(p.MinLength)
		if p.MaxAge != nil {
			terms.MaxPasswordAge = p.MaxAge.Duration
		}
	}
	return terms
}

// IsEmpty reports whether the cluster has no policies, and so everything is permitted.
func (s Set) IsEmpty() bool { return !s.exists }

// nameLabel is the label that every namespace has with its own name.
const nameLabel = "kubernetes.io/metadata.name"

// ForMissingNamespace returns the policies that can be for a namespace that does not exist. With the namespace its labels are gone, but for
// its name: a policy that selects by another label is for no such namespace.
func (s Set) ForMissingNamespace() Set {
	missing := Set{exists: s.exists}
	for _, p := range s.policies {
		requirements, _ := p.selector.Requirements()
		if !slices.ContainsFunc(requirements, func(r labels.Requirement) bool { return r.Key() != nameLabel }) {
			missing.policies = append(missing.policies, p)
		}
	}
	return missing
}

// Permission is what the policies say of a resource, by the labels of its namespace.
func (s Set) Permission(namespace map[string]string, u *v1alpha1.ShardingUser) user.Permission {
	if !s.exists {
		return user.Permission{}
	}
	var refusals []string
	refused := 0
	for _, p := range s.policies {
		switch {
		case !p.selector.Matches(labels.Set(namespace)):
			continue
		case p.permits(u):
			return user.Permission{By: p.name, Terms: p.terms}
		}
		if refused++; refused <= mostPolicies {
			refusals = append(refusals, fmt.Sprintf("%q does not permit %s", p.name, enumerate(p.lacks(u))))
		}
	}
	message := fmt.Sprintf("ShardingUserPolicies exist, and none selects the namespace %q; label the namespace, or change a policy.", u.Namespace)
	if refused > 0 {
		message = fmt.Sprintf("No ShardingUserPolicy permits this user: %s.", few(refusals, refused, "; ", mostBytes))
	}
	return user.Permission{Refusal: &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: message}}
}

// What is told of, so that a message fits into an Event, which has a kilobyte for it.
const (
	mostPolicies = 3
	mostRoles    = 3
	mostBytes    = 900
)

// permits tells whether the policy permits all that a resource asks for. It stops at the first that it does not: somebody may
// ask for 64 roles of a hundred policies.
func (p policy) permits(u *v1alpha1.ShardingUser) bool {
	return (p.adoption || u.Spec.AdoptionPolicy != v1alpha1.AdoptionIfUnowned) && (p.hashes || !asHash(u)) &&
		p.permitsDeletion(u) && p.usernames.MatchString(user.Username(u)) &&
		!slices.ContainsFunc(u.Spec.Roles, func(role v1alpha1.Role) bool { return !p.roles.MatchString(string(role)) })
}

// permitsDeletion reports whether the policy permits the deletion policy of a resource.
func (p policy) permitsDeletion(u *v1alpha1.ShardingUser) bool {
	return p.deletions == nil || slices.Contains(p.deletions, deletionPolicy(u))
}

// deletionPolicy is that of a resource, also of one that came past the default of the CRD.
func deletionPolicy(u *v1alpha1.ShardingUser) v1alpha1.DeletionPolicy {
	return cmp.Or(u.Spec.DeletionPolicy, v1alpha1.DeletionDelete)
}

// asHash tells whether the password comes as a hash.
func asHash(u *v1alpha1.ShardingUser) bool {
	return u.Spec.Password != nil && u.Spec.Password.Format == v1alpha1.PasswordFormatBcrypt
}

// lacks is what a resource asks for and the policy does not permit, in words.
func (p policy) lacks(u *v1alpha1.ShardingUser) []string {
	var lacks []string
	if username := user.Username(u); !p.usernames.MatchString(username) {
		lacks = append(lacks, fmt.Sprintf("the username %q", brief(username)))
	}
	var roles []string
	for _, role := range u.Spec.Roles {
		if !p.roles.MatchString(string(role)) {
			roles = append(roles, fmt.Sprintf("%q", role))
		}
	}
	if len(roles) > 0 {
		lacks = append(lacks, "the role "+few(roles[:min(len(roles), mostRoles)], len(roles), ", ", mostBytes))
	}
	if u.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned && !p.adoption {
		lacks = append(lacks, "adoptionPolicy IfUnowned")
	}
	if !p.permitsDeletion(u) {
		lacks = append(lacks, "deletionPolicy "+string(deletionPolicy(u)))
	}
	if asHash(u) && !p.hashes {
		lacks = append(lacks, "password.format Bcrypt, because a hash does not show the length of its password")
	}
	return lacks
}

// Selects tells whether a policy is for the namespace with these labels.
func Selects(p *v1alpha1.ShardingUserPolicy, namespace map[string]string) bool {
	selector, err := selectorOf(p.Spec.NamespaceSelector)
	return err == nil && selector.Matches(labels.Set(namespace))
}

// enumerate joins what is said in one breath.
func enumerate(parts []string) string {
	if last := len(parts) - 1; last > 0 {
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return strings.Join(parts, "")
}

// few is the first of so many, as many of these parts as make no more than so many bytes, but one at least; and how many more
// there are.
func few(parts []string, of int, separator string, bytes int) string {
	told := len(parts)
	for told > 1 && len(strings.Join(parts[:told], separator)) > bytes {
		told--
	}
	text := strings.Join(parts[:told], separator)
	if more := of - told; more > 0 {
		return fmt.Sprintf("%s and %d more", text, more)
	}
	return text
}

// brief is the beginning of what is too long for a message.
func brief(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
