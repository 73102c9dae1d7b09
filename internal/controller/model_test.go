// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/login"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// A model is one account as the contract has it: what its resource asks for, what its Secret holds, and what comes of both
// once the operator had the time.
type model struct {
	exists   bool // there is a resource
	paused   bool
	roles    []v1alpha1.Role
	active   bool
	deletion v1alpha1.DeletionPolicy
	managed  bool   // it names the Secret
	secret   string // what that holds: the word of a password, junk, or "" where there is no Secret
	unlock   string // the last request to unlock
	handled  string // the last one that was acted upon

	hostile  hostility // of the table to its roles
	rejected bool      // the table does not take what was asked for

	row   *modelRow // nil where there is none
	owned bool      // the row is the resource's
	noted string    // the password that was applied last
	trail []string  // the outcomes of attempts to log in, as recorded

	// clears reports that what is under way may clear what the login side writes, or create the row again. Whether that or
	// another program's write comes first would be chance.
	clears bool

	// unsure tells that what is under way may change who gets in.
	unsure bool
}

// modelRow is the row without its times, and with the word of its password.
type modelRow struct {
	hash     string
	disabled bool // the hash is, and nothing matches it
	roles    string
	active   bool
	failed   int
	lock     lockState
	loggedIn bool // ever
}

// A lockState is what a row's lock comes to now.
type lockState string

const (
	noLock  lockState = ""
	inForce lockState = "in force"
	ranOut  lockState = "expired"
)

// junk is what a Secret may hold that is too short for a password.
const junk = "junk"

// converge is what the operator does about all that was asked for.
func (m *model) converge() {
	m.clears, m.unsure = false, false
	if !m.exists || m.paused {
		return
	}
	m.rejected = m.hostile != "" && m.row != nil && m.row.roles != asJSON(m.roles)
	if m.rejected && m.hostile != changes {
		return // nothing of the change is made
	}
	if m.row == nil {
		m.row = &modelRow{hash: unusable}
	}
	if !m.managed || !m.owned {
		m.noted = ""
	}
	// A hash that another program disabled stays so, unless the password is ours.
	staysDisabled := m.row.disabled && m.row.active
	if m.noted != "" {
		m.row.hash, staysDisabled = m.noted, false
	}
	if m.managed && m.usable() {
		if m.secret != m.row.hash || staysDisabled {
			m.row.failed, m.row.lock = 0, noLock
		}
		m.row.hash, m.noted, staysDisabled = m.secret, m.secret, false
	}
	m.row.disabled = m.row.hash != unusable && (!m.active || staysDisabled)
	if m.unlock != m.handled {
		m.row.failed, m.row.lock = 0, noLock
		m.handled = m.unlock
	}
	m.row.active, m.owned = m.active, true
	if !m.rejected {
		m.row.roles = asJSON(m.roles)
	}
}

func (m *model) usable() bool { return m.secret != "" && m.secret != junk }

// remove is the deletion of a resource that is not paused, and for which there is nothing else to do.
func (m *model) remove() {
	switch m.deletion {
	case v1alpha1.DeletionDeactivate:
		m.row.active, m.row.disabled = false, m.row.hash != unusable
	case v1alpha1.DeletionRetain:
	default:
		m.row = nil
	}
	m.exists, m.owned, m.noted, m.unlock, m.handled = false, false, "", "", ""
}

// reason is that of the condition Ready.
func (m *model) reason() string {
	switch {
	case m.paused:
		return v1alpha1.ReasonPaused
	case m.rejected:
		return v1alpha1.ReasonDatabaseRejected
	case m.managed && m.secret == "":
		return v1alpha1.ReasonSecretNotFound
	case m.managed && m.secret == junk:
		return v1alpha1.ReasonPasswordInvalid
	}
	return v1alpha1.ReasonSynced
}

// state is that of the note about the row.
func (m *model) state() user.OwnershipState {
	switch {
	case m.exists:
		return user.Owned
	case m.deletion == v1alpha1.DeletionDelete:
		return user.Deleted
	}
	return user.Released
}

// logIn is an attempt with the password of a word. It is charged before it is checked, and what is not charged is not checked.
func (m *model) logIn(word string) (outcome login.Outcome) {
	r := m.row
	switch {
	case r == nil:
		return login.Unknown // and recorded under a digest of its name
	case !r.active:
		outcome = login.Inactive
	case r.lock == inForce:
		outcome = login.Locked
	case word == r.hash && !r.disabled:
		r.failed, r.lock, r.loggedIn = 0, noLock, true
		outcome = login.Succeeded
	default:
		if r.lock == ranOut {
			r.failed, r.lock = 0, noLock
		}
		if r.failed++; r.failed >= usual.Attempts {
			r.lock = inForce
		}
		outcome = login.Failed
	}
	m.trail = append(m.trail, string(recorded[outcome]))
	return outcome
}

// recorded returns how outcomes are recorded.
var recorded = map[login.Outcome]store.Outcome{
	login.Succeeded: store.Succeeded, login.Failed: store.Failed, login.Locked: store.RefusedLocked, login.Inactive: store.RefusedInactive,
}
