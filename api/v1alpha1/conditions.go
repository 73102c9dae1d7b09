// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Finalizer delays the deletion of a ShardingUser until the operator has applied spec.deletionPolicy to its row.
const Finalizer = "sharding.io/row"

// Annotations that users set on a ShardingUser.
const (
	// AnnotationUnlockRequestedAt requests that the account be unlocked. Any value that differs from
	// status.lastHandledUnlock is a request. By convention it is a time.
	AnnotationUnlockRequestedAt = "sharding.io/unlock-requested-at"

	// AnnotationUnlockReason says why a lock was removed. It has an effect only on what is recorded.
	AnnotationUnlockReason = "sharding.io/unlock-reason"

	// AnnotationSignOutRequestedAt requests that the account's tokens be refused. Any value that differs from
	// status.lastHandledSignOut is a request. By convention it is a time.
	AnnotationSignOutRequestedAt = "sharding.io/sign-out-requested-at"

	// AnnotationPaused, set to "true", stops the operator from changing anything in the database for this resource.
	//
	// Policies still apply: the operator deactivates the account when no policy permits it.
	AnnotationPaused = "sharding.io/paused"

	// AnnotationAllowLastAdministrator, set to "true", allows the last active user with a protected role to be deleted,
	// deactivated or demoted.
	AnnotationAllowLastAdministrator = "sharding.io/allow-removing-last-administrator"
)

// Condition types.
const (
	// ConditionReady reports whether the row matches the spec.
	ConditionReady = "Ready"

	// ConditionLocked reports whether logins are currently refused because of failed attempts or spec.lock.
	// It describes the account, not the spec: a locked user can be Ready.
	ConditionLocked = "Locked"

	// ConditionExpired is True when spec.validUntil has passed by the clock of the database.
	// It describes the account, not the spec: an expired user can be Ready. It is absent otherwise.
	ConditionExpired = "Expired"

	// ConditionWeakPassword is True when the current password is one that attackers try first.
	// It is absent otherwise.
	ConditionWeakPassword = "WeakPassword"

	// ConditionPasswordSuspicious is True when the current password works but is probably not the intended one.
	// It is absent otherwise.
	ConditionPasswordSuspicious = "PasswordSuspicious"

	// ConditionPasswordExpired is True when the current password is older than spec.password.maxAge or the maxAge of the
	// policy that permits the user. It is absent otherwise.
	ConditionPasswordExpired = "PasswordExpired"

	// ConditionStalled is True when retries cannot succeed until something is changed, as kstatus defines it.
	// It is absent otherwise.
	ConditionStalled = "Stalled"
)

// Reasons of the condition Ready. Stalled has the same reasons.
const (
	// ReasonSynced: the row matches the spec.
	ReasonSynced = "Synced"

	// ReasonSecretNotFound: the Secret of spec.password.secretRef does not exist.
	ReasonSecretNotFound = "SecretNotFound"

	// ReasonGenerationDisabled: the Secret of spec.password.generate does not exist, and the operator may not create it.
	ReasonGenerationDisabled = "GenerationDisabled"

	// ReasonSecretKeyNotFound: the Secret has no such key.
	ReasonSecretKeyNotFound = "SecretKeyNotFound"

	// ReasonPasswordInvalid: the Secret's value is not a valid password or bcrypt hash.
	ReasonPasswordInvalid = "PasswordInvalid"

	// ReasonUsernameTaken: another ShardingUser owns the row.
	ReasonUsernameTaken = "UsernameTaken"

	// ReasonRowExists: a row exists that no ShardingUser owns, and spec.adoptionPolicy is Never.
	ReasonRowExists = "RowExists"

	// ReasonNotPermitted: policies exist, and none of them permits the resource.
	ReasonNotPermitted = "NotPermitted"

	// ReasonLastAdministrator: the change would remove a protected role from its last active holder.
	ReasonLastAdministrator = "LastAdministrator"

	// ReasonDatabaseUnavailable: the last attempt could not reach the database.
	ReasonDatabaseUnavailable = "DatabaseUnavailable"

	// ReasonDatabaseRejected: the database rejects this row or does not keep what is written, because of a constraint, a foreign key,
	// a trigger, a rule, row-level security or a column type. The message names the cause.
	ReasonDatabaseRejected = "DatabaseRejected"

	// ReasonPending: the operator has not processed the resource yet. The API server sets it, so that every resource has
	// a condition.
	ReasonPending = "Pending"

	// ReasonPaused: the annotation sharding.io/paused is "true".
	ReasonPaused = "Paused"
)

// Reasons of the condition Locked.
const (
	// ReasonTooManyFailedAttempts: the row has a lock that ends in the future.
	ReasonTooManyFailedAttempts = "TooManyFailedAttempts"

	// ReasonLockedByRequest: spec.lock is present and has not ended.
	ReasonLockedByRequest = "LockedByRequest"

	// ReasonNotLocked: there is no lock.
	ReasonNotLocked = "NotLocked"

	// ReasonLockExpired: the last lock expired.
	ReasonLockExpired = "LockExpired"

	// ReasonUnlocked: the last lock was removed on request.
	ReasonUnlocked = "Unlocked"
)

// ReasonWellKnown is the reason of the condition WeakPassword. The password is a default of the sharding system or one of
// the most common passwords. Hashes of the defaults, in the row or in the Secret, are recognized too.
const ReasonWellKnown = "WellKnown"

// Reasons of the condition PasswordSuspicious.
const (
	// ReasonLooksEncoded: the value looks like base64 text, a document, line or URL that contains the password, or an
	// unfilled template.
	ReasonLooksEncoded = "LooksEncoded"

	// ReasonLooksQuoted: the value is enclosed in quotation marks.
	ReasonLooksQuoted = "LooksQuoted"

	// ReasonHasEdgeSpace: the value begins or ends with a space, a line ending or an invisible character.
	ReasonHasEdgeSpace = "HasEdgeSpace"

	// ReasonNotNormalised: the value is not in Unicode form NFC, or contains invisible characters.
	ReasonNotNormalised = "NotNormalised"

	// ReasonUsernameDiffers: the Secret has the type kubernetes.io/basic-auth and a different username.
	ReasonUsernameDiffers = "UsernameDiffers"
)

// ReasonValidUntilPassed is the reason of the condition Expired.
const ReasonValidUntilPassed = "ValidUntilPassed"

// ReasonMaxAgeExceeded is the reason of the condition PasswordExpired.
const ReasonMaxAgeExceeded = "MaxAgeExceeded"

// Reasons of the condition Ready of a ShardingUserPolicy. Its Stalled has the reason ReasonInvalid.
const (
	// ReasonAccepted: the operator applies the policy.
	ReasonAccepted = "Accepted"

	// ReasonInvalid: the operator cannot parse the policy, which therefore permits no user.
	ReasonInvalid = "Invalid"
)

// Reasons of Events. A Warning about Ready has the Ready reason; these are the other reasons.
const (
	EventCreated         = "Created"
	EventUpdated         = "Updated"
	EventAdopted         = "Adopted"
	EventPasswordChanged = "PasswordChanged"
	EventLocked          = "Locked"
	EventExpired         = "Expired"
	EventUnlocked        = "Unlocked"
	EventSignedOut       = "SignedOut"
	EventDriftCorrected  = "DriftCorrected"
	EventDeleted         = "Deleted"
	EventDeactivated     = "Deactivated"
	EventTransferred     = "Transferred" // by kubectl shardinguser transfer
)
