// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The ServiceAccount of config/rbac, under the names that hack/demo/cluster gives.
const (
	systemNamespace = "shardinguser-system"
	serviceAccount  = "shardinguser-controller-manager"
)

// startManager starts bin/manager with the rights of its ServiceAccount, and returns when it is ready. A manager that
// did start is returned also when it does not get that far.
func startManager(ctx context.Context, root string, cluster *testenv.ControlPlane, dsn string) (*testenv.Manager, error) {
	rights, err := cluster.ServiceAccount(ctx, systemNamespace, serviceAccount)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for attempt := 1; ; attempt++ {
		m, err := cluster.StartManager(testenv.ManagerOptions{
			Program: filepath.Join(root, "bin", "manager"), Rights: rights, DSN: dsn, Secret: rand.Text() + rand.Text(),
			Args: []string{
				"--metrics-bind-address=0", "--default-users=sharding", "--default-users-namespace=" + userNamespace,
			},
		})
		if err != nil {
			return nil, err
		}
		err = m.Ready(ctx)
		// A port that was free may be taken by now.
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return m, err
		}
	}
}

// stopManager ends the manager, if there is one, and tells when it did not end cleanly.
func stopManager(m *testenv.Manager) error {
	if m == nil || !m.Running() {
		return nil // and the story has told
	}
	if err := m.Stop(30 * time.Second); err != nil { // its grace period, and some
		return err
	}
	if code := m.ExitCode(); code != 0 {
		return fmt.Errorf("the manager's exit code is %d after SIGTERM, expected 0; it said last:\n%s", code, m.Tail())
	}
	return nil
}
