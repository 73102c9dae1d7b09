// SPDX-License-Identifier: Apache-2.0

// Package policy decides which ShardingUserPolicy permits a ShardingUser and on what terms, or why none does. It is
// pure: no context, clock, logger or I/O.
//
// As with NetworkPolicies, everything is permitted without any policy. Once a policy exists, a user needs one that
// selects its namespace, applies to its system and permits all that it asks for. An invalid policy permits no user.
package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Set is the policies of a cluster. The zero Set is for a cluster without policies.
type Set struct {
	policies []policy // in order of precedence
	exists   bool     // there are policies, perhaps all invalid
}

// policy is a valid policy.
type policy struct {
	name      string
	priority  int32
	selector  labels.Selector
	usernames *regexp.Regexp
	roles     *regexp.Regexp
	adoption  bool
	hashes    bool                      // the password may be a hash
	deletions []v1alpha1.DeletionPolicy // nil for all
	systems   []v1alpha1.SystemName     // nil for all
	lifetime  time.Duration             // how far ahead the end of an account may be; 0 if it needs none
	terms     user.Terms
}

// New returns the set of the given policies.
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

// Check returns what is wrong with a policy, as a sentence; nil if it is valid. The API server rejects most invalid
// policies before.
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
		systems:   p.Spec.Systems,
		terms:     termsOf(p.Spec),
	}
	if t := p.Spec.User; t != nil && t.MaxLifetime != nil {
		compiled.lifetime = t.MaxLifetime.Duration
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

// selectorOf returns the Kubernetes selector. Without one, nothing is selected.
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
		terms.Lockout.Familiar = l.FamiliarSources != nil && *l.FamiliarSources
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

// IsEmpty reports whether the cluster has no policies, so everything is permitted.
func (s Set) IsEmpty() bool { return !s.exists }

// nameLabel is the label of every namespace that holds its name.
const nameLabel = "kubernetes.io/metadata.name"

// ForMissingNamespace returns the policies that can select a namespace that does not exist. Only its name is known, so
// a policy that requires another label selects no such namespace.
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

// Permission returns what the policies decide about a resource, by the labels of its namespace, and the database's clock. If
// that is not known, now is zero, and any end of the account is near enough.
func (s Set) Permission(namespace map[string]string, u *v1alpha1.ShardingUser, now time.Time) user.Permission {
	permission := s.decide(namespace, u, now)
	permission.Changes = s.changes(namespace, u, now)
	return permission
}

func (s Set) decide(namespace map[string]string, u *v1alpha1.ShardingUser, now time.Time) user.Permission {
	if !s.exists {
		return user.Permission{}
	}
	var refusals []string
	refused, selected := 0, false
	for _, p := range s.policies {
		switch {
		case !p.selector.Matches(labels.Set(namespace)):
			continue
		case !p.appliesTo(u.Spec.System):
			selected = true
			continue
		case p.permits(u) && p.permitsEnd(u, now):
			return user.Permission{By: p.name, Terms: p.terms}
		}
		if refused++; refused <= mostPolicies {
			refusals = append(refusals, fmt.Sprintf("%q does not permit %s", p.name, enumerate(p.violations(u, now))))
		}
	}
	message := fmt.Sprintf("ShardingUserPolicies exist, and none selects the namespace %q; label the namespace, or change a policy.", u.Namespace)
	switch {
	case refused == 0 && selected:
		message = fmt.Sprintf("ShardingUserPolicies select the namespace %q, and none of them applies to the system %q; add it to spec.systems of a policy.",
			u.Namespace, u.Spec.System)
	case refused > 0:
		message = fmt.Sprintf("No ShardingUserPolicy permits this user: %s.", abbreviate(refusals, refused, "; ", mostBytes))
	}
	return user.Permission{Refusal: &user.Problem{Reason: v1alpha1.ReasonNotPermitted, Message: message}}
}

// Limits of a message, so that it fits into an Event of at most a kilobyte.
const (
	mostPolicies = 3
	mostRoles    = 3
	mostBytes    = 900
)

// permits reports whether the policy permits all that a resource asks for but its end. It stops at the first violation, because a
// resource may have 64 roles and a cluster a hundred policies.
func (p policy) permits(u *v1alpha1.ShardingUser) bool {
	return (p.adoption || u.Spec.AdoptionPolicy != v1alpha1.AdoptionIfUnowned) && (p.hashes || !asHash(u)) &&
		p.permitsDeletion(u) && p.usernames.MatchString(user.Username(u)) &&
		!slices.ContainsFunc(u.Spec.Roles, func(role v1alpha1.Role) bool { return !p.roles.MatchString(string(role)) })
}

// changes returns when time alone changes what the policies decide; zero if it does not. That is when the end of the account
// comes near enough for a policy.
func (s Set) changes(namespace map[string]string, u *v1alpha1.ShardingUser, now time.Time) (next time.Time) {
	for _, p := range s.policies {
		if p.lifetime == 0 || u.Spec.ValidUntil == nil || !p.selector.Matches(labels.Set(namespace)) || !p.appliesTo(u.Spec.System) {
			continue
		}
		if from := p.nearEnough(u); from.After(now) && (next.IsZero() || from.Before(next)) && p.permits(u) {
			next = from
		}
	}
	return next
}

// nearEnough returns the time from which the end of an account is near enough.
func (p policy) nearEnough(u *v1alpha1.ShardingUser) time.Time {
	return u.Spec.ValidUntil.UTC().Add(-p.lifetime)
}

// permitsEnd reports whether the policy permits the end of an account, or that it has none.
func (p policy) permitsEnd(u *v1alpha1.ShardingUser, now time.Time) bool {
	if p.lifetime == 0 {
		return true
	}
	return u.Spec.ValidUntil != nil && (now.IsZero() || !p.nearEnough(u).After(now))
}

// appliesTo reports whether the policy applies to a system.
func (p policy) appliesTo(system string) bool {
	return p.systems == nil || slices.Contains(p.systems, v1alpha1.SystemName(system))
}

// permitsDeletion reports whether the policy permits the deletion policy of a resource.
func (p policy) permitsDeletion(u *v1alpha1.ShardingUser) bool {
	return p.deletions == nil || slices.Contains(p.deletions, deletionPolicy(u))
}

// deletionPolicy returns the deletion policy of a resource, also without the default of the CRD.
func deletionPolicy(u *v1alpha1.ShardingUser) v1alpha1.DeletionPolicy {
	return cmp.Or(u.Spec.DeletionPolicy, v1alpha1.DeletionDelete)
}

// asHash reports whether the password is given as a hash.
func asHash(u *v1alpha1.ShardingUser) bool {
	return u.Spec.Password != nil && u.Spec.Password.Format == v1alpha1.PasswordFormatBcrypt
}

// violations describes what a resource asks for and the policy does not permit.
func (p policy) violations(u *v1alpha1.ShardingUser, now time.Time) []string {
	var violations []string
	if username := user.Username(u); !p.usernames.MatchString(username) {
		violations = append(violations, fmt.Sprintf("the username %q", shorten(username)))
	}
	var roles []string
	for _, role := range u.Spec.Roles {
		if !p.roles.MatchString(string(role)) {
			roles = append(roles, fmt.Sprintf("%q", role))
		}
	}
	if len(roles) > 0 {
		violations = append(violations, "the role "+abbreviate(roles[:min(len(roles), mostRoles)], len(roles), ", ", mostBytes))
	}
	if u.Spec.AdoptionPolicy == v1alpha1.AdoptionIfUnowned && !p.adoption {
		violations = append(violations, "adoptionPolicy IfUnowned")
	}
	if !p.permitsDeletion(u) {
		violations = append(violations, "deletionPolicy "+string(deletionPolicy(u)))
	}
	if asHash(u) && !p.hashes {
		violations = append(violations, "password.format Bcrypt, because a hash does not show the length of its password")
	}
	switch {
	case p.permitsEnd(u, now):
	case u.Spec.ValidUntil == nil:
		violations = append(violations, fmt.Sprintf("an account without validUntil, which has to be at most %s ahead", p.lifetime))
	default:
		violations = append(violations, fmt.Sprintf("validUntil %s, which is more than %s ahead",
			u.Spec.ValidUntil.UTC().Format(time.RFC3339), p.lifetime))
	}
	return violations
}

// Selects reports whether a policy selects a namespace with these labels.
func Selects(p *v1alpha1.ShardingUserPolicy, namespace map[string]string) bool {
	selector, err := selectorOf(p.Spec.NamespaceSelector)
	return err == nil && selector.Matches(labels.Set(namespace))
}

// enumerate joins parts with commas and "and".
func enumerate(parts []string) string {
	if last := len(parts) - 1; last > 0 {
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return strings.Join(parts, "")
}

// abbreviate joins as many of the first parts as fit into the given bytes, at least one, and appends how many of all
// are left out.
func abbreviate(parts []string, of int, separator string, bytes int) string {
	kept := len(parts)
	for kept > 1 && len(strings.Join(parts[:kept], separator)) > bytes {
		kept--
	}
	text := strings.Join(parts[:kept], separator)
	if more := of - kept; more > 0 {
		return fmt.Sprintf("%s and %d more", text, more)
	}
	return text
}

// shorten cuts a text that is too long for a message.
func shorten(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}
