// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Finalizer holds a ShardingUser back from deletion until its row has been dealt with as spec.deletionPolicy says.
const Finalizer = "sharding.io/row"

// Annotations that people put on a ShardingUser.
const (
	// AnnotationUnlockRequestedAt asks for the account to be unlocked. Any value that differs from
	// status.lastHandledUnlock is a request; by custom it is a time.
	AnnotationUnlockRequestedAt = "sharding.io/unlock-requested-at"

	// AnnotationPaused, set to "true", keeps the operator from changing anything in the database.
	//
	// It holds back what the resource asks for, not what policies forbid.
	AnnotationPaused = "sharding.io/paused"

	// AnnotationAllowLastAdministrator, set to "true", lets the last active user that holds a protected role be deleted,
	// deactivated or demoted.
	AnnotationAllowLastAdministrator = "sharding.io/allow-removing-last-administrator"
)

// Condition types.
const (
	// ConditionReady tells whether the row says what the spec says.
	ConditionReady = "Ready"

	// ConditionLocked tells whether log-ins are refused for the time being because of failed attempts.
	// It is about the account and not about the spec: a locked user is still Ready.
	ConditionLocked = "Locked"

	// ConditionWeakPassword is True where the password in force is one that attackers try first.
	// It is absent otherwise.
	ConditionWeakPassword = "WeakPassword"

	// ConditionPasswordSuspicious is True where the password in force works and is most likely not the one that was meant.
	// It is absent otherwise.
	ConditionPasswordSuspicious = "PasswordSuspicious"

	// ConditionPasswordExpired is True where the password in force is older than spec.password.maxAge, or the policy that
	// permits the user, lets it become. It is absent otherwise.
	ConditionPasswordExpired = "PasswordExpired"

	// ConditionStalled is True where no retry can help until somebody changes something, as kstatus has it.
	// It is absent otherwise.
	ConditionStalled = "Stalled"
)

// Reasons of the condition Ready; those of Stalled are the same.
const (
	// ReasonSynced: the row says what the spec says.
	ReasonSynced = "Synced"

	// ReasonSecretNotFound: the Secret of spec.password.secretRef does not exist.
	ReasonSecretNotFound = "SecretNotFound"

	// ReasonGenerationDisabled: the Secret of spec.password.generate does not exist, and the operator has no right to create it.
	ReasonGenerationDisabled = "GenerationDisabled"

	// ReasonSecretKeyNotFound: the Secret has no such key.
	ReasonSecretKeyNotFound = "SecretKeyNotFound"

	// ReasonPasswordInvalid: the Secret's value cannot be a password, or is not an acceptable bcrypt hash.
	ReasonPasswordInvalid = "PasswordInvalid"

	// ReasonUsernameTaken: another ShardingUser owns the row.
	ReasonUsernameTaken = "UsernameTaken"

	// ReasonRowExists: a row exists that no resource owns, and spec.adoptionPolicy is Never.
	ReasonRowExists = "RowExists"

	// ReasonNotPermitted: there are policies, and none of them permits what the resource asks for.
	ReasonNotPermitted = "NotPermitted"

	// ReasonLastAdministrator: the change would take away the last active user that holds a protected role.
	ReasonLastAdministrator = "LastAdministrator"

	// ReasonDatabaseUnavailable: the last attempt did not get through to the database.
	ReasonDatabaseUnavailable = "DatabaseUnavailable"

	// ReasonDatabaseRejected: the database refuses this row, or does not keep what is written: a constraint, a foreign key,
	// a trigger, a rule, row-level security or a column's type. The message names it.
	ReasonDatabaseRejected = "DatabaseRejected"

	// ReasonPending: the operator has not looked at the resource yet. The API server sets it, so that no resource is ever
	// without a condition.
	ReasonPending = "Pending"

	// ReasonPaused: the annotation sharding.io/paused is "true".
	ReasonPaused = "Paused"
)

// Reasons of the condition Locked.
const (
	// ReasonTooManyFailedAttempts: the row's lock lies in the future.
	ReasonTooManyFailedAttempts = "TooManyFailedAttempts"

	// ReasonNotLocked: there is no lock.
	ReasonNotLocked = "NotLocked"

	// ReasonLockExpired: there was a lock, and it ran out.
	ReasonLockExpired = "LockExpired"

	// ReasonUnlocked: the last lock was lifted by request.
	ReasonUnlocked = "Unlocked"
)

// ReasonWellKnown is the reason of the condition WeakPassword: the password is one of the sharding system's defaults, also by
// its hash in the row or in the Secret, or one of the commonest.
const ReasonWellKnown = "WellKnown"

// Reasons of the condition PasswordSuspicious.
const (
	// ReasonLooksEncoded: the value looks like base64 of text, like a document, line or URL that holds the password, or like a
	// template that no program filled in.
	ReasonLooksEncoded = "LooksEncoded"

	// ReasonLooksQuoted: the value is surrounded by quotation marks.
	ReasonLooksQuoted = "LooksQuoted"

	// ReasonHasEdgeSpace: the value begins or ends with a space, a line ending or an invisible character.
	ReasonHasEdgeSpace = "HasEdgeSpace"

	// ReasonNotNormalised: the value is not in Unicode's form NFC, or holds characters that nobody can see.
	ReasonNotNormalised = "NotNormalised"

	// ReasonUsernameDiffers: the Secret is of type kubernetes.io/basic-auth, and its username is another one.
	ReasonUsernameDiffers = "UsernameDiffers"
)

// ReasonMaxAgeExceeded is the reason of the condition PasswordExpired.
const ReasonMaxAgeExceeded = "MaxAgeExceeded"

// Reasons of the condition Ready of a ShardingUserPolicy; ReasonInvalid is that of its Stalled too.
const (
	// ReasonAccepted: the operator decides by the policy.
	ReasonAccepted = "Accepted"

	// ReasonInvalid: the operator cannot understand the policy, which therefore permits nobody.
	ReasonInvalid = "Invalid"
)

// Reasons of Events. A Ready reason is the reason of the Warning that tells of it; the others are these.
const (
	EventCreated         = "Created"
	EventUpdated         = "Updated"
	EventAdopted         = "Adopted"
	EventPasswordChanged = "PasswordChanged"
	EventLocked          = "Locked"
	EventUnlocked        = "Unlocked"
	EventDriftCorrected  = "DriftCorrected"
	EventDeleted         = "Deleted"
	EventDeactivated     = "Deactivated"
)
