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

// The ServiceAccount of config/rbac, by the names of hack/demo/cluster.
const (
	systemNamespace = "shardinguser-system"
	serviceAccount  = "shardinguser-controller-manager"
)

// startManager starts bin/manager with the permissions of its ServiceAccount, and returns when it is ready. It returns a started
// manager even with an error.
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
		// Another program may have taken the free port.
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return m, err
		}
	}
}

// stopManager stops the manager, if it runs, and returns an error if its exit code is not 0.
func stopManager(m *testenv.Manager) error {
	if m == nil || !m.Running() {
		return nil // the story has reported it
	}
	if err := m.Stop(30 * time.Second); err != nil { // longer than its grace period
		return err
	}
	if code := m.ExitCode(); code != 0 {
		return fmt.Errorf("the manager's exit code is %d after SIGTERM, expected 0; the end of its log:\n%s", code, m.Tail())
	}
	return nil
}
