// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// IsConflict reports whether another writer changed the object or the row first. Every write is guarded by the version
// that was read, so conflicts are normal: most users of a namespace that is being deleted have one.
func IsConflict(err error) bool {
	return apierrors.IsConflict(err) || errors.Is(err, store.ErrConflict)
}

// mostConflicts is how many consecutive conflicts of one object are not an error. With the backoff they take seconds.
const mostConflicts = 8

// Conflicts counts the consecutive conflicts of each object. The zero value is ready to use.
type Conflicts struct {
	mu    sync.Mutex
	count map[reconcile.Request]int
}

// Requeue replaces a conflict by a requeue with backoff, which logs no error. After mostConflicts it returns the error:
// a webhook or a trigger may cause each conflict, and then no retry succeeds.
func (c *Conflicts) Requeue(ctx context.Context, req reconcile.Request, result ctrl.Result, err error) (ctrl.Result, error) {
	if c.add(req, IsConflict(err)) > mostConflicts || !IsConflict(err) {
		return result, err
	}
	logf.FromContext(ctx).V(1).Info("Another writer changed the row first; the reconcile is repeated", "reason", err.Error())
	return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // the only way to the backoff without an error in the log
}

// add returns the number of consecutive conflicts, this one included.
func (c *Conflicts) add(req reconcile.Request, isConflict bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isConflict {
		delete(c.count, req)
		return 0
	}
	if c.count == nil {
		c.count = map[reconcile.Request]int{}
	}
	c.count[req]++
	return c.count[req]
}
