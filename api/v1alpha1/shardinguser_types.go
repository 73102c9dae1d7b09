// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each paragraph of the comments below is one line, because the CRD keeps line breaks and kubectl explain prints them.
// kubectl explain also appends the comment of Role to that of roles.

// PasswordFormat is the format of the Secret's value.
// +kubebuilder:validation:Enum=Plain;Bcrypt
type PasswordFormat string

const (
	// PasswordFormatPlain: the Secret contains the password itself.
	PasswordFormatPlain PasswordFormat = "Plain"

	// PasswordFormatBcrypt: the Secret contains a bcrypt hash of the password.
	PasswordFormatBcrypt PasswordFormat = "Bcrypt"
)

// AdoptionPolicy determines what the operator does with an existing row that no ShardingUser owns.
// +kubebuilder:validation:Enum=Never;IfUnowned
type AdoptionPolicy string

const (
	// AdoptionNever leaves the row unchanged and reports RowExists.
	AdoptionNever AdoptionPolicy = "Never"

	// AdoptionIfUnowned adopts the row.
	AdoptionIfUnowned AdoptionPolicy = "IfUnowned"
)

// DeletionPolicy determines what happens to the row when the ShardingUser is deleted.
// +kubebuilder:validation:Enum=Delete;Deactivate;Retain
type DeletionPolicy string

const (
	// DeletionDelete deletes the row.
	DeletionDelete DeletionPolicy = "Delete"

	// DeletionDeactivate keeps the row and sets active to false.
	DeletionDeactivate DeletionPolicy = "Deactivate"

	// DeletionRetain keeps the row unchanged.
	DeletionRetain DeletionPolicy = "Retain"
)

// Role is the name of a role.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._:-]*$')",message="a role starts with a letter or digit and contains only letters, digits and . _ : -, for example operator"
type Role string

// ShardingUserSpec is the desired state of the account.
// +kubebuilder:validation:XValidation:rule="has(self.username) == has(oldSelf.username) && (!has(self.username) || self.username == oldSelf.username)",message="username cannot be changed, added or removed after creation; create another ShardingUser and delete this one",fieldPath=".username"
// +kubebuilder:validation:XValidation:rule="has(self.system) == has(oldSelf.system) && (!has(self.system) || self.system == oldSelf.system)",message="system cannot be changed, added or removed after creation; create another ShardingUser and delete this one",fieldPath=".system"
type ShardingUserSpec struct {
	// system is the sharding system that the account belongs to, a DNS label such as orders. The operator that runs with the same --system manages it, in the database of that operator. Without it, the account belongs to the default system, whose operator runs without --system. It cannot be changed, added or removed after creation; create another ShardingUser instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="the name of a system contains only lower-case letters, digits and -, and starts and ends with a letter or digit, for example orders"
	System string `json:"system,omitempty"`

	// username is the name that the user logs in with. It has 1 to 255 letters, digits and . _ @ + -, and starts with a letter or digit. It is case-sensitive: Admin and admin are two users. It defaults to metadata.name. It cannot be changed, added or removed after creation; create another ShardingUser instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._@+-]*$')",message="a username starts with a letter or digit and contains only letters, digits and . _ @ + -, for example alice or alice@example.com"
	Username string `json:"username,omitempty"`

	// roles are the roles of the user in the sharding system, such as admin, operator or viewer. There can be up to 64 roles, without duplicates; their order has no meaning. Each has 1 to 63 letters, digits and . _ : -. The field manager that applies the list owns the whole list.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(role, self.indexOf(role) == self.lastIndexOf(role))",message="a role is listed twice; list each role once",messageExpression="'role \"' + self.filter(role, self.indexOf(role) != self.lastIndexOf(role))[0] + '\" is listed twice; list each role once'"
	// +kubebuilder:default={}
	Roles []Role `json:"roles,omitempty"`

	// active is whether the user can log in. An inactive user is always refused, even with the right password.
	// +optional
	// +kubebuilder:default=true
	Active *bool `json:"active,omitempty"`

	// password is the source of the password. Without it, the operator never changes the password. A new account then has no usable password until another program sets one.
	// +optional
	Password *PasswordSource `json:"password,omitempty"`

	// validUntil is when the account ends, as a time in RFC 3339, for example 2027-01-31T00:00:00Z. From then on every login is refused, by the clock of the database, and the condition Expired is True. A later time makes the account work again, with its password. Without it the account does not end. The last active user with a protected role stays active.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|(\+|-)([01]\d|2[0-3]):[0-5]\d)$`
	ValidUntil *metav1.Time `json:"validUntil,omitempty"`

	// lock refuses every login, as an administrator asked, until its time or for good. The command kubectl shardinguser lock sets it. A GitOps tool that does not have this field in Git leaves it alone. An unlock request does not remove it. The last active user with a protected role stays active.
	// +optional
	Lock *StandingLock `json:"lock,omitempty"`

	// adoptionPolicy determines what happens when the table already has a row with this username that no ShardingUser owns. Never leaves the row unchanged and reports RowExists. IfUnowned adopts the row.
	// +optional
	// +kubebuilder:default=Never
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`

	// deletionPolicy determines what happens to the row when this resource is deleted. Delete deletes it, Deactivate keeps it with active=false, and Retain keeps it unchanged. After Deactivate or Retain, a new resource with the same namespace and name owns the row again.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// StandingLock is a lock that an administrator sets and removes. Attempts to log in have no effect on it.
type StandingLock struct {
	// until is when the lock ends, as a time in RFC 3339, for example 2027-01-31T00:00:00Z. It is compared with the clock of the database. Without it the lock stays until it is removed.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|(\+|-)([01]\d|2[0-3]):[0-5]\d)$`
	Until *metav1.Time `json:"until,omitempty"`

	// reason says why the account is locked, in 1 to 256 characters. It is shown in the status and in Events.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.matches('[^\\\\pL\\\\pM\\\\pN\\\\pP\\\\pS ]')",message="the reason has only printable characters and spaces, on one line"
	Reason string `json:"reason,omitempty"`
}

// PasswordSource is the source of a password.
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || !has(self.format) || self.format == 'Plain'",message="a generated password has the format Plain; remove format or generate",fieldPath=".format"
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || !has(self.secretRef.key) || self.secretRef.key == 'password'",message="the Secret of a generated password has the keys username and password; remove key or generate",fieldPath=".secretRef.key"
type PasswordSource struct {
	// secretRef names the Secret that contains the password, in the same namespace. The operator applies a new value immediately.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`

	// format is the format of the Secret's value. Plain is the password itself, 1 to 72 bytes of UTF-8. Bcrypt is a bcrypt hash of cost 10 to 14, so that the clear-text password never enters the cluster. One trailing line ending is removed. A hash with format Plain, a byte order mark and control characters are rejected. A value that is probably not intended, such as base64 or a quoted value, works and sets the condition PasswordSuspicious.
	// +optional
	// +kubebuilder:default=Plain
	Format PasswordFormat `json:"format,omitempty"`

	// generate makes the operator create the Secret if it does not exist. The Secret has the keys username and password, with a random password, and is deleted with this resource. The operator uses a Secret that it did not create, but never changes it.
	// +optional
	Generate *PasswordGeneration `json:"generate,omitempty"`

	// maxAge is how long the password is used, for example 2160h. The operator then replaces a generated password. For any other password it sets the condition PasswordExpired, and the account keeps working. If a policy also sets maxAge, the shorter one applies.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="must be a duration from 1h to 87600h, in hours, minutes and seconds, for example 2160h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// PasswordGeneration configures the password that the operator generates.
type PasswordGeneration struct {
	// length is the number of characters, which are upper-case letters and digits. A longer minimum of a policy or of the operator's settings takes precedence. A changed length applies to the next password.
	// +optional
	// +kubebuilder:default=24
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=72
	Length int32 `json:"length,omitempty"`
}

// SecretKeyReference names one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="the name of a Secret contains only lower-case letters, digits, - and ., and starts and ends with a letter or digit, for example alice-password"
	Name string `json:"name,omitempty"`

	// key of the Secret's data that contains the password.
	// +optional
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="a key of a Secret contains only letters, digits and - _ ., for example password"
	Key string `json:"key,omitempty"`
}

// ShardingUserStatus is the last observed state of the account.
type ShardingUserStatus struct {
	// observedGeneration is the metadata.generation that this status describes. It is -1 until the operator has processed the resource.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// username is the effective username: spec.username, or metadata.name if that is absent.
	// +optional
	Username string `json:"username,omitempty"`

	// locked is whether logins are currently refused because of failed attempts or spec.lock. It is always present, so that it can be selected: kubectl get shardingusers -A --field-selector status.locked=true.
	// +optional
	// +kubebuilder:default=false
	Locked bool `json:"locked"`

	// failedLoginAttempts is the number of failed attempts since the last success, unlock or password change. It can lag behind the table by up to a minute.
	// +optional
	// +kubebuilder:default=0
	FailedLoginAttempts int32 `json:"failedLoginAttempts"`

	// lockedUntil is when the lock expires. It is absent when the account is not locked, or is locked by a spec.lock without until.
	// +optional
	LockedUntil *metav1.Time `json:"lockedUntil,omitempty"`

	// expired is whether spec.validUntil has passed. It is always present, so that it can be selected: kubectl get shardingusers -A --field-selector status.expired=true.
	// +optional
	// +kubebuilder:default=false
	Expired bool `json:"expired"`

	// lastLoginTime is when the user last logged in. It can lag behind the table by up to a minute.
	// +optional
	LastLoginTime *metav1.Time `json:"lastLoginTime,omitempty"`

	// passwordChangedTime is when the operator last wrote a new password to the row.
	// +optional
	PasswordChangedTime *metav1.Time `json:"passwordChangedTime,omitempty"`

	// passwordSecretVersion is the metadata.resourceVersion of the Secret whose password is in the row. After a rotation, wait until it equals that of the Secret. It does not change while the Secret is missing or its value is invalid. It is absent while the row has no password from a Secret.
	// +optional
	PasswordSecretVersion string `json:"passwordSecretVersion,omitempty"`

	// lastHandledUnlock is the last value of the annotation sharding.io/unlock-requested-at that the operator handled.
	// +optional
	LastHandledUnlock string `json:"lastHandledUnlock,omitempty"`

	// lastHandledSignOut is the last value of the annotation sharding.io/sign-out-requested-at that the operator handled.
	// +optional
	LastHandledSignOut string `json:"lastHandledSignOut,omitempty"`

	// signedOutTime is when the operator last handled such a request. The login API refuses tokens that it issued before.
	// +optional
	SignedOutTime *metav1.Time `json:"signedOutTime,omitempty"`

	// permittedBy is the name of the ShardingUserPolicy that permits this user and sets its terms. It is absent when no policy exists or permits the user.
	// +optional
	PermittedBy string `json:"permittedBy,omitempty"`

	// conditions are Ready (the row matches the spec), Locked (logins are currently refused), Expired (spec.validUntil has passed), WeakPassword (attackers try this password first), PasswordSuspicious (the password works but is probably not the intended one), PasswordExpired (the password is older than maxAge) and Stalled (retries cannot succeed until something is changed).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ShardingUser is one account of a sharding system. The operator keeps one row of the table users in sync with the spec, with the password from a Secret. The status reports failed logins, locks and the last login.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=shardingusers,singular=shardinguser,scope=Namespaced,shortName=suser,categories=sharding
// +kubebuilder:metadata:annotations="argocd.argoproj.io/sync-options=Prune=false,Delete=false"
// +kubebuilder:selectablefield:JSONPath=`.spec.active`
// +kubebuilder:selectablefield:JSONPath=`.spec.system`
// +kubebuilder:selectablefield:JSONPath=`.status.expired`
// +kubebuilder:selectablefield:JSONPath=`.status.locked`
// +kubebuilder:selectablefield:JSONPath=`.status.username`
// +kubebuilder:printcolumn:name="Username",type=string,JSONPath=`.status.username`,description="The name that the user logs in with"
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.spec.roles`,description="Roles of the user"
// +kubebuilder:printcolumn:name="Active",type=boolean,JSONPath=`.spec.active`,description="Whether the user can log in"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the row matches the spec"
// +kubebuilder:printcolumn:name="System",type=string,priority=1,JSONPath=`.spec.system`,description="Sharding system of the account; none is the default system"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Reason of the condition Ready"
// +kubebuilder:printcolumn:name="Valid-Until",type=string,priority=1,JSONPath=`.spec.validUntil`,description="When the account ends; empty if it does not end"
// +kubebuilder:printcolumn:name="Expired",type=boolean,priority=1,JSONPath=`.status.expired`,description="Whether the account has ended"
// +kubebuilder:printcolumn:name="Locked",type=boolean,JSONPath=`.status.locked`,description="Whether logins are refused because of failed attempts or spec.lock"
// +kubebuilder:printcolumn:name="Locked-Until",type=string,JSONPath=`.status.lockedUntil`,description="When the lock expires"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failedLoginAttempts`,description="Failed attempts since the last success"
// +kubebuilder:printcolumn:name="Last-Login",type=date,JSONPath=`.status.lastLoginTime`,description="Time since the user last logged in"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ShardingUser struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state of the account.
	// +optional
	// +kubebuilder:default={}
	Spec ShardingUserSpec `json:"spec,omitempty"`

	// status is the last observed state of the account. The operator writes it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"conditions":{{"type":"Ready","status":"Unknown","reason":"Pending","message":"The operator has not processed the resource yet.","lastTransitionTime":"1970-01-01T00:00:00Z"}}}
	Status ShardingUserStatus `json:"status,omitempty"`
}

// ShardingUserList is a list of ShardingUsers.
// +kubebuilder:object:root=true
type ShardingUserList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ShardingUser `json:"items"`
}
