// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// synchronise observes, decides and applies. When another writer was there first, it starts over. A change that the database
// did not keep is made twice before that is believed: another program may have written between the commit and the reading.
func (r *Reconciler) synchronise(ctx context.Context, u *v1alpha1.ShardingUser, confirm confirmation) (outcome, error) {
	if !u.DeletionTimestamp.IsZero() && u.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retainTimeout)
		defer cancel()
	}
	var found outcome
	var lost *notKeptError
	isLate := false // each try but the last one came too late, which a trigger may raise because of a disabled hash
	err := store.ErrConflict
	for try := 0; try < attempts && errors.Is(err, store.ErrConflict); try++ {
		before := lost
		isLate = before == nil && try == attempts-1
		found, err = r.attempt(ctx, u, confirm, before != nil || isLate)
		if errors.As(err, &lost) && (before != nil && before.isHashLeft == lost.isHashLeft || ends(lost.made.Change)) {
			break // the next plan would find nothing left to do of a deletion
		}
	}
	if isLate && lost != nil && lost.isHashLeft {
		return found, store.ErrConflict // nothing but a conflict is known yet to be in the way of the hash
	}
	if errors.As(err, &lost) {
		explanation := r.explain(ctx, lost.fields)
		found.problem = user.NotKept(lost.made, *found.observed, lost.fields, explanation)
		asked := user.Asked(found.desired)
		if lost.isHashLeft {
			asked += hashLeft
		}
		found.retry = r.retries.reject(u.UID, asked, lost.made.Change.Verb, found.problem)
		if explanation == "" {
			r.retries.markContended(u.UID)
		}
		found.again, err = false, nil
	}
	return found, err
}

// ends tells whether a change ends the account.
func ends(c user.Change) bool { return c.Verb == user.Delete || c.Verb == user.Deactivate }

// notKeptError says that the database took a change and did not keep it. It is a conflict, for which one starts over.
type notKeptError struct {
	made       user.Decision
	fields     []user.Field
	isHashLeft bool // see user.IsHashNotDisabled
}

func (e *notKeptError) Error() string { return "the database did not keep the change" }

// Is makes the error an ErrConflict.
func (e *notKeptError) Is(target error) bool { return target == store.ErrConflict }

// explain names what in the database may keep fields from being written.
func (r *Reconciler) explain(ctx context.Context, fields []user.Field) string {
	if r.options.Explain == nil {
		return ""
	}
	return r.options.Explain(ctx, fields)
}

// attempt observes, decides and applies once. WasLost tells that the database did not keep the change before, or that all tries but
// the last one came too late: a row that is still active then becomes inactive without a disabled hash.
func (r *Reconciler) attempt(ctx context.Context, u *v1alpha1.ShardingUser, confirm confirmation, wasLost bool) (outcome, error) {
	cluster, err := r.options.Cluster(ctx)
	if err != nil {
		return outcome{}, err
	}
	found := outcome{desired: user.FromResource(cluster, u)}
	d := &found.desired
	d.Protected = r.options.ProtectedRoles
	if d.Permission, err = r.policies.permission(ctx, u); err != nil {
		return found, err
	}
	observed, err := r.accounts.Observe(ctx, d.Username)
	if errors.Is(err, store.ErrRejected) {
		found.problem = user.Rejected(err.Error(), d.Deleting)
		found.retry = r.retries.reject(u.UID, user.Asked(*d), user.Nothing, found.problem)
		return found, nil
	}
	if err != nil {
		return found, err
	}
	found.observed = &observed
	if err := r.policies.judgeHeldRow(ctx, u, d, observed); err != nil {
		return found, err
	}

	decision, secret, err := r.decide(ctx, u, d, observed)
	if err != nil {
		return found, err
	}
	found.problem, found.again = decision.Problem, decision.Again
	if decision.Change.Verb == user.Nothing {
		if d.Deleting && observed.Row != nil {
			if problem, wait := r.retries.keepsRow(u.UID, user.Asked(*d), observed.Row.Active); problem != nil {
				found.problem, found.retry = problem, wait
			}
		}
		return found, nil
	}
	if problem, wait := r.mayWrite(ctx, u, *d, decision); problem != nil {
		found.problem, found.retry, found.again = problem, wait, false
		return found, nil
	}
	if decision.Confirm {
		if err := confirm(ctx, u); err != nil {
			return found, err
		}
		decision.Change.Confirmed = true
	}
	if lifts(decision.Change, observed) {
		if err := r.policies.confirm(ctx, r.live, u, d.Permission); err != nil {
			return found, err
		}
	}
	if decision.TakePassword {
		taken, err := r.hashing.take(ctx, d.Owner, secret, observed)
		if err != nil {
			return found, fmt.Errorf("take the password from the Secret: %w", err)
		}
		decision.Change = decision.WithPassword(taken, observed)
	}
	decision.Change.KeepHash = wasLost && (observed.Row == nil || observed.Row.Active)
	return r.apply(ctx, u, found, decision)
}

// mayWrite returns the problem of a write that has to wait, since the database refused it lately or another program undoes it
// again and again, and how long it waits; nil where it may be made.
func (r *Reconciler) mayWrite(ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired, decision user.Decision) (*user.Problem, time.Duration) {
	asked := user.Asked(d)
	if decision.Change.OnlyDisablesHash() {
		asked += hashLeft
	}
	if problem, wait := r.retries.hold(u.UID, asked); problem != nil || len(decision.Corrects()) == 0 {
		return problem, wait
	}
	return r.retries.contend(u.UID, asked, func() *user.Problem {
		return user.Contended(decision, r.explain(ctx, decision.Corrects()))
	})
}

// hashLeft is added to what a resource asks for where the row is as asked, but for a disabled hash. To wait with that holds up
// nothing else.
const hashLeft = " hash"

// apply makes the change, and believes of it what was read back.
func (r *Reconciler) apply(ctx context.Context, u *v1alpha1.ShardingUser, found outcome, decision user.Decision) (outcome, error) {
	d := found.desired
	after, refusal, err := applyInactive(ctx, r.accounts, decision.Change)
	switch {
	case errors.Is(err, store.ErrLastHolder):
		found.problem, found.again, found.spared = user.LastAdministrator(decision), false, true
		return r.applySpared(ctx, u, found, decision)
	case errors.Is(err, store.ErrRejected):
		found.problem, found.again = user.Rejected(err.Error(), d.Deleting), false
		found.retry = r.retries.reject(u.UID, user.Asked(d), decision.Change.Verb, found.problem)
		return found, nil
	case err != nil:
		return found, err
	}
	found.observed = &after
	fields := user.Unkept(d, decision, after)
	isHashLeft := user.IsHashNotDisabled(fields, after)
	if len(fields) > 0 && !isHashLeft {
		return found, &notKeptError{made: decision, fields: fields}
	}
	if !isHashLeft || len(decision.Drift) > 0 {
		r.retries.accept(u.UID, len(decision.Corrects()) > 0)
	}
	r.tell(ctx, u, decision.Change, decision.Drift)
	sentence := ""
	if refusal != nil {
		sentence = refusal.Error()
	}
	switch {
	case isHashLeft && refusal == nil:
		return found, &notKeptError{made: decision, fields: fields, isHashLeft: true}
	case isHashLeft:
		found.problem = user.HashNotDisabled(decision, sentence)
		found.retry = r.retries.reject(u.UID, user.Asked(d)+hashLeft, decision.Change.Verb, found.problem)
	case ends(decision.Change) && after.Row.NeedsDisabledHash():
		r.events.tell(ctx, u, []user.Event{user.HashNotDisabledEvent(decision, sentence)})
	}
	return found, nil
}

// applySpared makes the part of a change that takes no role from its last holder. The problem stays: it is about the rest.
func (r *Reconciler) applySpared(ctx context.Context, u *v1alpha1.ShardingUser, found outcome, decision user.Decision) (outcome, error) {
	d := found.desired
	rest, ok := decision.WithoutRoleLoss(*found.observed)
	if !ok {
		return found, nil
	}
	after, err := r.accounts.Apply(ctx, rest.Change)
	switch {
	case errors.Is(err, store.ErrRejected):
		found.problem = user.Rejected(err.Error(), d.Deleting)
		found.retry = r.retries.reject(u.UID, user.Asked(d), rest.Change.Verb, found.problem)
		return found, nil
	case err != nil:
		return found, err
	}
	found.observed = &after
	isOfOthers := func(f user.Field) bool { return !slices.Contains(rest.Change.Write, f) }
	if fields := slices.DeleteFunc(user.Unkept(d, rest, after), isOfOthers); len(fields) > 0 {
		return found, &notKeptError{made: rest, fields: fields}
	}
	r.retries.accept(u.UID, len(rest.Drift) > 0)
	r.tell(ctx, u, rest.Change, rest.Drift)
	return found, nil
}

// decide plans by what the cache knows of the Secret, and reads the Secret only where the plan is to take its value.
func (r *Reconciler) decide(ctx context.Context, u *v1alpha1.ShardingUser, d *user.Desired, o user.Observed) (user.Decision, secretValue, error) {
	var err error
	if d.Password, err = r.secrets.glance(ctx, u, d.Permission.Terms); err != nil {
		return user.Decision{}, secretValue{}, err
	}
	decision := user.Plan(*d, o)
	if !decision.TakePassword {
		return decision, secretValue{}, nil
	}
	if decision.Renew && r.accounts.refusesWrites() {
		// Programs would take a password from the Secret that the row does not get. Another write goes first, and asks.
		decision.TakePassword, decision.Renew, decision.Again = false, false, true
		return decision, secretValue{}, nil
	}
	applied := appliedVersion{version: o.PasswordVersion(d.Owner), expired: decision.Renew}
	secret, err := r.secrets.read(ctx, u, d.Permission.Terms, d.Password.Version, applied)
	if err != nil {
		return user.Decision{}, secretValue{}, err
	}
	d.Password = secret.Password
	return user.Plan(*d, o), secret, nil
}
