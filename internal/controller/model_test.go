// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"slices"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
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
	secret   string // what that holds: a hash, junk, or "" where there is no Secret
	unlock   string // the last request to unlock
	handled  string // the last one that was acted upon

	row   *modelRow // nil where there is none
	owned bool      // the row is the resource's
	noted string    // the hash that was applied last

	// clears tells that what is under way may clear what the log-in side writes, or make the row anew. Whether that or
	// another program's write comes first would be chance.
	clears bool
}

// modelRow is the row without its times.
type modelRow struct {
	hash   string
	roles  []v1alpha1.Role
	active bool
	failed int
	locked bool
}

// junk is what a Secret may hold that is no hash.
const junk = canary + " junk"

// converge is what the operator does about all that was asked for.
func (m *model) converge() {
	m.clears = false
	if !m.exists || m.paused {
		return
	}
	if m.row == nil {
		m.row = &modelRow{hash: user.UnusablePassword}
	}
	if !m.managed || !m.owned {
		m.noted = ""
	}
	if m.noted != "" {
		m.row.hash = m.noted
	}
	inForce := m.row.hash
	if m.managed && m.usable() {
		if m.secret != inForce {
			m.row.failed, m.row.locked = 0, false
		}
		m.row.hash, m.noted = m.secret, m.secret
	}
	if m.unlock != m.handled {
		m.row.failed, m.row.locked = 0, false
		m.handled = m.unlock
	}
	m.row.roles, m.row.active, m.owned = m.roles, m.active, true
}

func (m *model) usable() bool { return m.secret != "" && m.secret != junk }

// remove is the deletion of a resource that is not paused, and for which there is nothing else to do.
func (m *model) remove() {
	switch m.deletion {
	case v1alpha1.DeletionDeactivate:
		m.row.active = false
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

// matches tells whether a row is as predicted.
func (r *modelRow) matches(hash string, roles []string, active bool, failed int, locked bool) bool {
	want := make([]string, 0, len(r.roles))
	for _, role := range r.roles {
		want = append(want, string(role))
	}
	return r.hash == hash && slices.Equal(want, roles) && r.active == active && r.failed == failed && r.locked == locked
}
