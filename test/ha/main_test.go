// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// State that all stories share. Each leaves the pair healthy.
var (
	program string // the built manager
	plane   *testenv.ControlPlane
	rights  *rest.Config // the manager's
	scraper string       // a token that may read metrics
	pair    *testenv.Patroni
	scheme  = func() *runtime.Scheme {
		s := runtime.NewScheme()
		utilruntime.Must(clientgoscheme.AddToScheme(s))
		utilruntime.Must(v1alpha1.AddToScheme(s))
		return s
	}()
)

func TestMain(m *testing.M) {
	flag.Parse()
	testenv.MainAround(m, run)
}

func run(m *testing.M) (code int, err error) {
	if testing.Short() {
		return m.Run(), nil
	}
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "shardinguser-ha-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if program, err = testenv.BuildManager(ctx, folder); err != nil {
		return 1, err
	}
	if plane, err = testenv.StartControlPlane(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	if rights, err = plane.Install(ctx); err != nil {
		return 1, err
	}
	if scraper, err = plane.Scraper(ctx); err != nil {
		return 1, err
	}
	if pair, err = testenv.StartPatroni(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, pair.Stop()) }()
	return m.Run(), nil
}
