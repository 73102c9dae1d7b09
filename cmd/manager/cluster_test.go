// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/internal/config"
)

// answers is an API server that returns these errors in order, and repeats the last one.
type answers struct {
	client.Reader
	errs   []error
	listed error
	asked  int
}

func (a *answers) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	err := a.errs[min(a.asked, len(a.errs)-1)]
	a.asked++
	object.SetUID("the cluster")
	return err
}

func (a *answers) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return a.listed
}

func TestAnOldCRDIsReportedWithWhatToDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &answers{errs: []error{nil}, listed: apierrors.NewBadRequest("field label not supported: spec.system")}
		err := newCluster(server, config.Settings{System: "orders"}, logr.Discard()).find(t.Context())
		if err == nil || !strings.Contains(err.Error(), "apply config/crd of this version") {
			t.Errorf("the error is %v", err)
		}
		if server.asked != refusals {
			t.Errorf("it asked %d times, want %d", server.asked, refusals)
		}
	})
}

func TestTheAPIServerIsAskedUntilItAnswers(t *testing.T) {
	t.Parallel()
	unreachable := errors.New("connection refused")
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "kube-system", errors.New("no role yet"))
	for name, tt := range map[string]struct {
		errs  []error
		known bool
		asked int
	}{
		"at once": {
			errs: []error{nil}, known: true, asked: 1,
		},
		"after minutes without an API server": {
			errs: append(slices.Repeat([]error{unreachable}, 600), nil), known: true, asked: 601,
		},
		"after a start of the API server that reads its roles last": {
			errs: slices.Concat([]error{unreachable, unreachable}, slices.Repeat([]error{refused}, refusals-1), []error{nil}), known: true, asked: refusals + 2,
		},
		"after two starts of the API server": {
			errs: slices.Concat(slices.Repeat([]error{refused}, refusals-1), []error{unreachable}, slices.Repeat([]error{refused}, refusals-1),
				[]error{nil}), known: true, asked: 2 * refusals,
		},
		"never, without the permission": {
			errs: []error{refused}, known: false, asked: refusals,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &answers{errs: tt.errs}
				c := newCluster(server, config.Settings{}, logr.Discard())
				err := c.find(t.Context())
				if tt.known != (err == nil) || server.asked != tt.asked {
					t.Fatalf("after %d requests it returns %v", server.asked, err)
				}
				if !tt.known {
					return
				}
				if uid, err := c.UID(t.Context()); uid != "the cluster" || err != nil {
					t.Errorf("the cluster is %q, %v", uid, err)
				}
			})
		})
	}
}
