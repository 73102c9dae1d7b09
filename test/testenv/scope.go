// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// reaperScript waits for the end of its standard input. Then it ends the processes whose ids are in files of $1/pids, and
// deletes the folder $1.
//
// The rename comes first: after it, no program can record its id, so none can start. SIGQUIT ends Postgres quickly and
// cleanly (it releases its shared memory), and Go programs as well. SIGKILL ends the rest after five seconds. Each program
// leads its own process group, which gets the signals: they reach child processes, and rarely a reused process id.
const reaperScript = `
cat >/dev/null
mv "$1/pids" "$1/ending" || exit 0
groups=$(cat "$1"/ending/* 2>/dev/null)
for group in $groups; do kill -s QUIT -- "-$group"; done
rounds=0
while [ "$rounds" -lt 50 ]; do
	left=''
	for group in $groups; do kill -s 0 -- "-$group" && left=yes; done
	[ -z "$left" ] && break
	rounds=$((rounds + 1))
	sleep 0.1 || sleep 1
done
for group in $groups; do kill -s KILL -- "-$group"; done
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
`

// A scope is a temporary folder, its processes and their ports, which end together.
//
// The reaper ends them: a child process in its own process group that reads from a pipe. Only this process holds the writing
// end. close closes it, or else the kernel does when this process ends. So every clean stop tests the cleanup after a crash.
type scope struct {
	dir string
	// user is the user of the processes; nil for the user of this process.
	user *syscall.Credential

	mu       sync.Mutex
	names    map[string]int
	ports    []*port
	lifeline *os.File
	reaper   *exec.Cmd
}

// newScope creates the folder, owned by user, and starts the reaper.
func newScope(name string, user *syscall.Credential) (_ *scope, err error) {
	dir, err := os.MkdirTemp(folderFor(user), "shardinguser-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("create a temporary folder: %w", err)
	}
	s := &scope{dir: dir, user: user, names: map[string]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, sub := range []string{"pids", "logs", "run"} {
		if err := s.mkdir(sub); err != nil {
			return nil, err
		}
	}
	if err := s.own(dir); err != nil {
		return nil, err
	}

	reading, writing, err := os.Pipe() // close-on-exec: only the reaper inherits an end
	if err != nil {
		return nil, fmt.Errorf("create a pipe: %w", err)
	}
	defer func() { _ = reading.Close() }()
	//nolint:noctx // it outlives every context and this process
	s.reaper = exec.Command("/bin/sh", "-c", reaperScript, "reaper", dir)
	s.reaper.Stdin = reading
	s.reaper.Dir = "/"
	s.reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.reaper.Start(); err != nil {
		_ = writing.Close()
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	s.lifeline = writing
	return s, nil
}

// folderFor returns the parent folder for the scopes of a user; "" is the default one. Tests use memory if there is enough: a
// database has 300 files, and creating them on a disk takes ten times as long. TMPDIR overrides that. Benchmarks use a disk.
func folderFor(user *syscall.Credential) string {
	if os.Getenv("TMPDIR") == "" && testing.Testing() {
		if folder := inMemory(); folder != "" {
			return folder
		}
	}
	if user != nil && !traversable(os.TempDir()) {
		return "/var/tmp"
	}
	return ""
}

// path returns a path in the scope's folder.
func (s *scope) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// mkdir creates a folder in the scope's folder to which the processes can write.
func (s *scope) mkdir(name string) error {
	if err := os.Mkdir(s.path(name), 0o700); err != nil {
		return fmt.Errorf("create a temporary folder: %w", err)
	}
	return s.own(s.path(name))
}

// write creates a file in the scope's folder that the processes can read.
func (s *scope) write(name, content string, mode os.FileMode) (string, error) {
	path := s.path(name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		return "", fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return path, s.own(path)
}

func (s *scope) own(path string) error {
	if s.user == nil {
		return nil
	}
	if err := os.Chown(path, int(s.user.Uid), int(s.user.Gid)); err != nil {
		return fmt.Errorf("change the owner of a temporary file: %w", err)
	}
	return nil
}

// port reserves a port until the scope ends.
func (s *scope) port() (*port, error) {
	p, err := newPort()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = append(s.ports, p)
	return p, nil
}

// wrap returns a script that records its process id for the reaper and then execs the program at path. The reaper needs the
// id before the program runs, and envtest does not return the ids of its programs. The environment (NAME=value) is added to
// that of this process.
func (s *scope) wrap(name, path string, environment ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lifeline == nil {
		return "", fmt.Errorf("start %s: already stopped", name)
	}
	s.names[name]++
	name = s.newest(name)
	words := []string{"exec", "env"}
	for _, variable := range environment {
		words = append(words, quote(variable))
	}
	return s.write("run/"+name, fmt.Sprintf("#!/bin/sh\nset -e\necho $$ >%s\nprintf '%%s\\n' \"$@\" >%s\n%s %s \"$@\"\n",
		quote(s.path("pids", name)), quote(s.path("run", name+".args")), strings.Join(words, " "), quote(path)), 0o700)
}

// newest returns the name of the newest script for a program. The caller holds the mutex.
func (s *scope) newest(name string) string {
	if n := s.names[name]; n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	return name
}

// arguments returns the arguments of the latest start of a program. They must not contain line breaks.
func (s *scope) arguments(name string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := os.ReadFile(s.path("run", s.newest(name)+".args"))
	if err != nil {
		return nil, fmt.Errorf("find the arguments of %s: %w", name, err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n"), nil
}

// pid returns the process id of the latest start of a program.
func (s *scope) pid(name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := os.ReadFile(s.path("pids", s.newest(name)))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// command returns an exec.Cmd for a program that ends with the scope.
func (s *scope) command(name, path string, args ...string) (*exec.Cmd, error) {
	script, err := s.wrap(name, path)
	if err != nil {
		return nil, err
	}
	// A shell reads the script: executing a file that was just written can fail ("text file busy").
	cmd := exec.Command("/bin/sh", append([]string{script}, args...)...) //nolint:noctx // it ends with the scope
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.user}
	return cmd, nil
}

// log opens the file for a program's output. go test would wait for the end of a pipe.
func (s *scope) log(name string) (*os.File, error) {
	file, err := os.OpenFile(s.logPath(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	return file, nil
}

func (s *scope) logPath(name string) string {
	return s.path("logs", name)
}

// withLog adds the end of a program's output to an error.
func (s *scope) withLog(name string, err error) error {
	return withTail(err, name, s.logPath(name))
}

func withTail(err error, name, log string) error {
	output := tail(log)
	if output == "" {
		return err
	}
	return fmt.Errorf("%w; the last output of %s:\n%s", err, name, output)
}

// tail returns the last lines of a log; "" if it cannot be read.
func tail(log string) string {
	const lines = 25
	content, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// close ends the processes, deletes the folder, and returns when both are done. It may be called again.
func (s *scope) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lifeline == nil {
		return nil
	}
	err := s.lifeline.Close()
	s.lifeline = nil
	_ = s.reaper.Wait() // the check below replaces its exit status
	for _, p := range s.ports {
		err = errors.Join(err, p.close())
	}
	if _, statErr := os.Stat(s.dir); statErr == nil {
		err = errors.Join(err, fmt.Errorf("the reaper did not delete %s", s.dir))
	}
	return err
}

// traversable reports whether any user can reach the files in the folder.
func traversable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// quote quotes a word for a shell.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
