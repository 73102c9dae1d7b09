// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdoptionPermission says whether users may ask for rows that exist already.
// +kubebuilder:validation:Enum=Forbidden;Allowed
type AdoptionPermission string

const (
	// AdoptionForbidden permits no user whose adoptionPolicy is IfUnowned.
	AdoptionForbidden AdoptionPermission = "Forbidden"

	// AdoptionAllowed permits them.
	AdoptionAllowed AdoptionPermission = "Allowed"
)

// LockoutMode says whether failed log-ins lock an account.
// +kubebuilder:validation:Enum=Enforced;Exempt
type LockoutMode string

const (
	// LockoutEnforced locks after too many failed attempts.
	LockoutEnforced LockoutMode = "Enforced"

	// LockoutExempt never locks.
	LockoutExempt LockoutMode = "Exempt"
)

// Glob is a pattern for usernames or roles, which it has to match as a whole, byte by byte.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._:@+*?-]+$')",message="a pattern holds only letters, digits, . _ : @ + - and the wildcards * (any characters) and ? (any one character), for example team-a-*"
type Glob string

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="the value of a label is up to 63 letters, digits and - _ ., starting and ending with a letter or digit"
type LabelValue string

// NamespaceSelector selects namespaces by their labels, as a Kubernetes label selector does; an empty one selects all.
// +structType=atomic
type NamespaceSelector struct {
	// matchLabels are labels that the namespace must have, with these values. Every namespace has kubernetes.io/metadata.name with its own name.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="matchLabels without a label that has a value would select all namespaces: give each label its value, \"\" for an empty one, or leave matchLabels out"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && key.indexOf('/') <= 253)",message="the key of a label is a name of up to 63 letters, digits and - _ ., with a domain and / before it at will, for example kubernetes.io/metadata.name"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are further requirements, all of which the namespace must meet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []NamespaceSelectorRequirement `json:"matchExpressions,omitempty"`
}

// NamespaceSelectorRequirement is one requirement of the labels of a namespace.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="In and NotIn need values, Exists and DoesNotExist have none"
type NamespaceSelectorRequirement struct {
	// key is the label that the requirement is about.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self.indexOf('/') <= 253",message="the key of a label is a name of up to 63 letters, digits and - _ ., with a domain and / before it at will, for example kubernetes.io/metadata.name"
	Key string `json:"key,omitempty"`

	// operator is what the requirement asks for: In and NotIn compare the label's value with values, Exists and DoesNotExist ask whether there is such a label.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator,omitempty"`

	// values are what In and NotIn compare with.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// ShardingUserPolicySpec says which users may be declared where, and on what terms.
// +kubebuilder:validation:XValidation:rule="!has(self.lockout) || self.lockout.mode != 'Exempt' || (has(self.password) && has(self.password.minLength) && self.password.minLength >= 20)",message="an account that is never locked can be guessed at without end: lockout.mode Exempt needs password.minLength of at least 20",fieldPath=".lockout"
type ShardingUserPolicySpec struct {
	// namespaceSelector selects the namespaces that the policy is for. An empty one, {}, selects all.
	// +required
	NamespaceSelector *NamespaceSelector `json:"namespaceSelector,omitempty"`

	// usernames are patterns of the usernames that may be claimed there: * stands for any characters, also none, and ? for any one. At least one of them has to match, as a whole.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(pattern, self.indexOf(pattern) == self.lastIndexOf(pattern))",message="a pattern is listed twice; list each pattern once",messageExpression="'pattern \"' + self.filter(pattern, self.indexOf(pattern) != self.lastIndexOf(pattern))[0] + '\" is listed twice; list each pattern once'"
	Usernames []Glob `json:"usernames,omitempty"`

	// roles are patterns of the roles that may be granted there. Each role of a user has to match one of them; without patterns, only users without roles are permitted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(pattern, self.indexOf(pattern) == self.lastIndexOf(pattern))",message="a pattern is listed twice; list each pattern once",messageExpression="'pattern \"' + self.filter(pattern, self.indexOf(pattern) != self.lastIndexOf(pattern))[0] + '\" is listed twice; list each pattern once'"
	// +kubebuilder:default={}
	Roles []Glob `json:"roles,omitempty"`

	// adoption says whether users with adoptionPolicy IfUnowned are permitted, which may take over a row that nobody owns.
	// +optional
	// +kubebuilder:default=Forbidden
	Adoption AdoptionPermission `json:"adoption,omitempty"`

	// deletionPolicies are the deletion policies that users may have there. Without the field all are permitted. An account whose ShardingUser is gone counts as retained: without Retain it is deactivated, however the ShardingUser went.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="self.all(policy, self.indexOf(policy) == self.lastIndexOf(policy))",message="a deletion policy is listed twice; list each deletion policy once",messageExpression="'deletion policy \"' + self.filter(policy, self.indexOf(policy) != self.lastIndexOf(policy))[0] + '\" is listed twice; list each deletion policy once'"
	DeletionPolicies []DeletionPolicy `json:"deletionPolicies,omitempty"`

	// lockout says when the accounts are locked, in place of the operator's own settings.
	// +optional
	Lockout *LockoutTerms `json:"lockout,omitempty"`

	// password says what is asked of passwords, beside the operator's own settings.
	// +optional
	Password *PasswordTerms `json:"password,omitempty"`

	// priority decides which of several policies sets the terms of a user that all of them permit: the one with the highest number, and of those the first by name.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority"`
}

// LockoutTerms say when failed log-ins lock an account, and for how long. What is absent is as the operator's settings have it.
// +kubebuilder:validation:XValidation:rule="self.mode != 'Exempt' || (!has(self.attempts) && !has(self.duration) && !has(self.maxDuration))",message="with mode Exempt there is no lock: leave out attempts, duration and maxDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.maxDuration) || (has(self.duration) && (![self.duration, self.maxDuration].all(d, d.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$')) || duration(self.maxDuration) >= duration(self.duration)))",message="maxDuration needs duration, and is not less than it"
type LockoutTerms struct {
	// mode says whether the accounts are locked at all. Exempt is for accounts that somebody must be able to use in an emergency; it needs password.minLength of at least 20, and counts once the user has a password from a Secret of that length. Failures are counted and put on record all the same, and a lock that another program writes holds.
	// +optional
	// +kubebuilder:default=Enforced
	Mode LockoutMode `json:"mode,omitempty"`

	// attempts is how many failed log-ins lock an account.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Attempts int32 `json:"attempts,omitempty"`

	// duration is how long an account is locked, for example 15m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="a duration from 1s to 8760h, in hours, minutes and seconds, for example 15m"
	Duration *metav1.Duration `json:"duration,omitempty"`

	// maxDuration lets locks grow: each further lock within a day lasts twice as long as the one before it, up to this. Without it all locks last equally long.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="a duration from 1s to 8760h, in hours, minutes and seconds, for example 24h"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`
}

// PasswordTerms say what is asked of passwords.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.minLength) || has(self.maxAge)",message="password asks for nothing: give it minLength, maxAge or both, or leave it out"
type PasswordTerms struct {
	// minLength is the least number of characters; where the operator's own setting is longer, that counts. A hash does not tell how long its password is: a user whose password has the format Bcrypt is not permitted by a policy with minLength.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=72
	MinLength int32 `json:"minLength,omitempty"`

	// maxAge is how long a password may be used, for example 2160h. After it the user's condition PasswordExpired is True; the account works all the same.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('87600h')",message="a duration from 1s to 87600h, in hours, minutes and seconds, for example 2160h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// ShardingUserPolicyStatus tells what the operator makes of the policy.
type ShardingUserPolicyStatus struct {
	// observedGeneration is the metadata.generation that this status tells about; -1 until the operator has seen the policy.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready (the operator decides by this policy) and Stalled (it cannot, until somebody changes it).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ShardingUserPolicy says which ShardingUsers may be declared in some namespaces, and on what terms. Without any policy everything is allowed. Once one exists, anywhere, a user needs at least one that selects its namespace and permits all that it asks for: its username, each of its roles, adoption, its deletion policy. The row of a user that no policy permits is deactivated.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=shardinguserpolicies,singular=shardinguserpolicy,scope=Cluster,shortName=supolicy,categories=sharding
// +kubebuilder:printcolumn:name="Usernames",type=string,JSONPath=`.spec.usernames`,description="Which usernames may be claimed"
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.spec.roles`,description="Which roles may be granted"
// +kubebuilder:printcolumn:name="Adoption",type=string,JSONPath=`.spec.adoption`,description="Whether rows that nobody owns may be taken over"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the operator decides by it"
// +kubebuilder:printcolumn:name="Namespaces",type=string,priority=1,JSONPath=`.spec.namespaceSelector`,description="Which namespaces it is for"
// +kubebuilder:printcolumn:name="Priority",type=integer,priority=1,JSONPath=`.spec.priority`,description="Which of several policies sets the terms"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ShardingUserPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is permitted, and on what terms.
	// +required
	Spec ShardingUserPolicySpec `json:"spec,omitzero"`

	// status is what the operator makes of the policy. The operator writes it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ShardingUserPolicyStatus `json:"status,omitempty"`
}

// ShardingUserPolicyList is a list of ShardingUserPolicies.
// +kubebuilder:object:root=true
type ShardingUserPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ShardingUserPolicy `json:"items"`
}
