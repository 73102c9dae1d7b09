// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// A screen is a pseudo-terminal that records its output.
type screen struct {
	master, slave *os.File
	drained       chan struct{} // closed when all output is read and the slave is closed
	mu            sync.Mutex
	seen          bytes.Buffer
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{master: master, slave: slave, drained: make(chan struct{})}
	t.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	go func() { defer close(s.drained); _, _ = io.Copy(s, master) }()
	return s
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.Write(p)
}

func (s *screen) shows() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.String()
}

// A prompt is the output to wait for before the input.
type prompt struct{ shows, typed string }

const (
	enter     = "\n"
	interrupt = "\x03"
	quit      = "\x1c"
)

// talk runs the plugin at a terminal with these inputs, and returns its exit code and all output.
func (sh *shell) talk(args []string, prompts ...prompt) (code int, seen string) {
	sh.s.t.Helper()
	at := newScreen(sh.s.t)
	cmd := exec.CommandContext(sh.s.t.Context(), plugins+"/kubectl-shardinguser", args...)
	cmd.Dir, cmd.Env = sh.folder, sh.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = at.slave, at.slave, at.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	sh.s.Expect(cmd.Start()).To(gomega.Succeed())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // the exit code is read below
	for _, p := range prompts {
		sh.s.Eventually(at.shows).WithTimeout(soon).WithPolling(poll).Should(gomega.ContainSubstring(p.shows))
		// The prompt appears before the plugin turns the echo off.
		hides := strings.Contains(p.shows, "assword") || strings.Contains(p.shows, "Repeat")
		sh.s.Eventually(func() bool {
			state, err := unix.IoctlGetTermios(int(at.slave.Fd()), unix.TCGETS)
			return err == nil && (state.Lflag&unix.ECHO == 0) == hides
		}).WithTimeout(soon).WithPolling(poll).Should(gomega.BeTrue())
		_, err := at.master.WriteString(p.typed)
		sh.s.Expect(err).NotTo(gomega.HaveOccurred())
	}
	select {
	case <-ended:
	case <-time.After(soon):
		sh.s.t.Fatalf("the plugin still waits, after\n%s", at.shows())
	}
	// Output is read in order: when the end marker appears, all output of the plugin was read.
	const end = "[the plugin has ended]"
	_, err := at.slave.WriteString(end)
	sh.s.Expect(err).NotTo(gomega.HaveOccurred())
	sh.s.Eventually(at.shows).WithTimeout(soon).WithPolling(poll).Should(gomega.HaveSuffix(end))
	state, err := unix.IoctlGetTermios(int(at.slave.Fd()), unix.TCGETS)
	sh.s.Expect(err).NotTo(gomega.HaveOccurred())
	sh.s.Expect(state.Lflag&unix.ECHO).NotTo(gomega.BeZero(), "the terminal echoes input again")
	sh.s.Expect(at.slave.Close()).To(gomega.Succeed())
	sh.s.Eventually(at.drained).WithTimeout(soon).Should(gomega.BeClosed())
	return cmd.ProcessState.ExitCode(), at.shows()
}

func TestTypedPasswordIsNotEchoed(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.secret("alice", canary+" before")
	s.user("alice", secret("alice"))
	s.user("bob")
	sh := s.newShell()

	code, seen := sh.talk([]string{"set-password", "alice"},
		prompt{"New password of alice: ", canary + " typed" + enter}, prompt{"Repeat: ", canary + " typed" + enter})
	s.Expect(code).To(gomega.BeZero(), seen)
	s.Expect(seen).To(gomega.And(gomega.ContainSubstring("Strength: "), gomega.Not(gomega.ContainSubstring(canary))))
	s.Expect(s.value("alice")).To(gomega.Equal(canary + " typed"))

	code, seen = sh.talk([]string{"set-password", "alice"},
		prompt{"New password of alice: ", canary + " typed" + enter}, prompt{"Repeat: ", canary + " tpyed" + enter})
	s.Expect(code).To(gomega.Equal(2))
	s.Expect(seen).To(gomega.And(gomega.ContainSubstring("the two passwords differ"), gomega.Not(gomega.ContainSubstring(canary))))
	s.Expect(s.value("alice")).To(gomega.Equal(canary + " typed"))

	// An interrupt changes nothing.
	for _, key := range []string{interrupt, quit} {
		code, seen = sh.talk([]string{"set-password", "alice"}, prompt{"New password of alice: ", canary + key})
		s.Expect(code).To(gomega.Equal(2))
		s.Expect(seen).To(gomega.And(gomega.ContainSubstring("interrupted"), gomega.Not(gomega.ContainSubstring(canary))))
	}
	code, seen = sh.talk([]string{"set-password", "bob"}, prompt{"[y/N] ", interrupt})
	s.Expect(code).To(gomega.Equal(2), seen)
	code, seen = sh.talk([]string{"set-password", "bob", "--stdin"}, prompt{"[y/N] ", "y" + enter}, prompt{"[y/N] ", interrupt})
	s.Expect(code).To(gomega.Equal(2), seen)
	s.Expect(s.value("alice")).To(gomega.Equal(canary + " typed"))

	// The plugin asks before it adds spec.password.
	code, seen = sh.talk([]string{"set-password", "bob"}, prompt{"[y/N] ", "no" + enter})
	s.Expect(code).To(gomega.Equal(1), seen)
	code, seen = sh.talk([]string{"set-password", "bob"}, prompt{"[y/N] ", "y" + enter},
		prompt{"New password of bob: ", canary + " bob" + enter}, prompt{"Repeat: ", canary + " bob" + enter})
	s.Expect(code).To(gomega.BeZero(), seen)
	s.Expect(s.value("bob-password")).To(gomega.Equal(canary + " bob"))
}
