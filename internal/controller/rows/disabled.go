// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"

	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// applier is a store, or what stands before it.
type applier interface {
	Apply(ctx context.Context, change user.Change) (user.Observed, error)
}

// applyInactive makes a change. Where the database refuses or skips one that disables a row's hash, the change is made without that,
// since above all the row has to be inactive. Refusal is then why, as far as the database said so.
func applyInactive(ctx context.Context, accounts applier, change user.Change) (after user.Observed, refusal, err error) {
	after, err = accounts.Apply(ctx, change)
	if !change.DisablesHash() || !isHashInTheWay(change, after, err) {
		return after, nil, err
	}
	refusal = err
	change.KeepHash = true
	after, err = accounts.Apply(ctx, change)
	return after, refusal, err
}

// isHashInTheWay reports whether a change was refused, or skipped as a whole.
func isHashInTheWay(change user.Change, after user.Observed, err error) bool {
	if err != nil {
		return errors.Is(err, store.ErrRejected)
	}
	row, own := after.Row, after.Ownership
	isNoted := own == nil && change.Revision != 0 || own != nil && own.Revision != change.Revision
	return !isNoted && row != nil && row.Active && user.DisabledHash(row.PasswordHash) != row.PasswordHash
}

// deactivateGone makes a change that deactivates the row of a resource that is gone. That its hash is not disabled is logged: there is no
// resource to report it.
func deactivateGone(ctx context.Context, accounts applier, change user.Change) error {
	after, refusal, err := applyInactive(ctx, accounts, change)
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

// errStaysActive says that the database took the deactivation and did not keep it.
var errStaysActive = errors.New("the database did not keep the deactivation")
