// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/policies"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/controller/secrets"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	// attempts is how often a plan is made again within one reconcile if another writer was first.
	attempts = 3

	// retainTimeout limits how long a deletion with the policy Retain waits for the database.
	retainTimeout = 2 * time.Second
)

// synchronise observes, decides and applies, and starts over if another writer was first. A change that the database did not
// keep is made twice before that is believed: another program may have written between the commit and the reading.
func (r *Reconciler) synchronise(ctx context.Context, u *v1alpha1.ShardingUser, confirm confirmation) (outcome, error) {
	if !u.DeletionTimestamp.IsZero() && u.Spec.DeletionPolicy == v1alpha1.DeletionRetain {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, retainTimeout)
		defer cancel()
	}
	cluster, err := r.options.Cluster(ctx)
	if err != nil {
		return outcome{}, err
	}
	desired := user.FromResource(cluster, u)
	desired.Protected = r.options.ProtectedRoles

	var found outcome
	var lost *notKeptError
	isLastTry := false // after conflicts alone, which a trigger may raise because of a disabled hash
	err = store.ErrConflict
	for try := 0; try < attempts && errors.Is(err, store.ErrConflict); try++ {
		previousLoss := lost
		isLastTry = previousLoss == nil && try == attempts-1
		found, err = r.attempt(ctx, u, desired, confirm, previousLoss != nil || isLastTry)
		if errors.As(err, &lost) && (previousLoss != nil && previousLoss.isHashLeft == lost.isHashLeft || ends(lost.made.Change)) {
			break // the next plan would find nothing left to do of a deletion
		}
	}
	if isLastTry && lost != nil && lost.isHashLeft {
		return found, store.ErrConflict // so far only conflicts are known to prevent the hash
	}
	if errors.As(err, &lost) {
		explanation := r.explain(ctx, lost.fields)
		found.Problem = user.NotKept(lost.made, *found.Observed, lost.fields, explanation)
		asked := found.asked
		if lost.isHashLeft {
			asked += hashLeft
		}
		found.retry = r.retries.Reject(u.UID, asked, lost.made.Change.Verb, found.Problem)
		if explanation == "" {
			r.retries.MarkContended(u.UID)
		}
		found.again, err = false, nil
	}
	return found, err
}

// ends reports whether a change ends the account.
func ends(c user.Change) bool { return c.Verb == user.Delete || c.Verb == user.Deactivate }

// notKeptError reports that the database accepted a change and did not keep it. It is a conflict, after which the attempt is
// made again.
type notKeptError struct {
	made       user.Decision
	fields     []user.Field
	isHashLeft bool // see user.IsHashNotDisabled
}

func (e *notKeptError) Error() string { return "the database did not keep the change" }

// Is makes the error an ErrConflict.
func (e *notKeptError) Is(target error) bool { return target == store.ErrConflict }

// explain returns a sentence that names what in the database may keep fields from being written.
func (r *Reconciler) explain(ctx context.Context, fields []user.Field) string {
	if r.options.Explain == nil {
		return ""
	}
	return r.options.Explain(ctx, fields)
}

// attempt observes, decides and applies once. WasLost reports that the database did not keep the change before, or that all
// attempts but the last had a conflict: a row that is still active then becomes inactive without a disabled hash.
func (r *Reconciler) attempt(
	ctx context.Context, u *v1alpha1.ShardingUser, desired user.Desired, confirm confirmation, wasLost bool,
) (found outcome, err error) {
	found.Desired = desired
	d := &found.Desired
	if d.Permission, err = r.policies.Permission(ctx, u, time.Time{}); err != nil {
		return found, err
	}
	observed, err := r.store.Observe(ctx, d.Username)
	if errors.Is(err, store.ErrRejected) {
		found.Problem = user.Rejected(err.Error(), d.Deleting)
		found.retry = r.retries.Reject(u.UID, user.Asked(*d, time.Time{}), user.Nothing, found.Problem)
		return found, nil
	}
	if err != nil {
		return found, err
	}
	found.Observed = &observed
	if err := r.policies.Judge(ctx, u, d, observed); err != nil {
		return found, err
	}

	decision, secret, err := r.decide(ctx, u, d, observed)
	if err != nil {
		return found, err
	}
	found.Problem, found.again, found.asked = decision.Problem, decision.Again, user.Asked(*d, observed.Now)
	if decision.Change.Verb == user.Nothing {
		if d.Deleting && observed.Row != nil {
			if problem, wait := r.retries.KeepsRow(u.UID, found.asked, observed.Row.Active); problem != nil {
				found.Problem, found.retry = problem, wait
			}
		}
		return found, nil
	}
	if problem, wait := r.mayWrite(ctx, u, found.asked, decision); problem != nil {
		found.Problem, found.retry, found.again = problem, wait, false
		return found, nil
	}
	if err := r.confirm(ctx, u, *d, &decision, observed, confirm); err != nil {
		return found, err
	}
	if decision.TakePassword {
		taken, err := r.hasher.Hash(ctx, d.Owner, secret, observed)
		if err != nil {
			return found, fmt.Errorf("take the password from the Secret: %w", err)
		}
		decision.Change = decision.WithPassword(taken, observed)
		if user.OnlyRecords(*d, decision.Change, observed) && r.isFirst(u, taken.Version) {
			found.isUnchanged = true
			return found, nil
		}
	}
	decision.Change.KeepHash = wasLost && (observed.Row == nil || observed.Row.Active)
	return r.apply(ctx, u, found, decision)
}

// isFirst reports whether a version of the Secret was not looked at before for a user. The answer stays until the version is recorded:
// a record that fails is retried with backoff, and not after others again.
func (r *Reconciler) isFirst(u *v1alpha1.ShardingUser, version string) bool {
	if seen, ok := r.unchanged.Get(u.UID); ok && seen == version {
		return false
	}
	r.unchanged.Put(u.UID, version)
	return true
}

// confirm checks by uncached reads what a decision must not take from the cache.
func (r *Reconciler) confirm(
	ctx context.Context, u *v1alpha1.ShardingUser, d user.Desired, decision *user.Decision, observed user.Observed, confirm confirmation,
) error {
	if decision.Confirm {
		if err := confirm(ctx, u); err != nil {
			return err
		}
		decision.Change.Confirmed = true
	}
	if policies.Lifts(decision.Change, observed) {
		return r.policies.Confirm(ctx, r.uncached, u, d.Permission, observed.Now)
	}
	return nil
}

// mayWrite returns the problem of a write that has to wait, and how long it waits; nil if it may be made. It waits if the
// database rejected it before, or if another program keeps undoing it.
func (r *Reconciler) mayWrite(ctx context.Context, u *v1alpha1.ShardingUser, asked string, decision user.Decision) (*user.Problem, time.Duration) {
	if decision.Change.OnlyDisablesHash() {
		asked += hashLeft
	}
	if problem, wait := r.retries.Hold(u.UID, asked); problem != nil || len(decision.Corrects()) == 0 {
		return problem, wait
	}
	return r.retries.Contend(u.UID, asked, func() *user.Problem {
		return user.Contended(decision, r.explain(ctx, decision.Corrects()))
	})
}

// hashLeft is added to what a resource asks for if only the disabled hash is missing in the row. So a rejected hash delays no
// other write.
const hashLeft = " hash"

// apply makes the change, and believes only what was read back.
func (r *Reconciler) apply(ctx context.Context, u *v1alpha1.ShardingUser, found outcome, decision user.Decision) (outcome, error) {
	d := found.Desired
	after, refusal, err := rows.ApplyInactive(ctx, r.store, decision.Change)
	switch {
	case errors.Is(err, store.ErrLastHolder):
		found.Problem, found.again, found.isLastHolder = user.LastAdministrator(decision), false, true
		return r.applyToLastHolder(ctx, u, found, decision)
	case errors.Is(err, store.ErrRejected):
		found.Problem, found.again = user.Rejected(err.Error(), d.Deleting), false
		found.retry = r.retries.Reject(u.UID, found.asked, decision.Change.Verb, found.Problem)
		return found, nil
	case err != nil:
		return found, err
	}
	found.Observed = &after
	r.unchanged.Drop(u.UID)
	fields := user.Unkept(d, decision, after)
	isHashLeft := user.IsHashNotDisabled(fields, after)
	if len(fields) > 0 && !isHashLeft {
		return found, &notKeptError{made: decision, fields: fields}
	}
	if !isHashLeft || len(decision.Drift) > 0 {
		r.retries.Accept(u.UID, len(decision.Corrects()) > 0)
	}
	r.reportChange(ctx, u, decision.Change, decision.Drift)
	sentence := ""
	if refusal != nil {
		sentence = refusal.Error()
	}
	switch {
	case isHashLeft && refusal == nil:
		return found, &notKeptError{made: decision, fields: fields, isHashLeft: true}
	case isHashLeft:
		found.Problem = user.HashNotDisabled(decision, sentence)
		found.retry = r.retries.Reject(u.UID, found.asked+hashLeft, decision.Change.Verb, found.Problem)
	case ends(decision.Change) && after.Row.NeedsDisabledHash():
		r.events.Report(ctx, u, []user.Event{user.HashNotDisabledEvent(decision, sentence)})
	}
	return found, nil
}

// applyToLastHolder makes the part of a change that takes no role from its last holder. The problem stays: it is about the
// rest.
func (r *Reconciler) applyToLastHolder(ctx context.Context, u *v1alpha1.ShardingUser, found outcome, decision user.Decision) (outcome, error) {
	d := found.Desired
	rest, ok := decision.WithoutRoleLoss(*found.Observed)
	if !ok {
		return found, nil
	}
	after, err := r.store.Apply(ctx, rest.Change)
	switch {
	case errors.Is(err, store.ErrRejected):
		found.Problem = user.Rejected(err.Error(), d.Deleting)
		found.retry = r.retries.Reject(u.UID, found.asked, rest.Change.Verb, found.Problem)
		return found, nil
	case err != nil:
		return found, err
	}
	found.Observed = &after
	isOfOthers := func(f user.Field) bool { return !slices.Contains(rest.Change.Write, f) }
	if fields := slices.DeleteFunc(user.Unkept(d, rest, after), isOfOthers); len(fields) > 0 {
		return found, &notKeptError{made: rest, fields: fields}
	}
	r.retries.Accept(u.UID, len(rest.Drift) > 0)
	r.reportChange(ctx, u, rest.Change, rest.Drift)
	return found, nil
}

// decide plans with what the cache knows of the Secret. It reads the Secret only if the plan is to take its value.
func (r *Reconciler) decide(ctx context.Context, u *v1alpha1.ShardingUser, d *user.Desired, o user.Observed) (user.Decision, secrets.Value, error) {
	var err error
	if d.Password, err = r.secrets.Peek(ctx, u, *d); err != nil {
		return user.Decision{}, secrets.Value{}, err
	}
	decision := user.Plan(*d, o)
	if !decision.TakePassword {
		return decision, secrets.Value{}, nil
	}
	if decision.Renew && r.store.RefusesWrites() {
		// Programs would take a password from the Secret that the row does not get. Another write goes first, and probes.
		decision.TakePassword, decision.Renew, decision.Again = false, false, true
		return decision, secrets.Value{}, nil
	}
	secret, err := r.secrets.Read(ctx, u, *d, secrets.Applied{Version: o.PasswordVersion(d.Owner), Expired: decision.Renew})
	if err != nil {
		return user.Decision{}, secrets.Value{}, err
	}
	d.Password = secret.Password
	return user.Plan(*d, o), secret, nil
}

// reportChange reports and counts what a change did.
func (r *Reconciler) reportChange(ctx context.Context, u *v1alpha1.ShardingUser, change user.Change, drift []user.Field) {
	for _, field := range drift {
		r.metrics.drift.WithLabelValues(string(field)).Inc()
	}
	r.events.Report(ctx, u, user.ChangeEvents(change, drift))
}
