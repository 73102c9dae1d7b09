// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdoptionPermission determines whether users may adopt existing rows.
// +kubebuilder:validation:Enum=Forbidden;Allowed
type AdoptionPermission string

const (
	// AdoptionForbidden rejects users whose adoptionPolicy is IfUnowned.
	AdoptionForbidden AdoptionPermission = "Forbidden"

	// AdoptionAllowed permits users whose adoptionPolicy is IfUnowned.
	AdoptionAllowed AdoptionPermission = "Allowed"
)

// LockoutMode determines whether failed logins lock an account.
// +kubebuilder:validation:Enum=Enforced;Exempt
type LockoutMode string

const (
	// LockoutEnforced locks the account after too many failed attempts.
	LockoutEnforced LockoutMode = "Enforced"

	// LockoutExempt never locks the account.
	LockoutExempt LockoutMode = "Exempt"
)

// Glob is a case-sensitive pattern that must match a whole username or role.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._:@+*?-]+$')",message="a pattern contains only letters, digits, . _ : @ + - and the wildcards * (any characters) and ? (one character), for example team-a-*"
type Glob string

// SystemName is the name of a sharding system; "" is the default system.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$')",message="the name of a system contains only lower-case letters, digits and -, and starts and ends with a letter or digit, for example orders; the default system is \"\""
type SystemName string

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="the value of a label has up to 63 letters, digits and - _ ., and starts and ends with a letter or digit"
type LabelValue string

// NamespaceSelector selects namespaces by label, like a Kubernetes label selector. An empty selector selects all namespaces.
// +structType=atomic
type NamespaceSelector struct {
	// matchLabels are labels that the namespace must have, with these values. Every namespace has the label kubernetes.io/metadata.name with its own name.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="matchLabels without a label that has a value would select all namespaces; give each label a value, \"\" for an empty one, or remove matchLabels"
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && key.indexOf('/') <= 253)",message="the key of a label is an optional domain and /, and a name of up to 63 letters, digits and - _ ., for example kubernetes.io/metadata.name"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are further requirements. The namespace must meet all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []NamespaceSelectorRequirement `json:"matchExpressions,omitempty"`
}

// NamespaceSelectorRequirement is one requirement for the labels of a namespace.
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="In and NotIn need values, Exists and DoesNotExist must not have values"
type NamespaceSelectorRequirement struct {
	// key is the label that the requirement applies to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self.indexOf('/') <= 253",message="the key of a label is an optional domain and /, and a name of up to 63 letters, digits and - _ ., for example kubernetes.io/metadata.name"
	Key string `json:"key,omitempty"`

	// operator is the comparison. In and NotIn compare the label's value with values. Exists and DoesNotExist check whether the namespace has the label.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator,omitempty"`

	// values are the values that In and NotIn compare with.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// ShardingUserPolicySpec defines which users may be declared in which namespaces, and on what terms.
// +kubebuilder:validation:XValidation:rule="!has(self.lockout) || self.lockout.mode != 'Exempt' || (has(self.password) && has(self.password.minLength) && self.password.minLength >= 20)",message="passwords of an account that is never locked can be guessed without limit; with lockout.mode Exempt, set password.minLength to at least 20",fieldPath=".lockout"
type ShardingUserPolicySpec struct {
	// namespaceSelector selects the namespaces that the policy applies to. An empty selector, {}, selects all.
	// +required
	NamespaceSelector *NamespaceSelector `json:"namespaceSelector,omitempty"`

	// systems are the sharding systems that the policy applies to, as spec.system of ShardingUsers names them. The empty name, "", is the default system. Without this field the policy applies to all systems. A ShardingUser whose system no policy applies to is not permitted, like one whose namespace no policy selects.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(system, self.indexOf(system) == self.lastIndexOf(system))",message="a system is listed twice; list each system once",messageExpression="'system \"' + self.filter(system, self.indexOf(system) != self.lastIndexOf(system))[0] + '\" is listed twice; list each system once'"
	Systems []SystemName `json:"systems,omitempty"`

	// usernames are patterns of the permitted usernames. * matches any number of characters, including none, and ? matches one character. At least one pattern must match the whole username.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(pattern, self.indexOf(pattern) == self.lastIndexOf(pattern))",message="a pattern is listed twice; list each pattern once",messageExpression="'pattern \"' + self.filter(pattern, self.indexOf(pattern) != self.lastIndexOf(pattern))[0] + '\" is listed twice; list each pattern once'"
	Usernames []Glob `json:"usernames,omitempty"`

	// roles are patterns of the permitted roles. Each role of a user must match one of them. Without patterns, only users without roles are permitted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(pattern, self.indexOf(pattern) == self.lastIndexOf(pattern))",message="a pattern is listed twice; list each pattern once",messageExpression="'pattern \"' + self.filter(pattern, self.indexOf(pattern) != self.lastIndexOf(pattern))[0] + '\" is listed twice; list each pattern once'"
	// +kubebuilder:default={}
	Roles []Glob `json:"roles,omitempty"`

	// adoption determines whether users with adoptionPolicy IfUnowned are permitted. Such users may adopt rows that no ShardingUser owns.
	// +optional
	// +kubebuilder:default=Forbidden
	Adoption AdoptionPermission `json:"adoption,omitempty"`

	// deletionPolicies are the permitted deletion policies. Without this field all are permitted. An account whose ShardingUser no longer exists counts as retained: it is deactivated unless Retain is permitted, no matter how the ShardingUser was removed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="self.all(policy, self.indexOf(policy) == self.lastIndexOf(policy))",message="a deletion policy is listed twice; list each deletion policy once",messageExpression="'deletion policy \"' + self.filter(policy, self.indexOf(policy) != self.lastIndexOf(policy))[0] + '\" is listed twice; list each deletion policy once'"
	DeletionPolicies []DeletionPolicy `json:"deletionPolicies,omitempty"`

	// lockout determines when accounts are locked. It overrides the operator's settings.
	// +optional
	Lockout *LockoutTerms `json:"lockout,omitempty"`

	// password sets requirements for passwords, in addition to the operator's settings.
	// +optional
	Password *PasswordTerms `json:"password,omitempty"`

	// user sets requirements for the account itself.
	// +optional
	User *UserTerms `json:"user,omitempty"`

	// priority determines which policy sets the terms when several permit a user. The highest number wins; among equal numbers, the first name in alphabetical order wins.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority"`
}

// LockoutTerms determine when failed logins lock an account, and for how long. The operator's settings apply to absent fields.
// +kubebuilder:validation:XValidation:rule="self.mode != 'Exempt' || (!has(self.attempts) && !has(self.duration) && !has(self.maxDuration))",message="mode Exempt never locks an account; remove attempts, duration and maxDuration"
// +kubebuilder:validation:XValidation:rule="!has(self.maxDuration) || (has(self.duration) && (![self.duration, self.maxDuration].all(d, d.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$')) || duration(self.maxDuration) >= duration(self.duration)))",message="maxDuration requires duration, and must not be less than duration"
type LockoutTerms struct {
	// mode determines whether accounts are locked at all. Exempt is for emergency accounts. It requires password.minLength of at least 20, and applies once the user has a password of that length from a Secret. Failed attempts are still counted and recorded, and a lock that another program writes still applies.
	// +optional
	// +kubebuilder:default=Enforced
	Mode LockoutMode `json:"mode,omitempty"`

	// attempts is the number of failed logins that lock an account.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Attempts int32 `json:"attempts,omitempty"`

	// duration is how long an account is locked, for example 15m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be a duration from 1s to 8760h, in hours, minutes and seconds, for example 15m"
	Duration *metav1.Duration `json:"duration,omitempty"`

	// maxDuration makes repeated locks longer. Each further lock within a day lasts twice as long as the previous one, up to maxDuration. Without it all locks have the same duration.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be a duration from 1s to 8760h, in hours, minutes and seconds, for example 24h"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`

	// familiarSources gives addresses from which the account logged in within the last 30 days a budget of failed logins of their own. Failed logins from elsewhere then do not lock them out. attempts, duration and maxDuration apply to both budgets.
	// +optional
	FamiliarSources *bool `json:"familiarSources,omitempty"`
}

// PasswordTerms are requirements for passwords.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.minLength) || has(self.maxAge)",message="password is empty; set minLength, maxAge or both, or remove password"
type PasswordTerms struct {
	// minLength is the minimum number of characters. A longer minimum in the operator's settings takes precedence. The length of a hashed password is unknown, so a policy with minLength does not permit users with the format Bcrypt.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=72
	MinLength int32 `json:"minLength,omitempty"`

	// maxAge is how long a password is used, for example 2160h. After that the condition PasswordExpired of the user is True. The account keeps working.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1s') && duration(self) <= duration('87600h')",message="must be a duration from 1s to 87600h, in hours, minutes and seconds, for example 2160h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// UserTerms are requirements for accounts.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="has(self.maxLifetime)",message="user is empty; set maxLifetime, or remove user"
type UserTerms struct {
	// maxLifetime is how far ahead spec.validUntil of a user may be, for example 2160h. A user without validUntil is not permitted, nor is one whose validUntil is further than this from now, by the clock of the database. A user can be renewed repeatedly, each time for at most this long.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="must be a duration from 1h to 87600h, in hours, minutes and seconds, for example 2160h"
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`
}

// ShardingUserPolicyStatus is the observed state of the policy.
type ShardingUserPolicyStatus struct {
	// observedGeneration is the metadata.generation that this status describes. It is -1 until the operator has processed the policy.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready (the operator applies this policy) and Stalled (the operator cannot apply it until it is changed).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ShardingUserPolicy defines which ShardingUsers may be declared in some namespaces, and on what terms. Without any policy, everything is permitted. Once a policy exists, each user needs at least one policy that selects its namespace. That policy must permit its username, each of its roles, its adoption policy and its deletion policy. The operator deactivates the row of a user that no policy permits.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=shardinguserpolicies,singular=shardinguserpolicy,scope=Cluster,shortName=supolicy,categories=sharding
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false,Delete=false"
// +kubebuilder:printcolumn:name="Usernames",type=string,JSONPath=`.spec.usernames`,description="Patterns of the permitted usernames"
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.spec.roles`,description="Patterns of the permitted roles"
// +kubebuilder:printcolumn:name="Adoption",type=string,JSONPath=`.spec.adoption`,description="Whether rows that no ShardingUser owns may be adopted"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the operator applies the policy"
// +kubebuilder:printcolumn:name="Namespaces",type=string,priority=1,JSONPath=`.spec.namespaceSelector`,description="Namespaces that the policy applies to"
// +kubebuilder:printcolumn:name="Priority",type=integer,priority=1,JSONPath=`.spec.priority`,description="Precedence among several policies"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ShardingUserPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines which users are permitted, and on what terms.
	// +required
	Spec ShardingUserPolicySpec `json:"spec,omitzero"`

	// status is the observed state of the policy. The operator writes it.
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
