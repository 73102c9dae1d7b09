// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A paragraph of the comments below is one line, however long: the CRD keeps the line ends of the source, and kubectl
// explain prints them. It also adds the comment of Role to that of roles.

// PasswordFormat says what the Secret holds.
// +kubebuilder:validation:Enum=Plain;Bcrypt
type PasswordFormat string

const (
	// PasswordFormatPlain: the Secret holds the password itself.
	PasswordFormatPlain PasswordFormat = "Plain"

	// PasswordFormatBcrypt: the Secret holds a bcrypt hash of the password.
	PasswordFormatBcrypt PasswordFormat = "Bcrypt"
)

// AdoptionPolicy says what to do about a row that exists already and that no ShardingUser owns.
// +kubebuilder:validation:Enum=Never;IfUnowned
type AdoptionPolicy string

const (
	// AdoptionNever leaves such a row alone and reports RowExists.
	AdoptionNever AdoptionPolicy = "Never"

	// AdoptionIfUnowned takes such a row over.
	AdoptionIfUnowned AdoptionPolicy = "IfUnowned"
)

// DeletionPolicy says what becomes of the row when the ShardingUser is deleted.
// +kubebuilder:validation:Enum=Delete;Deactivate;Retain
type DeletionPolicy string

const (
	// DeletionDelete removes the row.
	DeletionDelete DeletionPolicy = "Delete"

	// DeletionDeactivate keeps the row and sets active to false.
	DeletionDeactivate DeletionPolicy = "Deactivate"

	// DeletionRetain keeps the row as it is.
	DeletionRetain DeletionPolicy = "Retain"
)

// Role is one of the names in spec.roles.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._:-]*$')",message="a role starts with a letter or digit and holds only letters, digits and . _ : -, for example operator"
type Role string

// ShardingUserSpec is the account as it should be.
// +kubebuilder:validation:XValidation:rule="has(self.username) == has(oldSelf.username) && (!has(self.username) || self.username == oldSelf.username)",message="username cannot be changed, added or removed after creation; create another ShardingUser and delete this one",fieldPath=".username"
type ShardingUserSpec struct {
	// username is the name that the user logs in with: 1 to 255 letters, digits and . _ @ + -, starting with a letter or digit. It is compared byte by byte, so Admin and admin are two users. When it is absent, metadata.name is the username. It cannot be changed, added or removed later: create another ShardingUser instead.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][A-Za-z0-9._@+-]*$')",message="a username starts with a letter or digit and holds only letters, digits and . _ @ + -, for example alice or alice@example.com"
	Username string `json:"username,omitempty"`

	// roles are what the user may do in the sharding system, such as admin, operator or viewer. At most 64, each of 1 to 63 letters, digits and . _ : -, without duplicates; their order has no meaning. The manager that applies the list owns it as a whole.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(role, self.indexOf(role) == self.lastIndexOf(role))",message="a role is listed twice; list each role once",messageExpression="'role \"' + self.filter(role, self.indexOf(role) != self.lastIndexOf(role))[0] + '\" is listed twice; list each role once'"
	// +kubebuilder:default={}
	Roles []Role `json:"roles,omitempty"`

	// active tells whether the user may log in at all. Every log-in of an inactive user is refused, whatever the password.
	// +optional
	// +kubebuilder:default=true
	Active *bool `json:"active,omitempty"`

	// password tells where the password comes from. When it is absent, the operator never touches the password: a new account then has one that nothing matches, until another program sets it.
	// +optional
	Password *PasswordSource `json:"password,omitempty"`

	// adoptionPolicy says what to do when the table already holds a row of this username that no ShardingUser owns. Never leaves it alone and reports RowExists; IfUnowned takes it over.
	// +optional
	// +kubebuilder:default=Never
	AdoptionPolicy AdoptionPolicy `json:"adoptionPolicy,omitempty"`

	// deletionPolicy says what becomes of the row when this resource is deleted. Delete removes it; Deactivate keeps it with active=false; Retain keeps it as it is. After Deactivate or Retain, a new resource of the same namespace and name takes the row up again.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// PasswordSource tells where a password comes from.
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || !has(self.format) || self.format == 'Plain'",message="a generated password is Plain: leave format out, or generate",fieldPath=".format"
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || !has(self.secretRef.key) || self.secretRef.key == 'password'",message="the Secret of a generated password has the keys username and password: leave key out, or generate",fieldPath=".secretRef.key"
type PasswordSource struct {
	// secretRef names the Secret, of the same namespace, that holds the password. A new value in it becomes the user's password at once.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`

	// format says what the Secret holds. Plain is the password itself: 1 to 72 bytes of UTF-8. Bcrypt is a bcrypt hash of it, of cost 10 to 14, so that the clear password never enters the cluster. One trailing line ending is dropped. A hash under Plain, a byte order mark and control characters are refused; what is most likely not meant (base64, quotes, spaces at an end) works and sets the condition PasswordSuspicious.
	// +optional
	// +kubebuilder:default=Plain
	Format PasswordFormat `json:"format,omitempty"`

	// generate lets the operator make the Secret where it does not exist, with the keys username and password and a random password, and delete it with this resource. A Secret that is there already, made by somebody else, is taken as it is and never changed.
	// +optional
	Generate *PasswordGeneration `json:"generate,omitempty"`

	// maxAge is how long the password may be used, for example 2160h. A generated one is replaced after that; of any other the condition PasswordExpired tells, and the account works all the same. Where a policy has a maxAge too, the shorter one counts.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h|[0-9]{1,7}m|[0-9]{1,9}s)+$') && duration(self) >= duration('1h') && duration(self) <= duration('87600h')",message="a duration from 1h to 87600h, in hours, minutes and seconds, for example 2160h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// PasswordGeneration says which password the operator makes.
type PasswordGeneration struct {
	// length is the number of characters, capital letters and digits. Where more are asked for, by a policy or the operator's settings, that counts. Another length is that of the next password.
	// +optional
	// +kubebuilder:default=24
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=72
	Length int32 `json:"length,omitempty"`
}

// SecretKeyReference names one value of a Secret of the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="the name of a Secret is lower-case letters, digits, - and ., starting and ending with a letter or digit, for example alice-password"
	Name string `json:"name,omitempty"`

	// key of the Secret's data that holds the password.
	// +optional
	// +kubebuilder:default=password
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="a key of a Secret holds only letters, digits and - _ ., for example password"
	Key string `json:"key,omitempty"`
}

// ShardingUserStatus is the account as it was last seen in the database.
type ShardingUserStatus struct {
	// observedGeneration is the metadata.generation that this status tells about; -1 until the operator has seen the resource.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// username is the effective one: spec.username or else metadata.name.
	// +optional
	Username string `json:"username,omitempty"`

	// locked tells whether log-ins are refused at the moment because of failed attempts. It is always there, so that it can be selected: kubectl get shardingusers -A --field-selector status.locked=true.
	// +optional
	// +kubebuilder:default=false
	Locked bool `json:"locked"`

	// failedLoginAttempts counts the failed attempts since the last success, unlock or change of the password. It may lag behind the table by up to a minute.
	// +optional
	// +kubebuilder:default=0
	FailedLoginAttempts int32 `json:"failedLoginAttempts"`

	// lockedUntil is when the lock runs out by itself. It is absent when the account is not locked.
	// +optional
	LockedUntil *metav1.Time `json:"lockedUntil,omitempty"`

	// lastLoginTime is when the user last logged in. It may lag behind the table by up to a minute.
	// +optional
	LastLoginTime *metav1.Time `json:"lastLoginTime,omitempty"`

	// passwordChangedTime is when the operator last wrote a new password into the row.
	// +optional
	PasswordChangedTime *metav1.Time `json:"passwordChangedTime,omitempty"`

	// passwordSecretVersion is the metadata.resourceVersion of the Secret whose password is in the row. After a rotation, wait until it is that of the Secret. It stays as it is while the Secret is missing or its value cannot be used, and is absent while the row has no password of a Secret.
	// +optional
	PasswordSecretVersion string `json:"passwordSecretVersion,omitempty"`

	// lastHandledUnlock is the last value of the annotation sharding.io/unlock-requested-at that was acted upon.
	// +optional
	LastHandledUnlock string `json:"lastHandledUnlock,omitempty"`

	// permittedBy is the name of the ShardingUserPolicy that permits this user and sets its terms; absent where there is no policy, or none that does.
	// +optional
	PermittedBy string `json:"permittedBy,omitempty"`

	// conditions are Ready (the row says what the spec says), Locked (log-ins are refused for the time being), WeakPassword (attackers try this password first), PasswordSuspicious (it works and is most likely not the one that was meant), PasswordExpired (it is older than spec.password.maxAge or the policy lets it become) and Stalled (nothing changes until somebody changes something).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ShardingUser is one account of a sharding system. The operator keeps one row of the sharding system's table users as the spec says, with the password from a Secret, and reports in the status what happens to the account at log-in time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=shardingusers,singular=shardinguser,scope=Namespaced,shortName=suser,categories=sharding
// +kubebuilder:selectablefield:JSONPath=`.spec.active`
// +kubebuilder:selectablefield:JSONPath=`.status.locked`
// +kubebuilder:selectablefield:JSONPath=`.status.username`
// +kubebuilder:printcolumn:name="Username",type=string,JSONPath=`.status.username`,description="The name that the user logs in with"
// +kubebuilder:printcolumn:name="Roles",type=string,JSONPath=`.spec.roles`,description="What the user may do"
// +kubebuilder:printcolumn:name="Active",type=boolean,JSONPath=`.spec.active`,description="Whether the user may log in at all"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the row says what the spec says"
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Locked",type=boolean,JSONPath=`.status.locked`,description="Whether log-ins are refused because of failed attempts"
// +kubebuilder:printcolumn:name="Locked-Until",type=string,JSONPath=`.status.lockedUntil`,description="When the lock runs out"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failedLoginAttempts`,description="Failed attempts since the last success"
// +kubebuilder:printcolumn:name="Last-Login",type=date,JSONPath=`.status.lastLoginTime`,description="How long ago the user last logged in"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ShardingUser struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the account as it should be.
	// +optional
	// +kubebuilder:default={}
	Spec ShardingUserSpec `json:"spec,omitempty"`

	// status is the account as it was last seen in the database. The operator writes it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"conditions":{{"type":"Ready","status":"Unknown","reason":"Pending","message":"The operator has not looked at the resource yet.","lastTransitionTime":"1970-01-01T00:00:00Z"}}}
	Status ShardingUserStatus `json:"status,omitempty"`
}

// ShardingUserList is a list of ShardingUsers.
// +kubebuilder:object:root=true
type ShardingUserList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ShardingUser `json:"items"`
}
