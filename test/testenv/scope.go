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

// reaperScript waits for the end of its standard input, then ends every process whose id is a file's content in the
// folder $1/pids, and removes the folder $1.
//
// The rename comes first: from then on no further program can start, since none can record its id. SIGQUIT ends
// Postgres at once yet cleanly (it gives its shared memory back), and the Go programs just as fast; SIGKILL is for what
// is left after five seconds. Each program leads a process group of its own, and it is the group that is signalled: so
// its children go too, and an id that was used again by some other program, which is hardly a group's leader, is safe.
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

// A scope is a temporary folder, the processes that were started from it and their ports: they end together.
//
// What ends them is a child of ours, the reaper: a shell in a process group of its own that holds the reading end of a
// pipe. We alone hold the writing end, which closes in close, or by the kernel's hand when we are gone, whichever way we
// went. So there is one way to clean up, and every clean stop exercises it.
type scope struct {
	dir string
	// user is whom the processes run as; nil means as ourselves.
	user *syscall.Credential

	mu       sync.Mutex
	names    map[string]int
	ports    []*port
	lifeline *os.File
	reaper   *exec.Cmd
}

// newScope makes the folder, which belongs to user, and starts its reaper.
func newScope(name string, user *syscall.Credential) (_ *scope, err error) {
	dir, err := os.MkdirTemp(folderFor(user), "shardinguser-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
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

	reading, writing, err := os.Pipe() // close-on-exec: none of our children holds either end, but for the reaper
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = reading.Close() }()
	//nolint:noctx // it has to outlive every context, and us
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

// folderFor returns the folder for the scopes of a user; "" is the default one. Tests use memory if there is enough: a database is
// three hundred files, and creating one on a disk takes ten times as long. TMPDIR overrides that, and benchmarks measure a disk.
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

// path is a file in the scope's folder.
func (s *scope) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// mkdir makes a folder in the scope's folder that the processes may write to.
func (s *scope) mkdir(name string) error {
	if err := os.Mkdir(s.path(name), 0o700); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	return s.own(s.path(name))
}

// write makes a file in the scope's folder that the processes may read.
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
		return fmt.Errorf("hand a temporary file over: %w", err)
	}
	return nil
}

// port is one for a process of the scope, kept until the scope ends.
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

// wrap returns a script that records its process id for the reaper and then becomes the program at path. The id has to
// be known to the reaper before the program runs, and envtest, which starts some of them, tells nobody. The environment
// (NAME=value) is added to this process's.
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

// newest is what the newest script for a program of that name is called. The caller holds the mutex.
func (s *scope) newest(name string) string {
	if n := s.names[name]; n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	return name
}

// arguments are those that a program of that name was last started with. None of them may hold a line break.
func (s *scope) arguments(name string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := os.ReadFile(s.path("run", s.newest(name)+".args"))
	if err != nil {
		return nil, fmt.Errorf("find the arguments of %s: %w", name, err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n"), nil
}

// pid is the process id of the program of that name that was last started.
func (s *scope) pid(name string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, err := os.ReadFile(s.path("pids", s.newest(name)))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// command is exec.Command for a program that ends with the scope.
func (s *scope) command(name, path string, args ...string) (*exec.Cmd, error) {
	script, err := s.wrap(name, path)
	if err != nil {
		return nil, err
	}
	// A shell reads the script: a file that was just written cannot always be executed ("text file busy").
	cmd := exec.Command("/bin/sh", append([]string{script}, args...)...) //nolint:noctx // it ends with the scope
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.user}
	return cmd, nil
}

// log opens the file for a program's output. It is a file and no pipe, so that go test does not wait for its end.
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

// withLog adds the end of a program's output to an error that tells of its failure.
func (s *scope) withLog(name string, err error) error {
	return withTail(err, name, s.logPath(name))
}

func withTail(err error, name, log string) error {
	said := tail(log)
	if said == "" {
		return err
	}
	return fmt.Errorf("%w; %s said last:\n%s", err, name, said)
}

// tail is the last lines of a log; empty where it cannot be read.
func tail(log string) string {
	const lines = 25
	content, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// close ends the processes, removes the folder, and returns when both is done. It may be called again.
func (s *scope) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lifeline == nil {
		return nil
	}
	err := s.lifeline.Close()
	s.lifeline = nil
	_ = s.reaper.Wait() // its exit status tells nothing: what counts is whether the folder is gone
	for _, p := range s.ports {
		err = errors.Join(err, p.close())
	}
	if _, statErr := os.Stat(s.dir); statErr == nil {
		err = errors.Join(err, fmt.Errorf("the reaper left %s behind", s.dir))
	}
	return err
}

// traversable tells whether any user may reach what lies in the folder.
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

// quote makes a word of a shell's command line.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
