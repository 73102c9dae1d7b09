// SPDX-License-Identifier: Apache-2.0

package rows

import (
	"context"
	"errors"

	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// ApplyInactive makes a change. If the database rejects or skips the disabling of a row's hash, it makes the change without
// that: above all the row has to be inactive. Refusal is the cause, as far as the database named it.
func ApplyInactive(ctx context.Context, accounts Store, change user.Change) (after user.Observed, refusal, err error) {
	after, err = accounts.Apply(ctx, change)
	if !change.DisablesHash() || !isHashInTheWay(change, after, err) {
		return after, nil, err
	}
	refusal = err
	change.KeepHash = true
	after, err = accounts.Apply(ctx, change)
	return after, refusal, err
}

// isHashInTheWay reports whether a change was rejected, or skipped as a whole.
func isHashInTheWay(change user.Change, after user.Observed, err error) bool {
	if err != nil {
		return errors.Is(err, store.ErrRejected)
	}
	row, own := after.Row, after.Ownership
	isRecorded := own == nil && change.Revision != 0 || own != nil && own.Revision != change.Revision
	return !isRecorded && row != nil && row.Active && user.DisabledHash(row.PasswordHash) != row.PasswordHash
}
