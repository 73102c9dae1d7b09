// SPDX-License-Identifier: Apache-2.0

package defaultusers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// The sharding manager inserts accounts for the same three users into an empty table, with well-known passwords. It may do so
// before the operator starts, or while the operator creates its users. In both cases the default users adopt these rows, with
// the passwords of their Secrets:
//
//   - Before: the users are created if the table holds exactly these rows.
//   - Meanwhile: the user of such a row is refused, since its row has no owner. The user then gets the adoption policy
//     IfUnowned. A row that the sharding manager overwrites after the operator wrote it is drift, and is corrected.
//
// A row is adopted only as the sharding manager inserted it, and only while the table holds no other account. Administrators
// clean up an installation that is in use.

// whyNotAdopted returns why the accounts of a used database are not adopted; "" if they are. It returns an error while the
// sharding manager may still insert them.
func (c *Creator) whyNotAdopted(ctx context.Context) (string, error) {
	beginning, err := c.options.Beginning(ctx, len(defaultUsers)+1)
	if err != nil {
		return "", err
	}
	if beginning.Used {
		return "an operator used the database before", nil
	}
	unowned, why := untouched(beginning.Accounts)
	if why == "" && len(unowned) < len(defaultUsers) {
		return "", fmt.Errorf("the table users contains only %s of the default accounts of the sharding manager; they are adopted when "+
			"it contains all of them, and created when it contains none", strings.Join(unowned, " and "))
	}
	return why, nil
}

// untouched returns the usernames of the rows that can be adopted, or else why none can. It ignores rows that the default users
// already own.
func untouched(accounts []store.Account) (unowned []string, why string) {
	for _, account := range accounts {
		switch {
		case !slices.Contains(defaultUsers, account.Username):
			return nil, "the table users contains accounts other than the default ones of the sharding manager"
		case account.Owner != nil:
		case !user.Untouched(account.Username, account.Row):
			return nil, fmt.Sprintf("the row of username %q differs from the one that the sharding manager inserts", account.Username)
		default:
			unowned = append(unowned, account.Username)
		}
	}
	return unowned, ""
}

// errTakingOver reports that the default users have to be checked again.
var errTakingOver = errors.New("not every one of them has been confirmed to have its row yet")

// takeOver lets the default users adopt what the sharding manager inserted while they were created. It returns nil once each
// of them owns its row, or cannot get it this way.
func (c *Creator) takeOver(ctx context.Context) error {
	if c.options.Beginning == nil {
		return nil
	}
	beginning, err := c.options.Beginning(ctx, len(defaultUsers)+1)
	if err != nil {
		return err
	}
	unowned, why := untouched(beginning.Accounts)
	if why != "" {
		c.options.Log.Info("Accounts of the sharding manager are not adopted: " + why)
		return nil
	}
	areAwaited := false
	for _, name := range defaultUsers {
		isOwned := slices.ContainsFunc(beginning.Accounts, func(a store.Account) bool { return a.Username == name && a.Owner != nil })
		if isOwned {
			continue
		}
		isAwaited, err := c.letTakeOver(ctx, name, slices.Contains(unowned, name))
		if err != nil {
			return err
		}
		areAwaited = areAwaited || isAwaited
	}
	if areAwaited {
		return errTakingOver
	}
	return nil
}

// letTakeOver lets a default user adopt the row of its username, if there is one. It reports whether the user may still get its
// row. The others do not wait for a user that was deleted, paused or created by an administrator, or that no policy permits.
func (c *Creator) letTakeOver(ctx context.Context, name string, hasRow bool) (isAwaited bool, err error) {
	ours := c.user(name)
	var u v1alpha1.ShardingUser
	if err := c.live.Get(ctx, client.ObjectKeyFromObject(ours), &u); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return false, nil
		}
		return false, fmt.Errorf("read the ShardingUser %s: %w", name, err)
	}
	if !u.DeletionTimestamp.IsZero() || u.Labels[labelComponent] != ours.Labels[labelComponent] {
		return false, nil
	}
	if hasRow && u.Spec.AdoptionPolicy != v1alpha1.AdoptionIfUnowned {
		c.options.Log.Info("The sharding manager inserted an account first; its default user adopts it, with a new password", "name", name)
		patch := fmt.Sprintf(`{"spec":{"adoptionPolicy":%q}}`, v1alpha1.AdoptionIfUnowned)
		err := c.writer.Patch(ctx, ours, client.RawPatch(types.MergePatchType, []byte(patch)))
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("let the ShardingUser %s adopt the row of the sharding manager: %w", name, err)
		}
		return true, nil
	}
	ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
	return ready == nil || ready.ObservedGeneration != u.Generation || slices.Contains(
		[]string{v1alpha1.ReasonRowExists, v1alpha1.ReasonDatabaseUnavailable, v1alpha1.ReasonSynced}, ready.Reason), nil
}
