// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sirupsen/logrus"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const (
	patience = 2 * time.Minute // for busy machines
	poll     = 100 * time.Millisecond
)

// All tests share these.
var (
	root    string // of the repository
	pair    running
	config  *rest.Config // of an administrator
	objects dynamic.Interface
	client  kubernetes.Interface
)

func TestMain(m *testing.M) {
	// The libraries' logs are irrelevant.
	logrus.SetOutput(io.Discard)
	klog.SetLogger(klog.Logger{})
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if root, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	if err := pair.start(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, pair.stop()) }()
	if config, err = clientcmd.BuildConfigFromFlags("", pair.Kubeconfig); err != nil {
		return 1, err
	}
	config.QPS, config.Burst = 1000, 2000
	if objects, err = dynamic.NewForConfig(config); err != nil {
		return 1, err
	}
	if client, err = kubernetes.NewForConfig(config); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// running is a process of test/testenv/pair: the servers and the operator.
type running struct {
	Kubeconfig string
	DSN        string
	Login      string

	cmd      *exec.Cmd
	commands io.WriteCloser
	answers  *bufio.Reader
}

// start starts the servers, and returns when the operator is ready.
func (r *running) start() error {
	r.cmd = exec.Command("go", "run", "./test/testenv/pair") //nolint:noctx // it ends with its standard input
	r.cmd.Dir, r.cmd.Stderr = root, os.Stderr
	var err error
	if r.commands, err = r.cmd.StdinPipe(); err != nil {
		return err
	}
	output, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("start the operator: %w", err)
	}
	r.answers = bufio.NewReader(output)
	line, err := r.answers.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, r)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start the operator: %w", err), r.stop())
	}
	return nil
}

func (r *running) stop() error {
	if err := errors.Join(r.commands.Close(), r.cmd.Wait()); err != nil {
		return fmt.Errorf("stop the operator: %w", err)
	}
	return nil
}

// do sends a command to the process, and returns when it is executed.
func (r *running) do(t *testing.T, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(r.commands, command); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if _, err := r.answers.ReadString('\n'); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
}

// eventually waits until wrong returns no problem.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		problem := wrong()
		if problem == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %s %s", patience, problem)
		}
	}
}

// shell runs a line of bash with this standard input in a folder, with kubectl and git on PATH, and returns its output.
func shell(t *testing.T, folder, input, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", line)
	cmd.Dir, cmd.Stdin = folder, strings.NewReader(input)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+pair.Kubeconfig,
		"PATH="+filepath.Dir(kubectl(t))+string(os.PathListSeparator)+os.Getenv("PATH"),
		// The developer's git configuration has no effect.
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// kubectl returns the path of the program that `make prepare` installs.
func kubectl(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		folder = filepath.Join(root, "bin", "k8s")
	}
	return filepath.Join(folder, "kubectl")
}

// statement executes SQL as the database's administrator, and returns the number of affected rows.
func statement(t *testing.T, sql string, arguments ...any) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pair.DSN)
	if err != nil {
		t.Fatalf("connect to the database: %v", err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tag, err := conn.Exec(t.Context(), sql, arguments...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return int(tag.RowsAffected())
}

// lock locks an account for 15 minutes, as the login API does.
func lock(t *testing.T, username string) {
	t.Helper()
	n := statement(t, `UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '15 minutes'
		WHERE username = $1`, username)
	if n != 1 {
		t.Fatalf("there are %d rows of %s, want 1", n, username)
	}
}

// hasRow reports whether the table has a row of this username that meets a condition, in SQL.
func hasRow(t *testing.T, username, condition string) bool {
	t.Helper()
	return statement(t, "SELECT FROM users WHERE username = $1 AND "+condition, username) == 1
}
