// SPDX-License-Identifier: Apache-2.0

package user

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// Permission is what policies decide about a resource. The zero Permission is for a cluster without policies:
// everything is permitted, with the lockout and password settings of the manager.
type Permission struct {
	// By is the policy that permits the resource and sets its terms; "" if there is none.
	By string

	// Refusal is why no policy permits the resource; nil if one does, or if there are no policies.
	Refusal *Problem

	// Changes is when the decision changes by time alone; zero if it does not.
	Changes time.Time

	Terms
}

// Terms are what a policy requires of an account. Zero values mean the settings of the manager.
type Terms struct {
	Lockout           Lockout
	MinPasswordLength int           // in characters; 0 for the setting
	MaxPasswordAge    time.Duration // 0 for none
}

// Lockout is when an account is locked. Zero values mean the settings of the login side.
type Lockout struct {
	Attempts int           // the number of failed attempts that lock the account
	Duration time.Duration // of the first lock
	Longest  time.Duration // locks double within a day up to this; 0 for constant locks
	Exempt   bool          // the account is never locked
	Familiar bool          // addresses that the account logged in from lately have a budget of their own
}

// planSuspension plans for a resource that no policy permits. Its row is deactivated until a policy permits the
// resource; nothing else changes. The row of a former resource of the same namespace and name ends as that resource
// asked, except that no active row stays.
//
// A paused resource is suspended too, because the suspension is not a request of the resource.
func planSuspension(d Desired, o Observed) Decision {
	decision := Decision{Change: newChange(d, o, Nothing), Problem: d.Permission.Refusal}
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
	c := newChange(d, o, Update)
	c.Suspended, c.Active, c.Lockout = true, false, own.Lockout
	c.ValidUntil, c.Withheld = own.ValidUntil, own.Withheld
	c.Unlock, c.ClearLockout, c.SignOut = "", false, ""
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
	// See planOwned.
	decision.Confirm = own.Generation > d.Generation
	return decision
}

// planPaused plans for a paused resource. It still records the lockout terms of the policy, because the resource does
// not decide on them.
func planPaused(d Desired, o Observed) Decision {
	decision := refuse(v1alpha1.ReasonPaused, "The operator changes nothing in the database while the annotation "+
		v1alpha1.AnnotationPaused+" is \"true\"; remove the annotation to resume.")
	own, terms := o.Ownership, lockout(d, o)
	if !o.OwnedBy(d.Owner) || own.Lockout == terms {
		return decision
	}
	decision.Change = onlyRecord(d, own)
	decision.Change.Lockout = terms
	return decision
}

// onlyRecord returns an Update that writes the same ownership record again, for the caller to change a part of it.
func onlyRecord(d Desired, own *Ownership) Change {
	return Change{
		Verb: Update, Username: d.Username, Owner: d.Owner, Revision: own.Revision,
		Generation: own.Generation, Deletion: own.Deletion, Suspended: own.Suspended, Lockout: own.Lockout,
		ValidUntil: own.ValidUntil, Withheld: own.Withheld,
	}
}

// lockout returns the lockout terms to record: those of the policy, without the exemption if the password could be too
// short. A policy that exempts requires a long password. Until it is applied, the former password stays in force.
func lockout(d Desired, o Observed) Lockout {
	terms := d.Permission.Lockout
	terms.Exempt = terms.Exempt && hasCheckedPassword(d, o)
	return terms
}

// hasCheckedPassword reports whether the password in force after the change satisfies the policy's minimum length. Its
// version includes that length, or an earlier exemption required it.
func hasCheckedPassword(d Desired, o Observed) bool {
	switch applied := o.PasswordVersion(d.Owner); {
	case !d.Password.Managed:
		return false
	case applied != "" && o.Ownership.Lockout.Exempt:
		return true
	case d.Paused: // the password stays
		return applied != "" && applied == d.Password.Version
	}
	return d.Password.Problem == nil
}

// endangered returns the protected roles that the row's active user holds and would lose when it keeps only the roles
// in stays. Another user has to hold each of them.
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

// remaining returns the roles that the user holds when the row is as the resource asks.
func remaining(d Desired, o Observed) []string {
	if !d.ActiveAt(o.Now) || d.Permission.Refusal != nil {
		return nil
	}
	return d.Roles
}

// WithoutRoleLoss returns the rest of an Update that the store refused because no other user holds the protected roles.
// The password, the unlock request and the policy's terms do not wait for another holder. The recorded generation
// stays, so that the next plan does not report the roles as drift. It returns false if nothing is left.
//
// A recorded end that has passed is part of the rest: logins would be refused by it, although the row stays active.
func (d Decision) WithoutRoleLoss(o Observed) (Decision, bool) {
	c, own := d.Change, o.Ownership
	if o.Row == nil || !o.OwnedBy(c.Owner) {
		return Decision{}, false
	}
	kept := onlyRecord(Desired{Username: c.Username, Owner: c.Owner}, own)
	if own.endedAt(o.Now) {
		kept.ValidUntil = nil
	}
	isLifted := kept.ValidUntil != own.ValidUntil
	switch {
	case (c.Suspended || c.Verb != Update) && isLifted:
		return Decision{Change: kept}, true
	case c.Suspended, c.Verb != Update, c.Password == nil && c.Unlock == "" && c.SignOut == "" && c.Lockout == own.Lockout && !isLifted:
		return Decision{}, false
	}
	c.Roles, c.Active, c.Write, c.Endangered = o.Row.Roles, o.Row.Active, nil, nil
	c.Generation, c.Deletion, c.Suspended = own.Generation, own.Deletion, own.Suspended
	c.ValidUntil, c.Withheld = kept.ValidUntil, kept.Withheld
	rest := Decision{Change: c}
	if c.Password != nil && c.Password.Hash != "" {
		rest.Change = rest.WithPassword(*c.Password, o)
	}
	if slices.Contains(d.Drift, FieldPasswordHash) {
		rest.Drift = []Field{FieldPasswordHash}
	}
	return rest, true
}

// LastAdministrator is the problem of a change that the store refused because no other user holds one of the roles that
// it takes away.
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

// either joins quoted texts with "or".
func either(texts []string) string {
	list := make([]string, 0, len(texts))
	for _, text := range texts {
		list = append(list, fmt.Sprintf("%q", text))
	}
	return strings.Join(list, " or ")
}
