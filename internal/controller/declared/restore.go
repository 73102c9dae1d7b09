// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Restorer is a store that forgets everything when its process ends.
type Restorer interface {
	// Restore puts accounts for usernames of which nothing is there yet.
	Restore(accounts map[string]user.Observed)
}

// Rebuild gives such a store back what the cluster can tell of it, once, when the process begins to lead: who has which
// username, with locks, counters and last log-ins. Until then nothing may be reconciled, since who comes first would get a
// contested username, and no log-in may be decided. On a replica that does not lead the store stays empty: its log-ins are
// not to be served.
type Rebuild struct {
	declarations *Declarations
	store        Restorer
	done         chan struct{}
}

// NewRebuild builds it. It has to be added to the manager, and Wait is what Options.Restored is to be.
func NewRebuild(declarations *Declarations, store Restorer) *Rebuild {
	return &Rebuild{declarations: declarations, store: store, done: make(chan struct{})}
}

// Start implements manager.Runnable, of the leader's kind. It tries until all is known: the password of an account that was
// restored without it would look like another one later, and lift the lock.
//
// Resources that nobody ever saw to are left to their first reconcile.
func (b *Rebuild) Start(ctx context.Context) error {
	told := false
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		accounts, err := b.declarations.accounts(ctx)
		if err != nil {
			if !told && ctx.Err() == nil {
				logf.FromContext(ctx).Info("Waiting to restore the accounts from the cluster", "error", err.Error())
				told = true
			}
			return false, nil
		}
		maps.DeleteFunc(accounts, func(_ string, account user.Observed) bool { return account.Ownership == nil })
		b.store.Restore(accounts)
		logf.FromContext(ctx).Info("Restored the accounts from the cluster", "accounts", len(accounts))
		close(b.done)
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// Wait waits until the store is restored. The only error is the context's.
func (b *Rebuild) Wait(ctx context.Context) error {
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
