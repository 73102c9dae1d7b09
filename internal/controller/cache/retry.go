// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sharding-system/shardinguser-operator/internal/backoff"
)

// retryAfter is the time between two requests while the API server does not answer, without jitter.
const retryAfter = 2 * time.Second

// NewInformer is client-go's constructor, with requests that are retried every 2 to 3 s while the API server is unavailable.
// client-go itself waits for up to a minute between two requests after some failures, and no option changes that.
func NewInformer(
	requests toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	r := &retrier{requests: toolscache.ToListerWatcherWithContext(requests), kind: fmt.Sprintf("%T", object), every: retryAfter}
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return retried(ctx, r, options, r.requests.ListWithContext)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return retried(ctx, r, options, r.requests.WatchWithContext)
		},
	}, object, resync, indexers)
}

// retrier repeats the requests of one informer.
type retrier struct {
	requests toolscache.ListerWatcherWithContext
	kind     string
	every    time.Duration

	mu      sync.Mutex
	failing bool
}

// retried returns the first answer of the API server, be it an error. The error is that of the context if ctx ends first.
func retried[T any](
	ctx context.Context, r *retrier, options metav1.ListOptions, request func(context.Context, metav1.ListOptions) (T, error),
) (T, error) {
	for {
		answer, err := request(ctx, options)
		if !unavailable(err) || ctx.Err() != nil {
			r.note(nil)
			return answer, err
		}
		r.note(err)
		if !backoff.Pause(ctx, wait.Jitter(r.every, 0.5)) {
			return answer, err
		}
	}
}

// note logs when the API server becomes unavailable for these requests, and when it is available again.
func (r *retrier) note(err error) {
	r.mu.Lock()
	changed := r.failing != (err != nil)
	r.failing = err != nil
	r.mu.Unlock()
	log := logf.Log.WithName("cache").WithValues("kind", r.kind)
	switch {
	case changed && err != nil:
		log.Info("Cannot read from the API server; retrying", "error", err.Error())
	case changed:
		log.Info("Reads from the API server work again")
	}
}

// unavailable reports whether the error means that the API server did not answer, or cannot yet.
func unavailable(err error) bool {
	if err == nil {
		return false
	}
	var answer apierrors.APIStatus
	return !errors.As(err, &answer) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err)
}
