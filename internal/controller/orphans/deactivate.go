// SPDX-License-Identifier: Apache-2.0

package orphans

import (
	"context"
	"errors"
	"time"

	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/controller/rows"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// deactivateAll deactivates the orphans among so many accounts that have been known for long enough, if asked to, and returns the
// others. If there are too many, only confirmed ones are deactivated.
func (o *Search) deactivateAll(ctx context.Context, found []store.Owned, accounts int) (left []store.Owned) {
	if !o.options.Deactivate {
		return found
	}
	isHeld := o.guard.hold(found, accounts)
	o.announceHeld(ctx, accounts)
	log := logf.FromContext(ctx)
	for _, record := range found {
		since, isKnown := o.known[identity(record)]
		if isHeld && !o.guard.confirmed[identity(record)] {
			left = append(left, record)
			continue
		}
		if !isKnown || time.Since(since) < o.options.Grace {
			left = append(left, record)
			continue
		}
		if err := o.deactivate(ctx, record); err != nil {
			left = append(left, record)
			if o.refused[identity(record)] == err.Error() {
				continue
			}
			o.refused[identity(record)] = err.Error()
			log.Info("Cannot deactivate an orphaned account; it is retried", "shardinguser", record.Owner.String(),
				"username", record.Username, "error", err.Error())
			continue
		}
		delete(o.refused, identity(record))
		o.guard.deactivatedOne(record)
		log.Info("Deactivated an orphaned account", "shardinguser", record.Owner.String(), "username", record.Username)
	}
	return left
}

// deactivate does what the deletion policy Deactivate does with the row of a deleted resource.
func (o *Search) deactivate(ctx context.Context, record store.Owned) error {
	observed, err := o.options.Accounts.Observe(ctx, record.Username)
	if err != nil {
		return err
	}
	if !observed.OwnedBy(record.Owner) {
		return nil
	}
	decision := user.Plan(user.Desired{
		Owner: record.Owner, Username: record.Username, Generation: observed.Ownership.Generation,
		Deletion: v1alpha1.DeletionDeactivate, Deleting: true, Protected: o.options.ProtectedRoles,
	}, observed)
	decision.Change.Confirmed = true // by the live GET
	return deactivateGone(ctx, o.options.Accounts, decision.Change)
}

// deactivateGone makes a change that deactivates the row of a deleted resource. It logs if the hash could not be disabled: no
// resource can report that.
func deactivateGone(ctx context.Context, accounts rows.Store, change user.Change) error {
	after, refusal, err := rows.ApplyInactive(ctx, accounts, change)
	switch {
	case err != nil:
		return err
	case after.Row != nil && after.Row.Active:
		return errStaysActive
	case after.Row.NeedsDisabledHash():
		reason := "the database did not keep it"
		if refusal != nil {
			reason = refusal.Error()
		}
		logf.FromContext(ctx).Info("Deactivated an account without a ShardingUser, but cannot disable its password hash",
			"shardinguser", change.Owner.String(), "username", change.Username, "reason", reason)
	}
	return nil
}

// errStaysActive reports that the database accepted the deactivation and did not keep it.
var errStaysActive = errors.New("the database did not keep the deactivation")
