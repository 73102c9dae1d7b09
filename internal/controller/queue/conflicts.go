// SPDX-License-Identifier: Apache-2.0

package controller

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

// isLate tells whether another writer of the object or of the row was first. Each write rests on what was read before it, so
// that is nothing out of the ordinary: while a namespace is being deleted it happens for most of its users.
func isLate(err error) bool {
	return apierrors.IsConflict(err) || errors.Is(err, store.ErrConflict)
}

// mostLate is how many reconciles of one object in a row may come too late before that is an error. By the queue's backoff they
// take seconds.
const mostLate = 8

// lateness counts the reconciles that came too late, of each object those in a row. The zero value is ready to use.
type lateness struct {
	mu    sync.Mutex
	inRow map[reconcile.Request]int
}

// startOver leaves a reconcile that came too late to the queue's backoff, without an error in the log, unless the ones before it
// came too late as well: then something stands in the way that does not go away, such as a webhook or a trigger.
func (l *lateness) startOver(ctx context.Context, req reconcile.Request, result ctrl.Result, err error) (ctrl.Result, error) {
	if l.count(req, isLate(err)) > mostLate || !isLate(err) {
		return result, err
	}
	logf.FromContext(ctx).V(1).Info("Another writer changed the row first; the reconcile is repeated", "reason", err.Error())
	return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // the only way to the backoff without an error in the log
}

// count returns how many reconciles in a row came too late, this one included.
func (l *lateness) count(req reconcile.Request, late bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !late {
		delete(l.inRow, req)
		return 0
	}
	if l.inRow == nil {
		l.inRow = map[reconcile.Request]int{}
	}
	l.inRow[req]++
	return l.inRow[req]
}
