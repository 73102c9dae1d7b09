// SPDX-License-Identifier: Apache-2.0

package controller

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

func TestWhoComesTooLateAgainAndAgainIsAnError(t *testing.T) {
	t.Parallel()
	lost := apierrors.NewConflict(schema.GroupResource{Resource: "shardingusers"}, "alice", errors.New("changed"))
	alice := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: "alice"}}
	bob := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: "bob"}}
	for name, late := range map[string]error{
		"the object":   fmt.Errorf("add the finalizer: %w", lost),
		"the database": fmt.Errorf("write the row: %w", store.ErrConflict),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l lateness
			startsOver := func(req ctrl.Request, err error) bool {
				t.Helper()
				result, got := l.startOver(t.Context(), req, ctrl.Result{}, err)
				if got != nil && !errors.Is(got, err) {
					t.Errorf("it became %v", got)
				}
				return got == nil && result.Requeue //nolint:staticcheck // as in startOver
			}
			for range 2 {
				for i := range mostLate {
					if !startsOver(alice, late) {
						t.Fatalf("the reconcile ended with an error at try %d", i+1)
					}
				}
				for range 2 {
					if startsOver(alice, late) {
						t.Error("what stands in the way for ever is not logged")
					}
				}
				if !startsOver(bob, late) {
					t.Error("another object is held against this one")
				}
				for _, req := range []ctrl.Request{alice, bob} { // one that comes through, and one that fails otherwise
					if startsOver(req, nil) || startsOver(req, errors.New("no right")) {
						t.Error("it starts over though it did not come too late")
					}
				}
			}
			if len(l.inRow) != 0 {
				t.Errorf("%v is kept of what came through", l.inRow)
			}
		})
	}
}

// Workers reconcile concurrently, so the race detector has to run this test.
func TestLateReconcilesAreCountedByAllWorkers(t *testing.T) {
	t.Parallel()
	var l lateness
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			req := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "team-a", Name: fmt.Sprint("user", i)}}
			for want := 1; want <= 100; want++ {
				if n := l.count(req, true); n != want {
					t.Errorf("%d late reconciles of %s in a row, want %d", n, req.Name, want)
				}
			}
		})
	}
	workers.Wait()
}
