// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The namespace of the operator in config/default, and its account there.
const (
	systemNamespace = testenv.SystemNamespace
	account         = testenv.ManagerAccount
)

// State that all stories share.
var (
	root    string       // of the repository
	program string       // the built manager
	plugins string       // the folder of the built kubectl plugin, which tests add to PATH
	plane   *site        // of all stories, except those that start their own
	rights  *rest.Config // the manager's rights on plane
	scheme  = func() *runtime.Scheme {
		s := runtime.NewScheme()
		utilruntime.Must(clientgoscheme.AddToScheme(s))
		utilruntime.Must(v1alpha1.AddToScheme(s))
		return s
	}()
)

// A site is a control plane with all of config/default.
type site struct {
	*testenv.ControlPlane
	rights  *rest.Config           // the manager's rights
	scraper func() (string, error) // returns a token of a ServiceAccount that may read the metrics, created as config/rbac documents
}

func newSite(ctx context.Context) (*site, error) {
	controlPlane, err := testenv.StartControlPlane(ctx, testenv.WithControllerManager())
	if err != nil {
		return nil, err
	}
	installed, err := controlPlane.Install(ctx)
	if err != nil {
		return nil, errors.Join(err, controlPlane.Stop())
	}
	return &site{controlPlane, installed, sync.OnceValues(func() (string, error) { return controlPlane.Scraper(ctx) })}, nil
}

func TestMain(m *testing.M) { testenv.MainAround(m, run) }

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if root, err = testenv.Root(); err != nil {
		return 1, err
	}
	folder, err := os.MkdirTemp("", "shardinguser-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if program, err = testenv.BuildManager(ctx, folder); err != nil {
		return 1, err
	}
	plugins = folder
	if _, err := testenv.Build(ctx, plugins, "kubectl-shardinguser"); err != nil {
		return 1, err
	}

	if plane, err = newSite(ctx); err != nil {
		return 1, err
	}
	rights = plane.rights
	defer func() { err = errors.Join(err, plane.Stop()) }()
	return m.Run(), nil
}
