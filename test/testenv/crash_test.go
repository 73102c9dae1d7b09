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

// crashVariable makes this test binary start the servers, print a pair to its standard output, and end in that manner.
const crashVariable = "TESTENV_CRASH"

// pair describes what the crashing process started.
type pair struct {
	Dirs []string
	PIDs []int
}

func TestServersEndWithTheProcessThatStartedThem(t *testing.T) {
	manners := []string{"killed", "panic", "exit", "stop"}
	if testing.Short() {
		manners = manners[:1] // in which the process cannot clean up
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
			started := readPair(t, stdout)
			if err := cmd.Process.Kill(); err != nil && manner == "killed" {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it fails in most manners

			if want := 6; len(started.PIDs) < want { // etcd, kube-apiserver, kube-controller-manager, initdb, postgres, nginx
				t.Fatalf("the pair recorded the processes %v, want %d", started.PIDs, want)
			}
			deadline := time.Now().Add(30 * time.Second)
			for _, pid := range started.PIDs {
				within(t, deadline, "process "+strconv.Itoa(pid)+" still runs", func() bool {
					return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
				})
			}
			for _, dir := range started.Dirs {
				within(t, deadline, dir+" still exists", func() bool {
					_, err := os.Stat(dir)
					return errors.Is(err, os.ErrNotExist)
				})
			}
		})
	}
}

// readPair returns the pair that the crashing process prints, one line in the output of the testing package.
func readPair(t *testing.T, output interface{ Read([]byte) (int, error) }) pair {
	t.Helper()
	var printed []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		printed = append(printed, lines.Text())
		var p pair
		if json.Unmarshal(lines.Bytes(), &p) == nil && len(p.Dirs) > 0 {
			return p
		}
	}
	t.Fatalf("the process did not start the pair:\n%s", strings.Join(printed, "\n"))
	return pair{}
}

// TestCrashingProcess is not a test: TestServersEndWithTheProcessThatStartedThem runs it in another process.
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
		select {} // the parent process kills this one
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
				t.Errorf("%s still exists after Stop: %v", dir, err)
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
