// SPDX-License-Identifier: Apache-2.0

package declared

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Store is a store that loses everything when its process ends.
type Store interface {
	// Restore adds accounts for usernames that the store does not know yet.
	Restore(accounts map[string]user.Observed)
}

// Restore restores such a store from the cluster accounts, once, when the process begins to lead: owners of usernames, locks,
// counters and last logins. Nothing may be reconciled before, since the first reconcile would get a contested username, and
// no login may be decided. The store of a standby stays empty and must not serve logins.
type Restore struct {
	accounts *ClusterAccounts
	store    Store
	done     chan struct{}
}

// NewRestore returns a Restore. Add it to the manager, and Wait before the first reconcile.
func NewRestore(accounts *ClusterAccounts, store Store) *Restore {
	return &Restore{accounts: accounts, store: store, done: make(chan struct{})}
}

// Start implements manager.Runnable, for the leader. It retries until everything is known: an account without its password
// would later seem to get another one, which lifts its lock.
//
// Resources that were never reconciled are left to their first reconcile.
func (r *Restore) Start(ctx context.Context) error {
	isLogged := false
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		accounts, err := r.accounts.accounts(ctx)
		if err != nil {
			if !isLogged && ctx.Err() == nil {
				logf.FromContext(ctx).Info("Waiting to restore the accounts from the cluster", "error", err.Error())
				isLogged = true
			}
			return false, nil
		}
		maps.DeleteFunc(accounts, func(_ string, account user.Observed) bool { return account.Ownership == nil })
		r.store.Restore(accounts)
		logf.FromContext(ctx).Info("Restored the accounts from the cluster", "accounts", len(accounts))
		close(r.done)
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Wait waits until the store is restored. The only error is the context's.
func (r *Restore) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
