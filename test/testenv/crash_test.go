// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashVariable makes this test binary start the pair and nginx, tell of it on its standard output, and end in that manner.
const crashVariable = "TESTENV_CRASH"

// pair is what the crashing process tells of what it started.
type pair struct {
	Dirs []string
	PIDs []int
}

func TestNothingOutlivesTheProcessThatStartedIt(t *testing.T) {
	manners := []string{"killed", "panic", "exit", "stop"}
	if testing.Short() {
		manners = manners[:1] // the one in which the process can do nothing for it
	}
	for _, manner := range manners {
		t.Run(manner, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashingProcess$")
			cmd.Env = append(cmd.Environ(), crashVariable+"="+manner, "TEST_DATABASE_DSN=")
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			started := told(t, stdout)
			if err := cmd.Process.Kill(); err != nil && manner == "killed" {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it fails in most of the manners

			if want := 6; len(started.PIDs) < want { // etcd, kube-apiserver, kube-controller-manager, initdb, postgres, nginx
				t.Fatalf("the pair recorded the processes %v, want %d of them", started.PIDs, want)
			}
			deadline := time.Now().Add(30 * time.Second)
			for _, pid := range started.PIDs {
				within(t, deadline, "process "+strconv.Itoa(pid)+" still runs", func() bool {
					return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
				})
			}
			for _, dir := range started.Dirs {
				within(t, deadline, dir+" is still there", func() bool {
					_, err := os.Stat(dir)
					return errors.Is(err, os.ErrNotExist)
				})
			}
		})
	}
}

// told reads what the crashing process tells, which is one line among what the testing package prints.
func told(t *testing.T, output interface{ Read([]byte) (int, error) }) pair {
	t.Helper()
	var said []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		said = append(said, lines.Text())
		var p pair
		if json.Unmarshal(lines.Bytes(), &p) == nil && len(p.Dirs) > 0 {
			return p
		}
	}
	t.Fatalf("the process did not start the pair:\n%s", strings.Join(said, "\n"))
	return pair{}
}

// TestCrashingProcess is no test: it is what TestNothingOutlivesTheProcessThatStartedIt runs.
func TestCrashingProcess(t *testing.T) {
	manner := os.Getenv(crashVariable)
	if manner == "" {
		return
	}
	server := Server(t)
	plane, err := StartControlPlane(t.Context(), WithControllerManager())
	if err != nil {
		t.Fatal(err)
	}
	nginx, err := StartNginx(t.Context(), greeting, nil)
	if err != nil {
		t.Fatal(err)
	}
	var p pair
	for _, s := range []*scope{server.scope, plane.scope, nginx.scope} {
		p.Dirs = append(p.Dirs, s.dir)
		files, err := filepath.Glob(s.path("pids", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
			if err != nil {
				t.Fatal(err)
			}
			p.PIDs = append(p.PIDs, pid)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(p); err != nil {
		t.Fatal(err)
	}
	switch manner {
	case "killed":
		select {} // the other side kills us
	case "panic":
		go panic("as a test may do in any goroutine")
		select {}
	case "exit":
		os.Exit(3)
	case "stop":
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
		for _, dir := range p.Dirs {
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there after Stop: %v", dir, err)
			}
		}
	}
}

// within waits for a condition until the deadline.
func within(t *testing.T, deadline time.Time, otherwise string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Error(otherwise)
			return
		}
		<-tick.C
	}
}
