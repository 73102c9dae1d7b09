// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Decision is the result of Plan: a change, a problem, or a change after which a problem remains.
type Decision struct {
	Change Change

	// Problem is why the row cannot be as the resource asks, or not fully; nil if it will be after Change.
	Problem *Problem

	// Drift lists the fields that another program changed and that Change corrects.
	Drift []Field

	// Disables reports that Change disables the hash of a row that was already inactive. That is not drift: an older
	// version of the operator left such rows, or a program that manages the hash wrote a new one.
	Disables bool

	// TakePassword asks the caller to set Change.Password from the Secret before it applies the change. That costs a
	// hash, so it is requested only when the rest is decided.
	TakePassword bool

	// Renew asks the caller to first write another password into the generated Secret, because the current one expired.
	// If the Secret changed since its password was applied, the caller takes that password.
	Renew bool

	// Confirm reports that an outdated copy of the resource would give the same plan, and that the change would then do
	// harm. The caller has to compare the resource with the API server and set Change.Confirmed.
	Confirm bool

	// Again reports that the change is a first step, after which the caller plans again.
	Again bool
}

// WithPassword returns the change with the password that TakePassword requested. A different password resets the
// failed-attempt counter.
func (d Decision) WithPassword(p PasswordChange, o Observed) Change {
	c := d.Change
	c.Password, c.Write = &p, slices.Clone(c.Write)
	if c.Verb == Update && o.Row != nil && o.Row.PasswordHash != c.NewHash() && !slices.Contains(c.Write, FieldPasswordHash) {
		c.Write = append(c.Write, FieldPasswordHash)
	}
	if p.New && c.Verb != Create {
		c.ClearLockout = true
	}
	return c
}

// Corrects returns the fields that Change corrects in the row of an already applied resource. Another program can make
// this necessary repeatedly.
func (d Decision) Corrects() []Field {
	if d.Disables && len(d.Drift) == 0 && d.Change.OnlyDisablesHash() {
		return []Field{FieldPasswordHash}
	}
	return d.Drift
}

// Plan returns the next change that brings the observed account to the desired one. It has no side effects.
func Plan(d Desired, o Observed) Decision {
	if d.Deleting {
		return planDeletion(d, o)
	}
	if d.Permission.Refusal != nil {
		return planSuspension(d, o)
	}
	if d.Paused {
		return planPaused(d, o)
	}
	if o.OwnedBy(d.Owner) {
		return planOwned(d, o)
	}
	return planNotOwned(d, o)
}

// planNotOwned plans for a username whose row, if any, the resource does not own yet.
func planNotOwned(d Desired, o Observed) Decision {
	own := o.Ownership
	if own == nil {
		return planUnowned(d, o)
	}
	switch own.State {
	case Deleted:
		decision := planUnowned(d, o)
		// This resource was deleted with its row: either the cached resource is outdated, or the API server was
		// restored from a backup.
		decision.Confirm = decision.Confirm || own.Owner.Is(d.Owner)
		return decision
	case Released:
		if d.Owner.sameName(own.Owner) {
			return planReclaim(d, o)
		}
		return planUnowned(d, o)
	case Owned:
		if !d.Owner.Succeeds(own.Owner) {
			return refuseTaken(d, own.Owner)
		}
		if own.Deletion != v1alpha1.DeletionDelete || d.Adoption == v1alpha1.AdoptionIfUnowned {
			return planReclaim(d, o)
		}
		// A new account must not inherit a password or a role from it.
		return planFormerOwner(d, o)
	}
	return refuseTaken(d, own.Owner)
}

// planFormerOwner ends the row of a former resource of the same namespace and name as that one asked. The former
// resource was deleted without its finalizer.
func planFormerOwner(d Desired, o Observed) Decision {
	own := o.Ownership
	c := newChange(d, o, ending(d, o, own.Deletion))
	c.Owner, c.Generation, c.Deletion = own.Owner, own.Generation, own.Deletion
	if c.Verb != Release {
		c.Endangered = endangered(d, o, remaining(d, o))
	}
	return Decision{Change: c, Confirm: true, Again: true}
}

// planUnowned plans for a username without an owner.
func planUnowned(d Desired, o Observed) Decision {
	switch {
	case o.Row == nil:
		return planCreate(d, o)
	case d.Adoption == v1alpha1.AdoptionIfUnowned:
		return planAdopt(d, o)
	}
	return refuse(v1alpha1.ReasonRowExists, fmt.Sprintf(
		"The table already has a row for username %q that no ShardingUser owns; to adopt it, set spec.adoptionPolicy to IfUnowned.",
		d.Username))
}

// planReclaim plans for a row that a former resource of the same namespace and name left behind.
func planReclaim(d Desired, o Observed) Decision {
	decision := planAdopt(d, o)
	if o.Row == nil {
		decision = planCreate(d, o)
	}
	decision.Confirm = true
	return decision
}

func planCreate(d Desired, o Observed) Decision {
	c := newChange(d, o, Create)
	decision := Decision{Change: c}
	takePassword(&decision, d, o)
	if decision.Change.Password == nil {
		decision.Change.Password = &PasswordChange{Hash: UnusablePassword}
	}
	return decision
}

func planAdopt(d Desired, o Observed) Decision {
	decision := Decision{Change: newChange(d, o, Adopt)}
	decision.Change.Endangered = endangered(d, o, remaining(d, o))
	takePassword(&decision, d, o)
	if o.Row != nil {
		planHash(&decision, *o.Row)
		decision.Disables = false // no resource asked for this row to be inactive
	}
	return decision
}

// planOwned plans for a row that the resource owns.
func planOwned(d Desired, o Observed) Decision {
	own := o.Ownership
	if o.Row == nil {
		return planRestoreRow(d, o)
	}

	decision := Decision{Change: newChange(d, o, Update)}
	c := &decision.Change
	decision.Confirm = c.Unlock != "" || c.SignOut != "" // annotations have no generation that shows an outdated one
	isApplied := own.Generation == d.Generation && !own.Suspended
	differs := func(f Field, isDrift bool) {
		c.Write = append(c.Write, f)
		if isDrift {
			decision.Drift = append(decision.Drift, f)
		}
	}
	if o.Row.RolesMalformed || !sameRoles(o.Row.Roles, d.Roles) {
		differs(FieldRoles, isApplied)
	}
	if o.Row.Active != c.Active { // no drift if only the time came
		differs(FieldActive, isApplied && o.Row.Active != own.applied(d))
	}
	if len(c.Write) > len(decision.Drift) { // a mere correction takes no intended role away
		c.Endangered = endangered(d, o, remaining(d, o))
	}
	planPassword(&decision, d, o)
	planHash(&decision, *o.Row)
	decision.Disables = decision.Disables && own.Generation == d.Generation // otherwise it is part of an edit

	nothing := len(c.Write) == 0 && c.Password == nil && c.Unlock == "" && c.SignOut == "" && !decision.TakePassword && isRecorded(d, o)
	if nothing {
		c.Verb = Nothing
	}
	// An applied generation that is gone: either the cached resource is outdated, or the API server was restored from a
	// backup.
	decision.Confirm = decision.Confirm || own.Generation > d.Generation
	return decision
}

// isRecorded reports whether the ownership record of an owned row is complete for a permitted resource.
func isRecorded(d Desired, o Observed) bool {
	own := o.Ownership
	return own.Owner == d.Owner && own.Generation == d.Generation && own.Deletion == d.Deletion && !own.Suspended && own.Lockout == lockout(d, o) &&
		sameTime(own.ValidUntil, d.ValidUntil) && own.Withheld == d.Withheld(o.Now)
}

// OnlyRecords reports whether a change of an owned row does nothing but record that another version of the Secret has the
// password in force.
func OnlyRecords(d Desired, c Change, o Observed) bool {
	p := c.Password
	if c.Verb != Update || len(c.Write) > 0 || c.ClearLockout || c.Unlock != "" || c.SignOut != "" || p == nil || p.New || !isRecorded(d, o) {
		return false
	}
	own := o.Ownership
	return p.Hash == own.PasswordHash && p.Weak == own.PasswordWeak && p.Suspicion == own.PasswordSuspicion
}

// planPassword plans for the password of an owned row.
func planPassword(decision *Decision, d Desired, o Observed) {
	own := o.Ownership
	c := &decision.Change
	if !d.Password.Managed {
		if own.PasswordVersion != "" || own.PasswordHash != "" {
			// The operator no longer manages the password: clear the record, keep the row's hash.
			c.Password = &PasswordChange{}
		}
		return
	}
	takePassword(decision, d, o)
	if d.Password.Generated && d.Password.Problem == nil && !decision.TakePassword && passwordExpired(d, o) {
		decision.TakePassword, decision.Renew = true, true
	}
	drifted := own.PasswordHash != "" && o.Row.hashFor(c.Active) != own.PasswordHash
	if drifted {
		decision.Drift = append(decision.Drift, FieldPasswordHash)
	}
	if drifted && !decision.TakePassword {
		c.Password = recordedPassword(own)
		c.Write = append(c.Write, FieldPasswordHash)
	}
}

// planHash disables the hash of a row that is or becomes inactive, and enables it when the row becomes active, whether
// or not the operator manages the password.
func planHash(decision *Decision, row Row) {
	c := &decision.Change
	if slices.Contains(c.Write, FieldPasswordHash) {
		return
	}
	kept := *c
	kept.Password = nil // requested later, or only recorded
	if kept.HashAfter(row) == row.PasswordHash {
		return
	}
	c.Write = append(c.Write, FieldPasswordHash)
	decision.Disables = row.NeedsDisabledHash() && !slices.Contains(decision.Drift, FieldPasswordHash)
}

// planRestoreRow restores a row that another program deleted.
func planRestoreRow(d Desired, o Observed) Decision {
	decision := planCreate(d, o)
	decision.Drift = []Field{FieldRow}
	if d.Password.Managed && o.Ownership.PasswordHash != "" {
		decision.Change.Password = recordedPassword(o.Ownership)
	}
	// For the same reasons as in planOwned.
	decision.Confirm = decision.Change.ClearLockout || o.Ownership.Generation > d.Generation
	return decision
}

// recordedPassword returns the password that was applied last.
func recordedPassword(own *Ownership) *PasswordChange {
	return &PasswordChange{
		Hash: own.PasswordHash, Version: own.PasswordVersion, Weak: own.PasswordWeak,
		Suspicion: own.PasswordSuspicion, Unchecked: own.PasswordUnchecked, Digest: own.PasswordDigest,
	}
}

// takePassword requests the Secret's password if its version differs from the applied one, or if the applied one was
// not checked for suspicions.
func takePassword(decision *Decision, d Desired, o Observed) {
	if !d.Password.Managed {
		return
	}
	decision.Problem = d.Password.Problem
	if d.Password.Problem != nil {
		return
	}
	decision.TakePassword = d.Password.Version != o.PasswordVersion(d.Owner) || o.passwordUnchecked(d.Owner)
}

// newChange returns a change with all that follows from the resource alone.
func newChange(d Desired, o Observed, verb Verb) Change {
	c := Change{
		Verb:       verb,
		Username:   d.Username,
		Owner:      d.Owner,
		Generation: d.Generation,
		Deletion:   d.Deletion,
		Roles:      slices.Clone(d.Roles),
		Active:     d.ActiveAt(o.Now),
		Lockout:    lockout(d, o),
		ValidUntil: d.ValidUntil,
		Withheld:   d.Withheld(o.Now),
	}
	handled := ""
	if own := o.Ownership; own != nil {
		c.Revision = own.Revision
		if own.State != Deleted && (own.Owner.sameName(d.Owner) || own.Owner.Is(d.Owner)) {
			handled = own.UnlockHandled
		}
	}
	unlocks := verb == Create || verb == Adopt || verb == Update // a released row stays unchanged
	switch {
	case !unlocks || d.Unlock == "":
	case d.Unlock != handled:
		c.Unlock, c.ClearLockout = d.Unlock, true
	case verb != Update:
		c.Unlock = d.Unlock // already handled; the new record keeps it
	}
	if unlocks && (verb != Update || o.Ownership == nil || d.SignOut != o.Ownership.SignOutHandled) {
		c.SignOut = d.SignOut // also of a new record: tokens of a former owner are no use of this one
	}
	return c
}

func refuse(reason, message string) Decision {
	return Decision{Change: Change{Verb: Nothing}, Problem: &Problem{Reason: reason, Message: message}}
}

func refuseTaken(d Desired, owner Owner) Decision {
	where := ""
	if owner.System != d.Owner.System {
		where = " of " + systemNamed(owner.System)
	}
	if owner.Cluster != d.Owner.Cluster {
		where += fmt.Sprintf(" of the cluster whose kube-system namespace has the UID %s", owner.Cluster)
	}
	return refuse(v1alpha1.ReasonUsernameTaken, fmt.Sprintf(
		"Username %q belongs to ShardingUser %s%s; choose another username, or delete that resource. To keep the account when you rename "+
			"or move a resource, set spec.deletionPolicy of the old one to Retain before you delete it, and spec.adoptionPolicy of this one to IfUnowned.",
		d.Username, owner, where))
}

// systemNamed returns words for a system.
func systemNamed(system string) string {
	if system == "" {
		return "the default system"
	}
	return fmt.Sprintf("the system %q", system)
}
