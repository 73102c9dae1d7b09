// SPDX-License-Identifier: Apache-2.0

package user

import "slices"

// Action is the kind of a recorded change. See docs/adr/0022-the-statement-that-changes-records.md.
type Action string

// The actions. A change of several kinds is ActionUpdated.
const (
	ActionCreated     Action = "created"
	ActionAdopted     Action = "adopted"
	ActionUpdated     Action = "updated"
	ActionRoles       Action = "roles"
	ActionActivated   Action = "activated"
	ActionDeactivated Action = "deactivated"
	ActionExpired     Action = "expired"
	ActionSuspended   Action = "suspended"
	ActionLocked      Action = "locked"
	ActionUnlocked    Action = "unlocked"
	ActionSignedOut   Action = "signed-out"
	ActionPassword    Action = "password"
	ActionDrift       Action = "drift"
	ActionTransferred Action = "transferred"
	ActionReleased    Action = "released"
	ActionDeleted     Action = "deleted"
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{
		ActionCreated, ActionAdopted, ActionUpdated, ActionRoles, ActionActivated, ActionDeactivated, ActionExpired, ActionSuspended,
		ActionLocked, ActionUnlocked, ActionSignedOut, ActionPassword, ActionDrift, ActionTransferred, ActionReleased, ActionDeleted,
	}
}

// Origin is why a change is made. It decides only what is recorded about the change.
type Origin struct {
	// Drift lists the fields that another program changed and that the change corrects.
	Drift []Field

	// IsApplied reports that the generation of the resource was applied before. Its spec then does not cause the change, except
	// for an end or a standing lock whose time came.
	IsApplied bool

	// LiftsLock reports that the change ends a standing lock.
	LiftsLock bool

	// Managers asked for the change, as far as the resource shows.
	Managers Managers

	// LockReason and UnlockReason are what people gave as reasons; "" if they gave none.
	LockReason, UnlockReason string
}

// originOf returns the origin of a change, except for the drift.
func originOf(d Desired, o Observed) Origin {
	origin := Origin{Managers: d.Managers, UnlockReason: d.UnlockReason}
	if d.Lock != nil {
		origin.LockReason = d.Lock.Reason
	}
	if o.OwnedBy(d.Owner) {
		origin.IsApplied = o.Ownership.Generation == d.Generation
		origin.LiftsLock = o.Ownership.Withheld == WithheldLocked && d.Withheld(o.Now) != WithheldLocked
	}
	return origin
}

// Entry is what is recorded about a change, besides the values before and after it.
type Entry struct {
	Action  Action // "" if the change is not recorded
	Manager string // the field manager that asked; "" if none did, or Kubernetes does not know
	Reason  string // "" if nobody gave one
}

// Entry returns what to record about the change. A change of the ownership record alone is not recorded.
func (c Change) Entry() Entry {
	entry := Entry{Action: c.action()}
	entry.Manager = c.manager(entry.Action)
	switch {
	case entry.Action == ActionLocked:
		entry.Reason = c.Origin.LockReason
	case entry.Action == ActionUnlocked && c.Unlock != "":
		entry.Reason = c.Origin.UnlockReason
	}
	return entry
}

func (c Change) action() Action {
	switch c.Verb {
	case Create:
		if len(c.Origin.Drift) > 0 {
			return ActionDrift
		}
		return ActionCreated
	case Adopt:
		return ActionAdopted
	case Update:
		return c.updateAction()
	case Delete:
		return ActionDeleted
	case Deactivate:
		return ActionDeactivated
	case Release:
		return ActionReleased
	case Suspend:
		return ActionSuspended
	case Nothing, Bury:
	}
	return ""
}

// updateAction returns the one kind of an Update, or ActionUpdated for several.
func (c Change) updateAction() Action {
	var kinds []Action
	add := func(kind Action) {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	for _, field := range c.Write {
		switch {
		case slices.Contains(c.Origin.Drift, field):
			add(ActionDrift)
		case field == FieldRoles:
			add(ActionRoles)
		case field == FieldActive:
			add(c.activity())
		}
	}
	if c.Password != nil && c.Password.New {
		add(ActionPassword)
	}
	if c.Unlock != "" && c.ClearLockout {
		add(ActionUnlocked)
	}
	if c.SignOut != "" {
		add(ActionSignedOut)
	}
	switch len(kinds) {
	case 0:
		return ""
	case 1:
		return kinds[0]
	}
	return ActionUpdated
}

// activity returns the action of an Update that writes the column active.
func (c Change) activity() Action {
	switch {
	case c.Active && c.Origin.LiftsLock:
		return ActionUnlocked
	case c.Active:
		return ActionActivated
	case c.Suspended:
		return ActionSuspended
	case c.Withheld == WithheldExpired:
		return ActionExpired
	case c.Withheld == WithheldLocked:
		return ActionLocked
	}
	return ActionDeactivated
}

// manager returns the field manager that asked for an action. Kubernetes does not know who deletes a resource, and nobody asks
// for drift. A policy, a new value of the Secret and a wait for another holder of a role change an applied generation.
func (c Change) manager(action Action) string {
	isUpdate := c.Verb == Update || c.Verb == Adopt || c.Verb == Create
	switch {
	case !isUpdate, action == "", action == ActionDrift, action == ActionSuspended:
		return ""
	case action == ActionUnlocked && c.Unlock != "":
		return c.Origin.Managers.Unlock
	case action == ActionSignedOut:
		return c.Origin.Managers.SignOut
	case action == ActionExpired, action == ActionLocked, action == ActionUnlocked, !c.Origin.IsApplied:
		return c.Origin.Managers.Spec
	}
	return ""
}
