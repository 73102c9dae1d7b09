// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// CheapHashes is a build tag with which the manager creates password hashes of bcrypt's lowest cost.
const CheapHashes = "cheaphashes"

// BuildManager builds the manager as Build does. In a short test run its hashes are cheap: otherwise they take three quarters
// of its CPU time.
func BuildManager(ctx context.Context, folder string) (program string, err error) {
	if testing.Testing() && !flag.Parsed() {
		flag.Parse() // a TestMain runs before the testing package parses the flags
	}
	if testing.Testing() && testing.Short() {
		return Build(ctx, folder, "manager", CheapHashes)
	}
	return Build(ctx, folder, "manager")
}

// Build builds a command of cmd with these build tags, and returns the path of the program in this folder. The tests of all
// packages share bin/tests, where Go links a program again only if its sources have changed.
func Build(ctx context.Context, folder, command string, tags ...string) (program string, err error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	shared := filepath.Join(append([]string{root, "bin", "tests"}, tags...)...) // the program's name is part of its user agent
	if err := os.MkdirAll(shared, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	unlock, err := lockFile(filepath.Join(shared, command+".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	built := filepath.Join(shared, command)
	// Without the commit's hash, a commit does not change the program.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w",
		"-tags="+strings.Join(tags, ","), "-o", built, "./cmd/"+command)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", command, err, output)
	}
	// A later build of the same name must not change the program while this folder's tests run it.
	program = filepath.Join(folder, command)
	if os.Link(built, program) == nil {
		return program, nil
	}
	return program, copyProgram(built, program) // the folder is on another file system
}

// lockFile locks a file, and waits while another process holds the lock.
func lockFile(path string) (unlock func() error, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o700)
}

// ManagerOptions are the options of StartManager.
type ManagerOptions struct {
	Program  string       // the built manager
	Rights   *rest.Config // for its connections to the control plane
	DSN      string       // of its database, passed in a file; empty for none
	LoginDSN string       // of the role for logins, passed in a file; empty for none
	Secret   string       // that signs tokens, passed in a file; empty for no tokens
	Args     []string     // further ones; they override the others
	Env      []string     // nil for this process's, without settings of the manager
}

// A Manager is a process of the manager, running or ended.
type Manager struct {
	Health, Metrics, Login string // its addresses (host:port)
	Log                    string // path of its output

	cmd   *exec.Cmd
	ended <-chan struct{}
}

// StartManager starts a manager, and does not wait until it is ready. It listens on free ports of the loopback interface.
// Its working directory is empty, so that it finds no settings file. It ends with the control plane at the latest.
func (c *ControlPlane) StartManager(options ManagerOptions) (*Manager, error) {
	kubeconfig, err := c.KubeconfigFor(options.Rights)
	if err != nil {
		return nil, err
	}
	addresses := make([]string, 3)
	for i := range addresses {
		port, err := c.scope.port()
		if err != nil {
			return nil, err
		}
		addresses[i] = port.address()
	}
	name := "manager-" + rand.String(8)
	m := &Manager{Health: addresses[0], Metrics: addresses[1], Login: addresses[2], Log: c.scope.logPath(name)}
	args := []string{
		"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=" + m.Health, "--metrics-bind-address=" + m.Metrics,
		"--login-bind-address=" + m.Login,
		"--shutdown-delay=0", // no Service routes to it
	}
	for setting, content := range map[string]string{
		"user-database-dsn-file": options.DSN, "login-database-dsn-file": options.LoginDSN, "jwt-secret-file": options.Secret,
	} {
		if content == "" {
			continue
		}
		file, err := c.scope.write(name+"."+setting, content, 0o600)
		if err != nil {
			return nil, err
		}
		args = append(args, "--"+setting+"="+file)
	}
	if m.cmd, err = c.scope.command(name, options.Program, append(args, options.Args...)...); err != nil {
		return nil, err
	}
	if err := c.scope.mkdir(name); err != nil {
		return nil, err
	}
	m.cmd.Dir = c.scope.path(name)
	m.cmd.Env = options.Env
	if m.cmd.Env == nil {
		m.cmd.Env = withoutSettings(os.Environ())
	}
	log, err := c.scope.log(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the manager has its own descriptor
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the manager: %w", err)
	}
	running, _ := whileRunning(context.Background(), m.cmd, "the manager")
	m.ended = running.Done()
	return m, nil
}

// withoutSettings returns the environment without settings of the manager.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		return strings.HasPrefix(variable, "SHARDINGUSER_") || strings.HasPrefix(variable, "USER_DATABASE_DSN=")
	})
}

// Ended returns a channel that is closed when the manager has ended.
func (m *Manager) Ended() <-chan struct{} {
	return m.ended
}

// Running reports whether the manager has not ended.
func (m *Manager) Running() bool {
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// Err returns how the manager ended, with the end of its log. It returns nil while the manager runs.
func (m *Manager) Err() error {
	if m.Running() {
		return nil
	}
	return withTail(fmt.Errorf("the manager %w: %s", errEnded, m.cmd.ProcessState), "it", m.Log)
}

// PID returns the process id of the manager.
func (m *Manager) PID() int {
	return m.cmd.Process.Pid // the wrapper script execs the manager
}

// ExitCode returns the exit code of a manager that has ended; -1 if a signal ended it.
func (m *Manager) ExitCode() int {
	return m.cmd.ProcessState.ExitCode()
}

// Tail returns the end of the manager's output.
func (m *Manager) Tail() string {
	return tail(m.Log)
}

// Ready waits until the manager is ready. It fails if the manager or ctx ends.
func (m *Manager) Ready(ctx context.Context) error {
	const poll = 20 * time.Millisecond // benchmarks measure this wait
	err := wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		return m.Probe(ctx, "/readyz") == http.StatusOK, m.Err()
	})
	if err != nil && !errors.Is(err, errEnded) {
		return withTail(fmt.Errorf("wait until the manager is ready: %w", err), "it", m.Log)
	}
	return err
}

// Signal sends a signal, if the manager has not ended.
func (m *Manager) Signal(s os.Signal) {
	_ = m.cmd.Process.Signal(s)
}

// Stop ends the manager as a kubelet does, with SIGTERM. If the manager still runs after the grace period, Stop sends SIGKILL
// and returns an error.
func (m *Manager) Stop(grace time.Duration) error {
	m.Signal(syscall.SIGTERM)
	select {
	case <-m.ended:
		return nil
	case <-time.After(grace):
		m.Kill()
		return fmt.Errorf("the manager did not end within %s after SIGTERM", grace)
	}
}

// Kill ends the manager with SIGKILL.
func (m *Manager) Kill() {
	m.Signal(syscall.SIGKILL)
	<-m.ended
}

// Probe returns the status code of a probe, /healthz or /readyz; 0 without an answer within 20 s.
func (m *Manager) Probe(ctx context.Context, path string) int {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	status, _ := Get(ctx, "http://"+m.Health+path, "")
	return status
}

// Scrape requests the metrics with a token. It returns what Get returns.
func (m *Manager) Scrape(ctx context.Context, token string) (status int, body string) {
	return Get(ctx, "https://"+m.Metrics+"/metrics", token)
}

// web accepts any certificate: a manager creates a self-signed one at each start. It reuses connections, as a gateway does.
var web = &http.Client{
	Timeout:   2 * time.Minute, // much longer than a login may be queued, for busy machines
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 256},
}

// Get requests a URL with a bearer token, unless that is empty, and returns the answer. Without an answer, the status code
// is 0 and body is the error.
func Get(ctx context.Context, url, token string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := web.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}
