// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// answers are what an API server says to one question after the other. The last of them is said for good.
type answers struct {
	client.Reader
	errs  []error
	asked int
}

func (a *answers) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	err := a.errs[min(a.asked, len(a.errs)-1)]
	a.asked++
	object.SetUID("the cluster")
	return err
}

func TestTheClusterIsAskedForUntilItAnswers(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
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
			errs: append(slices.Repeat([]error{away}, 600), nil), known: true, asked: 601,
		},
		"after an API server has started, and read its roles last": {
			errs: slices.Concat([]error{away, away}, slices.Repeat([]error{refused}, refusals-1), []error{nil}), known: true, asked: refusals + 2,
		},
		"after an API server has started twice": {
			errs: slices.Concat(slices.Repeat([]error{refused}, refusals-1), []error{away}, slices.Repeat([]error{refused}, refusals-1),
				[]error{nil}), known: true, asked: 2 * refusals,
		},
		"and no longer, where the right is missing": {
			errs: []error{refused}, known: false, asked: refusals,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &answers{errs: tt.errs}
				c := newCluster(server, false, logr.Discard())
				err := c.find(t.Context())
				if tt.known != (err == nil) || server.asked != tt.asked {
					t.Fatalf("after %d questions it ends with %v", server.asked, err)
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
