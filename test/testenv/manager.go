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

// CheapHashes is a build tag of the manager: it then creates password hashes of bcrypt's lowest cost.
const CheapHashes = "cheaphashes"

// BuildManager builds the manager as Build does. In a short test run its hashes are cheap: they are three quarters of what it computes.
func BuildManager(ctx context.Context, folder string) (program string, err error) {
	if testing.Testing() && !flag.Parsed() {
		flag.Parse() // a TestMain comes before the testing package's own call
	}
	if testing.Testing() && testing.Short() {
		return Build(ctx, folder, "manager", CheapHashes)
	}
	return Build(ctx, folder, "manager")
}

// Build builds one of the commands below cmd with these build tags, and returns the path of the program in this folder. All packages'
// tests share bin/tests: there Go links a program again only when its sources have changed.
func Build(ctx context.Context, folder, command string, tags ...string) (program string, err error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	shared := filepath.Join(append([]string{root, "bin", "tests"}, tags...)...) // the program keeps its name, which it tells API servers
	if err := os.MkdirAll(shared, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	unlock, err := lockFile(filepath.Join(shared, command+".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", command, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	built := filepath.Join(shared, command)
	// Without a commit in it, the program stays the same from one commit to the next.
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
	return program, copyProgram(built, program) // the folder may be on another file system
}

// lockFile waits until no other process holds the lock of this file.
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

// ManagerOptions say how StartManager starts a manager.
type ManagerOptions struct {
	Program  string       // the built manager
	Rights   *rest.Config // whom it connects to the control plane as
	DSN      string       // of its database, which it reads from a file; empty for none
	LoginDSN string       // of a role for log-ins alone, which it reads from a file; empty for none
	Secret   string       // to sign tokens with, which it reads from a file; empty for no tokens
	Args     []string     // more of them: they come last, and the last of a kind counts
	Env      []string     // nil means this process's own, without a developer's settings for the manager
}

// A Manager is the built manager as it runs, or ran.
type Manager struct {
	Health, Metrics, Login string // the addresses (host:port) that it was given
	Log                    string // path of what it prints

	cmd   *exec.Cmd
	ended <-chan struct{}
}

// StartManager starts a manager and waits for nothing. Its addresses are free ones of the loopback interface, and its
// working directory is an empty one of its own, where it finds no settings file by chance. Where nobody ends it before,
// the end of the control plane or of this process does.
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
	defer func() { _ = log.Close() }() // the manager's is a copy
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the manager: %w", err)
	}
	running, _ := whileRunning(context.Background(), m.cmd, "the manager")
	m.ended = running.Done()
	return m, nil
}

// withoutSettings drops what would be a setting of the manager.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		return strings.HasPrefix(variable, "SHARDINGUSER_") || strings.HasPrefix(variable, "USER_DATABASE_DSN=")
	})
}

// Ended is closed when the manager has ended.
func (m *Manager) Ended() <-chan struct{} {
	return m.ended
}

// Running tells whether the manager has not ended.
func (m *Manager) Running() bool {
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// Err tells how the manager ended, with the end of its log. It is nil as long as the manager runs.
func (m *Manager) Err() error {
	if m.Running() {
		return nil
	}
	return withTail(fmt.Errorf("the manager %w: %s", errEnded, m.cmd.ProcessState), "it", m.Log)
}

// PID is its process id.
func (m *Manager) PID() int {
	return m.cmd.Process.Pid // the script that recorded it became the manager
}

// ExitCode is that of a manager that has ended, -1 where a signal ended it.
func (m *Manager) ExitCode() int {
	return m.cmd.ProcessState.ExitCode()
}

// Tail is the end of what the manager printed.
func (m *Manager) Tail() string {
	return tail(m.Log)
}

// Ready waits until the manager is ready. It fails when the manager ends, and when ctx does.
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

// Signal sends a signal. A manager that has ended hears nothing.
func (m *Manager) Signal(s os.Signal) {
	_ = m.cmd.Process.Signal(s)
}

// Stop ends the manager as a kubelet would: by SIGTERM and, where it outlives the grace period, which is an error, by
// SIGKILL.
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

// Kill ends the manager by SIGKILL.
func (m *Manager) Kill() {
	m.Signal(syscall.SIGKILL)
	<-m.ended
}

// Probe is the status code of a probe, /healthz or /readyz; 0 where nobody answers within 20 s.
func (m *Manager) Probe(ctx context.Context, path string) int {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	status, _ := Get(ctx, "http://"+m.Health+path, "")
	return status
}

// Scrape asks for the metrics, in the name of whose token it is. Its results are those of Get.
func (m *Manager) Scrape(ctx context.Context, token string) (status int, body string) {
	return Get(ctx, "https://"+m.Metrics+"/metrics", token)
}

// web trusts everybody: a manager signs the certificates of its metrics and of its log-in API itself, at each start. It
// keeps its connections, as a gateway does.
var web = &http.Client{
	Timeout:   2 * time.Minute, // longer than a log-in may wait in line, by far: a busy machine may hold it up before that
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 256},
}

// Get is what comes back from a URL of a manager, with a bearer token unless that is empty. Where there is no answer
// the status code is 0 and the body says why.
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
