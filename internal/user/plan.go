// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Decision is what Plan answers: a change to make, or a problem, or a change and a problem that stays after it.
type Decision struct {
	Change Change

	// Problem is why the row cannot be, or not fully, as the resource asks; nil where it will be once Change is made.
	Problem *Problem

	// Drift lists what another program had changed and Change puts back.
	Drift []Field

	// Disables tells that Change disables the hash of a row that was inactive already. That is no drift: an older version of the operator
	// left such rows, or a program whose business the hash is wrote another one.
	Disables bool

	// TakePassword asks the caller to fill in Change.Password from the Secret before it makes the change. That costs
	// a hash, so it is asked for only when all else is settled.
	TakePassword bool

	// Renew asks the caller to put another password into the Secret first, which is one that the operator made: it is as old
	// as it may become. Where somebody changed the Secret since its password was applied, that one is to be taken.
	Renew bool

	// Confirm tells that a copy of the resource that is out of date would lead to the same plan, and that the change
	// would then do harm: the caller has to make sure that the resource is as it is in the copy, and set
	// Change.Confirmed.
	Confirm bool

	// Again tells that the change is a first step, after which one has to look again.
	Again bool
}

// WithPassword is the change with the password that TakePassword asked for. Another password than before starts from a
// clean counter of failed attempts.
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

// Corrects returns the fields that Change corrects in the row of a resource that was applied already. Another program may make that
// necessary again and again.
func (d Decision) Corrects() []Field {
	if d.Disables && len(d.Drift) == 0 && d.Change.OnlyDisablesHash() {
		return []Field{FieldPasswordHash}
	}
	return d.Drift
}

// Plan decides on the one change that brings the observed account closer to the desired one. It has no side effects.
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

// planNotOwned decides about a name whose row, if there is one, is not the resource's own yet.
func planNotOwned(d Desired, o Observed) Decision {
	own := o.Ownership
	if own == nil {
		return planUnowned(d, o)
	}
	switch own.State {
	case Deleted:
		decision := planUnowned(d, o)
		// This very resource was deleted, and its row with it: either the copy is out of date, or the API server was
		// restored from a backup.
		decision.Confirm = decision.Confirm || own.Owner == d.Owner
		return decision
	case Released:
		if d.Owner.samePlace(own.Owner) {
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

// planFormerOwner does with a row what its owner wanted, the former resource of this place, which went away without its
// finalizer.
func planFormerOwner(d Desired, o Observed) Decision {
	own := o.Ownership
	c := begin(d, o, ending(d, own.Deletion))
	c.Owner, c.Generation, c.Deletion = own.Owner, own.Generation, own.Deletion
	if c.Verb != Release {
		c.Endangered = endangered(d, o, remaining(d))
	}
	return Decision{Change: c, Confirm: true, Again: true}
}

// ending is what becomes of the row of a resource that goes. Where no policy permits it, no active row is left behind, for
// which nobody would ask the policies any more.
func ending(d Desired, policy v1alpha1.DeletionPolicy) Verb {
	switch policy {
	case v1alpha1.DeletionRetain:
		if d.Permission.Refusal != nil {
			return Deactivate
		}
		return Release
	case v1alpha1.DeletionDeactivate:
		return Deactivate
	case v1alpha1.DeletionDelete:
	}
	return Delete
}

// planUnowned decides about a name that nobody owns.
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

// planReclaim decides about a row that a former resource of the same place left behind.
func planReclaim(d Desired, o Observed) Decision {
	decision := planAdopt(d, o)
	if o.Row == nil {
		decision = planCreate(d, o)
	}
	decision.Confirm = true
	return decision
}

func planCreate(d Desired, o Observed) Decision {
	c := begin(d, o, Create)
	decision := Decision{Change: c}
	takePassword(&decision, d, o)
	if decision.Change.Password == nil {
		decision.Change.Password = &PasswordChange{Hash: UnusablePassword}
	}
	return decision
}

func planAdopt(d Desired, o Observed) Decision {
	decision := Decision{Change: begin(d, o, Adopt)}
	decision.Change.Endangered = endangered(d, o, remaining(d))
	takePassword(&decision, d, o)
	if o.Row != nil {
		planHash(&decision, *o.Row)
		decision.Disables = false // nobody said of this row that it is to be inactive
	}
	return decision
}

// planOwned decides about a row that is the resource's own.
func planOwned(d Desired, o Observed) Decision {
	own := o.Ownership
	if o.Row == nil {
		return planRestoreRow(d, o)
	}

	decision := Decision{Change: begin(d, o, Update)}
	c := &decision.Change
	decision.Confirm = c.Unlock != "" // annotations have no generation that would tell an old one
	differs := func(f Field) {
		c.Write = append(c.Write, f)
		if own.Generation == d.Generation && !own.Suspended {
			// The resource is the one that was applied, so it was the row that changed.
			decision.Drift = append(decision.Drift, f)
		}
	}
	if o.Row.RolesMalformed || !sameRoles(o.Row.Roles, d.Roles) {
		differs(FieldRoles)
	}
	if o.Row.Active != d.Active {
		differs(FieldActive)
	}
	if len(c.Write) > len(decision.Drift) { // to put back what others changed takes nothing that was meant to be there
		c.Endangered = endangered(d, o, remaining(d))
	}
	planPassword(&decision, d, o)
	planHash(&decision, *o.Row)
	decision.Disables = decision.Disables && own.Generation == d.Generation // else it is part of an edit

	nothing := len(c.Write) == 0 && c.Password == nil && c.Unlock == "" && !decision.TakePassword && isRecorded(d, o)
	if nothing {
		c.Verb = Nothing
	}
	// A generation that was applied and is not there any more: either the copy is out of date, or the API server was
	// restored from a backup.
	decision.Confirm = decision.Confirm || own.Generation > d.Generation
	return decision
}

// isRecorded tells whether the note of an owned row says all that it should of a resource that is permitted.
func isRecorded(d Desired, o Observed) bool {
	own := o.Ownership
	return own.Generation == d.Generation && own.Deletion == d.Deletion && !own.Suspended && own.Lockout == lockout(d, o)
}

// planPassword decides about the password of an owned row.
func planPassword(decision *Decision, d Desired, o Observed) {
	own := o.Ownership
	c := &decision.Change
	if !d.Password.Managed {
		if own.PasswordVersion != "" || own.PasswordHash != "" {
			// From now on the password is somebody else's: what was noted of ours goes, the row keeps it.
			c.Password = &PasswordChange{}
		}
		return
	}
	takePassword(decision, d, o)
	if d.Password.Generated && d.Password.Problem == nil && !decision.TakePassword && passwordExpired(d, o) {
		decision.TakePassword, decision.Renew = true, true
	}
	drifted := own.PasswordHash != "" && o.Row.hashFor(d.Active) != own.PasswordHash
	if drifted {
		decision.Drift = append(decision.Drift, FieldPasswordHash)
	}
	if drifted && !decision.TakePassword {
		c.Password = noted(own)
		c.Write = append(c.Write, FieldPasswordHash)
	}
}

// planHash disables the hash of a row that is, or becomes, inactive, and enables it again where the row becomes active, whosever
// the password is.
func planHash(decision *Decision, row Row) {
	c := &decision.Change
	if slices.Contains(c.Write, FieldPasswordHash) {
		return
	}
	kept := *c
	kept.Password = nil // is asked for, or only noted
	if kept.HashAfter(row) == row.PasswordHash {
		return
	}
	c.Write = append(c.Write, FieldPasswordHash)
	decision.Disables = row.NeedsDisabledHash() && !slices.Contains(decision.Drift, FieldPasswordHash)
}

// planRestoreRow puts a row back that another program deleted.
func planRestoreRow(d Desired, o Observed) Decision {
	decision := planCreate(d, o)
	decision.Drift = []Field{FieldRow}
	if d.Password.Managed && o.Ownership.PasswordHash != "" {
		decision.Change.Password = noted(o.Ownership)
	}
	// For the same reasons as with a row that is there.
	decision.Confirm = decision.Change.ClearLockout || o.Ownership.Generation > d.Generation
	return decision
}

// noted is the password that was applied last, as it was.
func noted(own *Ownership) *PasswordChange {
	return &PasswordChange{
		Hash: own.PasswordHash, Version: own.PasswordVersion, Weak: own.PasswordWeak,
		Suspicion: own.PasswordSuspicion, Unchecked: own.PasswordUnchecked,
	}
}

// takePassword asks for the Secret's password where it is another version than the one that was applied, or where that one has
// not been judged yet.
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

// planDeletion decides what becomes of the row when the resource is being deleted.
func planDeletion(d Desired, o Observed) Decision {
	if !o.OwnedBy(d.Owner) {
		return planBurial(d, o)
	}
	if d.Paused && d.Deletion != v1alpha1.DeletionRetain {
		if d.Permission.Refusal != nil && o.Row != nil && o.Row.Active {
			return planSuspension(d, o)
		}
		return refuse(v1alpha1.ReasonPaused, "The deletion is paused while the annotation "+
			v1alpha1.AnnotationPaused+" is \"true\"; remove the annotation to resume.")
	}
	c := begin(d, o, ending(d, d.Deletion))
	if c.Verb != Release {
		c.Endangered = endangered(d, o, nil)
	}
	return Decision{Change: c, Confirm: o.Ownership.Generation > d.Generation}
}

// planBurial decides about a name that the resource, which is being deleted, does not own. A process that still has the
// resource for a live one may be about to create the row: it must come too late.
func planBurial(d Desired, o Observed) Decision {
	own := o.Ownership
	if own != nil && (own.State == Owned || own.Owner == d.Owner) {
		return Decision{Change: begin(d, o, Nothing)}
	}
	return Decision{Change: begin(d, o, Bury)}
}

// begin is a change with all that follows from the resource alone.
func begin(d Desired, o Observed, verb Verb) Change {
	c := Change{
		Verb:       verb,
		Username:   d.Username,
		Owner:      d.Owner,
		Generation: d.Generation,
		Deletion:   d.Deletion,
		Roles:      slices.Clone(d.Roles),
		Active:     d.Active,
		Lockout:    lockout(d, o),
	}
	handled := ""
	if own := o.Ownership; own != nil {
		c.Revision = own.Revision
		if own.State != Deleted && own.Owner.samePlace(d.Owner) {
			handled = own.UnlockHandled
		}
	}
	unlocks := verb == Create || verb == Adopt || verb == Update // a row that is let go of stays as it is
	switch {
	case !unlocks || d.Unlock == "":
	case d.Unlock != handled:
		c.Unlock, c.ClearLockout = d.Unlock, true
	case verb != Update:
		c.Unlock = d.Unlock // was handled already, and goes into the new note as such
	}
	return c
}

func refuse(reason, message string) Decision {
	return Decision{Change: Change{Verb: Nothing}, Problem: &Problem{Reason: reason, Message: message}}
}

func refuseTaken(d Desired, owner Owner) Decision {
	where := ""
	if owner.Cluster != d.Owner.Cluster {
		where = fmt.Sprintf(" of the cluster whose kube-system namespace has the UID %s", owner.Cluster)
	}
	return refuse(v1alpha1.ReasonUsernameTaken, fmt.Sprintf(
		"Username %q belongs to ShardingUser %s%s; choose another username, or delete that resource. To keep the account when you rename "+
			"or move a resource, set spec.deletionPolicy of the old one to Retain before you delete it, and spec.adoptionPolicy of this one to IfUnowned.",
		d.Username, owner, where))
}
