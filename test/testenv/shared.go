// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// lazily is a server that the tests of one process share: the first who asks starts it, the others wait for that.
type lazily[T interface{ Stop() error }] struct {
	once    sync.Once
	start   func(context.Context) (T, error)
	server  T
	started bool
	err     error
}

func (l *lazily[T]) get(t testing.TB) T {
	t.Helper()
	l.once.Do(func() {
		// Not the test's context: the server outlives the test that happened to come first.
		l.server, l.err = l.start(context.Background())
		l.started = l.err == nil
	})
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.server
}

func (l *lazily[T]) stop() error {
	if !l.started {
		return nil
	}
	return l.server.Stop()
}

var (
	sharedPostgres = lazily[*Postgres]{start: func(ctx context.Context) (*Postgres, error) { return StartPostgres(ctx) }}
	sharedPlane    = lazily[*ControlPlane]{start: startWithCRDs}
)

// startWithCRDs starts a control plane that knows the project's own resources, where they have been generated.
func startWithCRDs(ctx context.Context) (*ControlPlane, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	var options []ControlPlaneOption
	if crds := filepath.Join(root, "config", "crd", "bases"); isDir(crds) {
		options = append(options, WithCRDs(crds))
	}
	return StartControlPlane(ctx, options...)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Server is the Postgres server that the tests of this process share.
func Server(t testing.TB) *Postgres {
	t.Helper()
	return sharedPostgres.get(t)
}

// Database is a DSN of a fresh, empty database on the shared server. It is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	return DatabaseLike(t, "")
}

// DatabaseLike is a DSN of a fresh copy of a database on the shared server, to which nobody may be connected; with an empty DSN,
// of an empty one. It is dropped when the test ends.
func DatabaseLike(t testing.TB, template string) string {
	t.Helper()
	server := Server(t)
	dsn, err := server.Copy(t.Context(), template)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.DropDatabase(context.WithoutCancel(t.Context()), dsn); err != nil {
			t.Error(err)
		}
	})
	return dsn
}

// Role is a DSN for the same database as dsn, as a fresh role without any rights of its own.
func Role(t testing.TB, dsn string) string {
	t.Helper()
	roleDSN, err := Server(t).NewRole(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return roleDSN
}

// Cluster is the control plane that the tests of this process share: the project's CRDs are installed,
// kube-controller-manager does not run. Tests keep apart by namespaces.
func Cluster(t testing.TB) *ControlPlane {
	t.Helper()
	return sharedPlane.get(t)
}

// APIServer is an administrator's way into the shared control plane.
func APIServer(t testing.TB) *rest.Config {
	t.Helper()
	return Cluster(t).Config()
}

// ServiceAccount is a ServiceAccount's way into the shared control plane, with the rights that manifests gave it.
func ServiceAccount(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	config, err := Cluster(t).ServiceAccount(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Stop ends what the tests of this process shared. A TestMain that has more to do than Main calls it after m.Run.
func Stop() error {
	return errors.Join(sharedPlane.stop(), sharedPostgres.stop())
}

// Main runs a package's tests, ends what they shared, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
