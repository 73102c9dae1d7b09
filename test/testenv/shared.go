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

// lazily is a server that the tests of a process share. The first call of get starts it.
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
		// Not the test's context: the server outlives the first test.
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

// startWithCRDs starts a control plane with the project's CRDs, if they have been generated.
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

// Server returns the Postgres server that the tests of this process share.
func Server(t testing.TB) *Postgres {
	t.Helper()
	return sharedPostgres.get(t)
}

// Database returns an administrator's DSN of a new, empty database on the shared server. It is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	return DatabaseLike(t, "")
}

// DatabaseLike returns the DSN of a new copy of a database on the shared server, as [Postgres.Copy] does. The copy is dropped
// when the test ends.
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

// Role returns a DSN for the same database as dsn, with a new role without rights.
func Role(t testing.TB, dsn string) string {
	t.Helper()
	roleDSN, err := Server(t).NewRole(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return roleDSN
}

// Cluster returns the control plane that the tests of this process share, with the project's CRDs and without
// kube-controller-manager. Each test uses its own namespaces.
func Cluster(t testing.TB) *ControlPlane {
	t.Helper()
	return sharedPlane.get(t)
}

// APIServer returns the configuration to connect to the shared control plane as an administrator.
func APIServer(t testing.TB) *rest.Config {
	t.Helper()
	return Cluster(t).Config()
}

// ServiceAccount returns the configuration to connect to the shared control plane as a ServiceAccount.
func ServiceAccount(t testing.TB, namespace, name string) *rest.Config {
	t.Helper()
	config, err := Cluster(t).ServiceAccount(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Stop ends the shared servers. A TestMain that cannot use Main calls it after m.Run.
func Stop() error {
	return errors.Join(sharedPlane.stop(), sharedPostgres.stop())
}

// Main runs a package's tests, ends the shared servers, and exits.
func Main(m *testing.M) {
	MainAround(m, func(m *testing.M) (int, error) { return m.Run(), nil })
}

// MainAround is Main with a function that starts what a package's tests share, runs them, and stops it. It exits with the code
// of that function, or with 1 and its error.
func MainAround(m *testing.M, run func(*testing.M) (code int, err error)) {
	code, err := run(m)
	if err = errors.Join(err, Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
