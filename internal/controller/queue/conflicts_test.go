// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sharding-system/shardinguser-operator/internal/store"
)

func TestConsecutiveConflictsBecomeAnError(t *testing.T) {
	t.Parallel()
	lost := apierrors.NewConflict(schema.GroupResource{Resource: "shardingusers"}, "alice", errors.New("changed"))
	alice := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: "alice"}}
	bob := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: "bob"}}
	for name, conflict := range map[string]error{
		"the object":   fmt.Errorf("add the finalizer: %w", lost),
		"the database": fmt.Errorf("write the row: %w", store.ErrConflict),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c Conflicts
			requeues := func(req ctrl.Request, err error) bool {
				t.Helper()
				result, got := c.Requeue(t.Context(), req, ctrl.Result{}, err)
				if got != nil && !errors.Is(got, err) {
					t.Errorf("it became %v", got)
				}
				return got == nil && result.Requeue //nolint:staticcheck // as in Requeue
			}
			for range 2 {
				for i := range mostConflicts {
					if !requeues(alice, conflict) {
						t.Fatalf("the reconcile ended with an error at try %d", i+1)
					}
				}
				for range 2 {
					if requeues(alice, conflict) {
						t.Error("a permanent conflict is not logged")
					}
				}
				if !requeues(bob, conflict) {
					t.Error("conflicts of another object count for this one")
				}
				for _, req := range []ctrl.Request{alice, bob} { // a success, and another failure
					if requeues(req, nil) || requeues(req, errors.New("no right")) {
						t.Error("it is requeued without a conflict")
					}
				}
			}
			if len(c.count) != 0 {
				t.Errorf("%v is kept after a success", c.count)
			}
		})
	}
}

// Workers reconcile concurrently, so the race detector has to run this test.
func TestConflictsAreCountedByAllWorkers(t *testing.T) {
	t.Parallel()
	var c Conflicts
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			req := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: fmt.Sprint("user", i)}}
			for want := 1; want <= 100; want++ {
				if n := c.add(req, true); n != want {
					t.Errorf("%d conflicts of %s in a row, want %d", n, req.Name, want)
				}
			}
		})
	}
	workers.Wait()
}
