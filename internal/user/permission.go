// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Permission is what the policies say of a resource. The zero Permission is that of a cluster without policies:
// everything is permitted, on the settings' own terms.
type Permission struct {
	// By is the policy that permits the resource and sets its terms; "" where none does, or there is none.
	By string

	// Refusal is why no policy permits the resource; nil where one does, or there is none.
	Refusal *Problem

	Terms
}

// Terms are what a policy asks of an account that it permits. The zero Terms are those of the settings.
type Terms struct {
	Lockout           Lockout
	MinPasswordLength int           // in characters; 0 where it is the settings'
	MaxPasswordAge    time.Duration // 0 where there is none
}

// Lockout says when an account is locked, in place of the log-in side's own settings; what is zero is as they have it.
type Lockout struct {
	Attempts int           // failed attempts that lock
	Duration time.Duration // of a lock
	Longest  time.Duration // to which locks grow, twice as long with each further one within a day; 0 where they do not
	Exempt   bool          // no attempt locks
}

// planSuspension decides about a resource that no policy permits. A row of its own is deactivated, and stays so until a
// policy permits the resource: nothing else of it is changed, and nothing that the resource asks for is done. What a former
// resource of its place left behind goes as that one wanted, but for an active row.
//
// That a resource is paused does not hold it up: it is not what the resource asks for.
func planSuspension(d Desired, o Observed) Decision {
	decision := Decision{Change: begin(d, o, Nothing), Problem: d.Permission.Refusal}
	own := o.Ownership
	if own != nil && own.State == Owned && d.Owner.Succeeds(own.Owner) {
		return planFormerOwner(d, o)
	}
	if !o.OwnedBy(d.Owner) {
		return decision
	}
	active := o.Row != nil && o.Row.Active
	if own.Suspended && !active && !o.Row.NeedsDisabledHash() && own.Deletion == d.Deletion {
		return decision
	}
	c := begin(d, o, Update)
	c.Suspended, c.Active, c.Lockout = true, false, own.Lockout
	c.Unlock, c.ClearLockout = "", false
	if active {
		c.Write = []Field{FieldActive}
		if own.Suspended {
			decision.Drift = []Field{FieldActive}
		} else {
			c.Endangered = endangered(d, o, nil)
		}
	}
	decision.Change = c
	if o.Row != nil {
		planHash(&decision, *o.Row)
	}
	// A generation that was applied and is not there any more: see planOwned.
	decision.Confirm = own.Generation > d.Generation
	return decision
}

// planPaused decides about a resource that is paused. What a policy says of its lockout is noted all the same: it is not
// the resource's to say.
func planPaused(d Desired, o Observed) Decision {
	decision := refuse(v1alpha1.ReasonPaused, "The operator changes nothing in the database while the annotation "+
		v1alpha1.AnnotationPaused+" is \"true\"; remove the annotation to resume.")
	own, terms := o.Ownership, lockout(d, o)
	if !o.OwnedBy(d.Owner) || own.Lockout == terms {
		return decision
	}
	decision.Change = Change{
		Verb: Update, Username: d.Username, Owner: d.Owner, Revision: own.Revision, Lockout: terms,
		Generation: own.Generation, Deletion: own.Deletion, Suspended: own.Suspended, // as they are: nothing is applied
	}
	return decision
}

// lockout is the terms to be noted: the policy's, but that nobody is exempt whose password may be a short one. A policy that
// exempts asks for a long one, and where it does not get that, the one in force stays in force.
func lockout(d Desired, o Observed) Lockout {
	terms := d.Permission.Lockout
	terms.Exempt = terms.Exempt && hasCheckedPassword(d, o)
	return terms
}

// hasCheckedPassword tells whether the password that is in force after the change is one of which the policy's length was
// asked, by the version that goes by that length, or by an exemption before.
func hasCheckedPassword(d Desired, o Observed) bool {
	switch applied := o.PasswordVersion(d.Owner); {
	case !d.Password.Managed:
		return false
	case applied != "" && o.Ownership.Lockout.Exempt:
		return true
	case d.Paused: // it takes no other one
		return applied != "" && applied == d.Password.Version
	}
	return d.Password.Problem == nil
}

// endangered is the protected roles that the row's user holds, and would not hold any more with these roles, or with none
// where it is not active any more. Somebody else has to hold each of them, or the change is not made.
func endangered(d Desired, o Observed, stays []string) []string {
	if d.Unprotected || o.Row == nil || !o.Row.Active {
		return nil
	}
	var roles []string
	for _, role := range d.Protected {
		if slices.Contains(o.Row.Roles, role) && !slices.Contains(stays, role) {
			roles = append(roles, role)
		}
	}
	return roles
}

// remaining is the roles that a user holds who is as the resource says.
func remaining(d Desired) []string {
	if !d.Active || d.Permission.Refusal != nil {
		return nil
	}
	return d.Roles
}

// WithoutRoleLoss returns what is left of an Update when nobody else would hold the roles that it takes away: the password, the request to
// unlock and the policy's terms do not wait for another holder. The noted generation stays, so that the roles do not pass for drift
// at the next plan. It reports false where nothing is left.
func (d Decision) WithoutRoleLoss(o Observed) (Decision, bool) {
	c, own := d.Change, o.Ownership
	if c.Verb != Update || c.Suspended || o.Row == nil || own == nil {
		return Decision{}, false
	}
	if c.Password == nil && c.Unlock == "" && c.Lockout == own.Lockout {
		return Decision{}, false
	}
	c.Roles, c.Active, c.Write, c.Endangered = o.Row.Roles, o.Row.Active, nil, nil
	c.Generation, c.Deletion, c.Suspended = own.Generation, own.Deletion, own.Suspended
	rest := Decision{Change: c}
	if c.Password != nil && c.Password.Hash != "" {
		rest.Change = rest.WithPassword(*c.Password, o)
	}
	if slices.Contains(d.Drift, FieldPasswordHash) {
		rest.Drift = []Field{FieldPasswordHash}
	}
	return rest, true
}

// LastAdministrator is the problem of a decision whose change the store refused, since nobody else would hold one of the
// roles that it takes away.
func LastAdministrator(decision Decision) *Problem {
	change := decision.Change
	last := fmt.Sprintf("%q is the last active user with the role %s", change.Username, either(change.Endangered))
	override := fmt.Sprintf("give the role to another active user, or set the annotation %s to \"true\".",
		v1alpha1.AnnotationAllowLastAdministrator)
	if p := decision.Problem; p != nil && change.Suspended {
		return &Problem{Reason: p.Reason, Message: fmt.Sprintf("%s The account stays active, because %s; %s", p.Message, last, override)}
	}
	what := "keeps the role"
	switch change.Verb {
	case Delete:
		what = "is not deleted"
	case Deactivate:
		what = "is not deactivated"
	case Update, Adopt:
		if !change.Active {
			what = "is not deactivated"
		}
	case Nothing, Create, Release, Suspend, Bury:
	}
	return &Problem{Reason: v1alpha1.ReasonLastAdministrator, Message: fmt.Sprintf("%s, so it %s; %s", last, what, override)}
}

// either is the one or the other, quoted.
func either(texts []string) string {
	list := make([]string, 0, len(texts))
	for _, text := range texts {
		list = append(list, fmt.Sprintf("%q", text))
	}
	return strings.Join(list, " or ")
}
