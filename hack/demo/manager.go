// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The ServiceAccount of config/rbac, under the names that hack/demo/cluster gives.
const (
	systemNamespace = "shardinguser-system"
	serviceAccount  = "shardinguser-controller-manager"
)

// A manager is a running bin/manager.
type manager struct {
	cmd   *exec.Cmd
	log   string        // path of what it prints
	ended chan struct{} // closed when it has ended; nil before it started
}

var errManagerEnded = errors.New("the manager ended by itself")

// end tells how it ended.
func (m *manager) end() error {
	return fmt.Errorf("%w: %s\n%s", errManagerEnded, m.cmd.ProcessState, m.tail())
}

// startManager starts bin/manager with the rights of its ServiceAccount, and returns when it is ready.
func startManager(ctx context.Context, root string, cluster *testenv.ControlPlane, dsn string) (*manager, error) {
	account, err := cluster.ServiceAccount(ctx, systemNamespace, serviceAccount)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := cluster.KubeconfigFor(account)
	if err != nil {
		return nil, err
	}
	// The control plane's own folder: it goes with it, whatever becomes of us.
	dir := filepath.Dir(cluster.Kubeconfig())
	dsnFile := filepath.Join(dir, "manager.dsn")
	if err := os.WriteFile(dsnFile, []byte(dsn+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the DSN's file: %w", err)
	}
	args := []string{
		"--config=", "--kubeconfig=" + kubeconfig, "--user-database-dsn-file=" + dsnFile, "--metrics-bind-address=0",
	}
	m := &manager{log: filepath.Join(dir, "manager.log")}
	for attempt := 1; ; attempt++ {
		err := m.start(ctx, cluster, filepath.Join(root, "bin", "manager"), args)
		// A port that was free may be taken by now.
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return m, err
		}
	}
}

func (m *manager) start(ctx context.Context, cluster *testenv.ControlPlane, program string, args []string) error {
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the manager's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the manager's is a copy
	health, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if m.cmd, err = cluster.Command("manager", program, append(args, "--health-probe-bind-address="+health)...); err != nil {
		return err
	}
	m.cmd.Env = withoutSettings(os.Environ())
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	ended := make(chan struct{})
	m.ended = ended
	go func() {
		_ = m.cmd.Wait() // the same is in ProcessState, where zero has words too
		close(ended)
	}()

	err = wait.PollUntilContextTimeout(ctx, poll, time.Minute, true, func(ctx context.Context) (bool, error) {
		select {
		case <-ended:
			return false, m.end()
		default:
			return answers(ctx, "http://"+health+"/readyz"), nil
		}
	})
	switch {
	case errors.Is(err, errManagerEnded):
		return err
	case err != nil:
		return fmt.Errorf("wait until the manager is ready: %w\n%s", err, m.tail())
	}
	return nil
}

// stop ends the manager as a kubelet would, and tells when it did not end cleanly.
func (m *manager) stop() error {
	if m == nil || m.ended == nil {
		return nil
	}
	select {
	case <-m.ended:
		return nil // and the story has told
	default:
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the manager: %w", err)
	}
	select {
	case <-m.ended:
	case <-time.After(30 * time.Second): // its grace period, and some
		return errors.New("the manager did not end within 30 s after SIGTERM")
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the manager's exit code is %d after SIGTERM, expected 0\n%s", code, m.tail())
	}
	return nil
}

// tail is the end of the manager's log.
func (m *manager) tail() string {
	const lines = 15
	content, err := os.ReadFile(m.log)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return "its log ends with:\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}

// withoutSettings drops what would be a setting of the manager.
func withoutSettings(environ []string) []string {
	var kept []string
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "SHARDINGUSER_") && !strings.HasPrefix(variable, "USER_DATABASE_DSN=") {
			kept = append(kept, variable)
		}
	}
	return kept
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// freeAddress is one of the loopback interface that nobody listened on a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
