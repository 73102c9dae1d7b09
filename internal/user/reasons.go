// SPDX-License-Identifier: Apache-2.0

package user

import (
	"maps"
	"slices"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// ReadyReason is what a reason of the condition Ready means to the operator and to the plugin.
type ReadyReason struct {
	// Stalls: no retry can help until something is changed. A missing Secret or key does not stall, because users and Secrets
	// are often applied together and tools fail on stalled resources.
	Stalls bool

	// PasswordOnly: the row matches the spec except for the password.
	PasswordOnly bool

	// NameTaken: another owner has the username.
	NameTaken bool

	// Recoverable: an available database, or another one, may end it.
	Recoverable bool
}

// readyReasons has every reason of Ready.
var readyReasons = map[string]ReadyReason{
	v1alpha1.ReasonSynced:              {},
	v1alpha1.ReasonSecretNotFound:      {PasswordOnly: true},
	v1alpha1.ReasonSecretKeyNotFound:   {PasswordOnly: true},
	v1alpha1.ReasonGenerationDisabled:  {PasswordOnly: true, Stalls: true},
	v1alpha1.ReasonPasswordInvalid:     {PasswordOnly: true, Stalls: true},
	v1alpha1.ReasonUsernameTaken:       {NameTaken: true, Stalls: true},
	v1alpha1.ReasonRowExists:           {NameTaken: true, Stalls: true},
	v1alpha1.ReasonNotPermitted:        {Stalls: true},
	v1alpha1.ReasonLastAdministrator:   {Stalls: true},
	v1alpha1.ReasonDatabaseUnavailable: {Recoverable: true},
	v1alpha1.ReasonDatabaseRejected:    {Recoverable: true, Stalls: true},
	v1alpha1.ReasonPending:             {Recoverable: true},
	v1alpha1.ReasonPaused:              {},
}

// OfReady returns the meaning of a reason of Ready; of an unknown one, the zero value.
func OfReady(reason string) ReadyReason { return readyReasons[reason] }

// ReadyReasons returns every reason of Ready, in alphabetical order.
func ReadyReasons() []string { return slices.Sorted(maps.Keys(readyReasons)) }
