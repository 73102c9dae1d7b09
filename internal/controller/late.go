// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

// isLate tells whether another writer of the object or of the row was first. Each write rests on what was read before it, so
// that is nothing out of the ordinary: while a namespace is being deleted it happens for most of its users.
func isLate(err error) bool {
	return apierrors.IsConflict(err) || errors.Is(err, store.ErrConflict)
}

// startOver leaves a reconcile that came too late to the queue's backoff, without an error in the log.
func startOver(ctx context.Context, result ctrl.Result, err error) (ctrl.Result, error) {
	if !isLate(err) {
		return result, err
	}
	logf.FromContext(ctx).V(1).Info("Another writer was first; the reconcile starts over", "reason", err.Error())
	return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // the only way to the backoff without an error in the log
}
