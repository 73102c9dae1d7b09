// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// userNamespace is the namespace of the default users.
const userNamespace = systemNamespace

// A stage is the environment of the story: a control plane, Postgres and the manager.
type stage struct {
	root     string
	cluster  *testenv.ControlPlane
	postgres *testenv.Postgres
	api      client.WithWatch // with the permissions of an administrator
	db       *database
	manager  *testenv.Manager
}

// build starts everything. If it fails, strike stops what it started.
func (s *stage) build(ctx context.Context, out *screen) (err error) {
	if s.root, err = testenv.Root(); err != nil {
		return err
	}
	if err := os.Chdir(s.root); err != nil { // the shown commands have paths from there
		return fmt.Errorf("change to the checkout: %w", err)
	}
	if _, err := os.Stat(filepath.Join("bin", "manager")); err != nil {
		return errors.New("bin/manager does not exist: run `make demo`, which builds it")
	}
	out.say("%s%s", indent, out.paint(dim, "Starting etcd, kube-apiserver and Postgres on free ports and in temporary folders..."))
	started := time.Now()
	if err := s.startPair(ctx); err != nil {
		return err
	}
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	out.good("%s are running (%s)", version, took(started))

	started = time.Now()
	for _, args := range [][]string{
		{"apply", "-k", "hack/demo/cluster"},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/shardingusers.sharding.io"},
		// The commands of the story then need no -n.
		{"config", "set-context", "--current", "--namespace=" + userNamespace},
	} {
		if _, err := s.cluster.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	out.good("the CRDs and the RBAC rules of config/rbac, config/default-users and config/generated-passwords are installed (%s)", took(started))

	started = time.Now()
	if s.manager, err = startManager(ctx, s.root, s.cluster, s.db.dsn); err != nil {
		return err
	}
	out.good("bin/manager is ready; it runs as the ServiceAccount %s with only these rights (%s)", serviceAccount, took(started))
	return nil
}

// startPair starts the control plane and the database concurrently.
func (s *stage) startPair(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() (err error) {
		s.cluster, err = testenv.StartControlPlane(ctx)
		return err
	})
	group.Go(func() (err error) {
		s.postgres, err = testenv.StartPostgres(ctx)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	var err error
	if s.api, err = client.NewWithWatch(s.cluster.Config(), client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("create a client: %w", err)
	}
	dsn, err := s.postgres.NewDatabase(ctx)
	if err != nil {
		return err
	}
	s.db, err = openDatabase(ctx, s.root, dsn)
	return err
}

// version returns the names and versions of both servers.
func (s *stage) version(ctx context.Context) (string, error) {
	kubernetes, err := s.cluster.Kubectl(ctx, "get", "--raw", "/version")
	if err != nil {
		return "", err
	}
	match := gitVersion.FindStringSubmatch(kubernetes)
	if match == nil {
		return "", fmt.Errorf("the API server does not report its version: %s", kubernetes)
	}
	var postgres string
	if err := s.db.conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&postgres); err != nil {
		return "", fmt.Errorf("ask Postgres for its version: %w", err)
	}
	return fmt.Sprintf("A real API server (%s) and a real Postgres (%s)", match[1], postgres), nil
}

// strike stops everything in the reverse order.
func (s *stage) strike() error {
	err := stopManager(s.manager)
	if s.db != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.db.conn.Close(ctx) // the server stops next
	}
	if s.cluster != nil {
		err = errors.Join(err, s.cluster.Stop())
	}
	if s.postgres != nil {
		err = errors.Join(err, s.postgres.Stop())
	}
	return err
}

// hints prints how to continue by hand.
func (s *stage) hints(out *screen) {
	own := os.Getenv("TEST_DATABASE_DSN") == ""
	out.say("\n%s", out.paint(bold, "Continue by hand in another terminal"))
	out.say("")
	out.say("%sexport KUBECONFIG=%s", indent, words(s.cluster.Kubeconfig()))
	if dir := s.kubectlDir(); dir != "" {
		out.say(`%sexport PATH="$PATH":%s`, indent, words(dir))
	}
	out.say("%skubectl get shardingusers --watch", indent)
	out.say("%skubectl explain shardinguser.spec.password", indent)
	out.say("")
	out.say("%sexport DSN=%s", indent, words(s.db.shown(own)))
	if own {
		out.say("%s%s", indent, out.paint(dim, "# the password of the demo's own server, which listens only on this machine and stops with the demo"))
	} else {
		out.say("%s%s", indent, out.paint(dim, "# with the password of TEST_DATABASE_DSN"))
	}
	psql := "psql"
	if _, err := exec.LookPath("psql"); err != nil && s.db.psql != "" {
		psql = words(s.db.psql)
	}
	out.say(`%s%s "$DSN" -c "SELECT username, roles, active, locked_until FROM users"`, indent, psql)
	out.say("")
	out.say("%sexport LOGIN=%s", indent, s.loginURL())
	out.say("%s%s", indent, curlLogIn("admin", "admin123"))
	out.say("")
	out.say("%stail -f %s  %s", indent, words(s.manager.Log), out.paint(dim, "# the manager's log"))
}

// kubectlDir returns the folder of the kubectl that belongs to the servers; empty if there is one on PATH.
func (s *stage) kubectlDir() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return ""
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		return assets
	}
	return filepath.Join(s.root, "bin", "k8s")
}
