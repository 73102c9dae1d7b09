// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reviewer answers a SelfSubjectAccessReview.
type reviewer struct {
	client.Client
	allows bool
	err    error
}

func (r *reviewer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	o.(*authorizationv1.SelfSubjectAccessReview).Status.Allowed = r.allows
	return r.err
}

func TestAMissingRightIsRememberedForAWhile(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "alice", nil)
	now, writes := time.Unix(0, 0), 0
	rbac := &reviewer{}
	g := NewGenerator(rbac, func() time.Time { return now })
	try := func(namespace string, answer error) error {
		return g.try(t.Context(), right{namespace, "create"}, func() error { writes++; return answer })
	}
	for range 100 {
		if err := try("team-a", forbidden); !errors.Is(err, errLacksRight) || !isRefused(err) {
			t.Fatalf("without the right: %v", err)
		}
	}
	if writes != 1 {
		t.Errorf("100 users without the right cost %d requests, want 1", writes)
	}
	if err := try("team-b", nil); err != nil || writes != 2 {
		t.Errorf("another namespace: %v after %d requests", err, writes)
	}
	now = now.Add(rightMemory)
	if err := try("team-a", nil); err != nil || writes != 3 {
		t.Errorf("after a while: %v after %d requests", err, writes)
	}
}

func TestAQuotaIsNotTakenForAMissingRight(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "alice", errors.New("exceeded quota"))
	for name, api := range map[string]*reviewer{
		"the right is there":        {allows: true},
		"nobody says what is right": {err: errors.New("no answer")},
	} {
		g := NewGenerator(api, time.Now)
		for range 2 {
			err := g.try(t.Context(), right{"team-a", "create"}, func() error { return forbidden })
			if errors.Is(err, errLacksRight) || !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Workers create Secrets concurrently, so the race detector has to run this test.
func TestMissingRightsAreRememberedByAllWorkers(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "alice", nil)
	g := NewGenerator(&reviewer{}, time.Now)
	var workers sync.WaitGroup
	for i := range 16 {
		workers.Go(func() {
			r := right{fmt.Sprint("team-", i), "create"}
			for range 100 {
				if err := g.try(t.Context(), r, func() error { return forbidden }); !errors.Is(err, errLacksRight) {
					t.Errorf("without the right: %v", err)
				}
			}
		})
	}
	workers.Wait()
}
