// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"
)

// A process is the built manager as it runs, or ran.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	output  string // the file
	secrets []string
	health  string
	metrics string
	ended   chan struct{}
}

// A launch says how a manager is started.
type launch struct {
	args    []string
	env     []string
	secrets []string // what it must never print, beside all passwords and hashes
}

// begin starts a manager under the rights of config/rbac and does not wait for anything.
func (l launch) begin(t *testing.T) *process {
	t.Helper()
	kubeconfig, err := plane.KubeconfigFor(rights)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, output: filepath.Join(t.TempDir(), "output"), secrets: l.secrets,
		health: freeAddress(t), metrics: freeAddress(t), ended: make(chan struct{}),
	}
	args := append([]string{
		"--kubeconfig=" + kubeconfig, "--leader-election-namespace=" + systemNamespace,
		"--health-probe-bind-address=" + p.health, "--metrics-bind-address=" + p.metrics,
	}, l.args...)
	if p.cmd, err = plane.Command("manager", program, args...); err != nil {
		t.Fatal(err)
	}
	p.cmd.Dir = t.TempDir() // where no settings file is found by chance
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.cmd.Dir}, l.env...)
	output, err := os.Create(p.output)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = output, output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the same is in ProcessState
		_ = output.Close()
		close(p.ended)
	}()
	t.Cleanup(p.finish)
	return p
}

// finish ends a process that a story left running, and reads what it printed.
func (p *process) finish() {
	if p.running() {
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(25 * time.Second):
			p.t.Error("the manager does not end within its grace period")
			p.signal(syscall.SIGKILL)
			<-p.ended
		}
	}
	said := p.said()
	for _, secret := range append(p.secrets, canary) {
		if strings.Contains(said, secret) {
			p.t.Errorf("the manager printed a secret (it begins with %q)", secret[:4])
		}
	}
	if aHashIsIn(said) {
		p.t.Error("the manager printed a hash")
	}
	if strings.Contains(said, "panic:") || strings.Contains(said, "bserved a panic") {
		p.t.Error("the manager printed a panic")
	}
	if p.t.Failed() {
		lines := strings.Split(said, "\n")
		p.t.Logf("the manager said last:\n%s", strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

// aHashIsIn tells whether a text holds what every bcrypt hash begins with.
var aHashIsIn = regexp.MustCompile(`\$2[abxy]?\$\d\d\$`).MatchString

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // who is gone hears nothing

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// exit waits for the end of the process and returns its exit code, or -1 where a signal ended it.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("the manager still runs after %v", within)
		return 0
	}
}

// said is all that the process printed so far.
func (p *process) said() string {
	content, err := os.ReadFile(p.output)
	if err != nil {
		p.t.Error(err)
	}
	return string(content)
}

// probe is the status code of a probe, 0 where nobody answers.
func (p *process) probe(path string) int {
	return get(p.t, "http://"+p.health+path)
}

// get is the status code of an answer, 0 where there is none.
func get(t *testing.T, url string) int {
	t.Helper()
	// A probe may be asked for while the test ends.
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: 2 * time.Second}).Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// ready waits until the process is ready.
func (p *process) ready() *process {
	p.t.Helper()
	gomega.NewWithT(p.t).Eventually(func(g gomega.Gomega) {
		if !p.running() {
			gomega.StopTrying("the manager ended: " + p.said()).Now()
		}
		g.Expect(p.probe("/readyz")).To(gomega.Equal(http.StatusOK))
	}).WithTimeout(30 * time.Second).WithPolling(50 * time.Millisecond).Should(gomega.Succeed())
	return p
}

// scrape asks for the metrics with this token.
func (p *process) scrape(token string) (status int, body string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "https://"+p.metrics+"/metrics", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // self-signed at each start
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
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

// metric is the sum over the metrics of this name, with at least these labels (as they are printed).
func (p *process) metric(name string, labels ...string) (sum float64, found bool) {
	p.t.Helper()
	_, body := p.scrape(scraperToken(p.t))
	line := regexp.MustCompile(`(?m)^` + name + `(\{[^}]*\})? ([0-9.e+-]+)$`)
	for _, match := range line.FindAllStringSubmatch(body, -1) {
		if len(labels) > 0 && !strings.Contains(match[1], labels[0]) {
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum, found = sum+value, true
	}
	return sum, found
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return fmt.Sprint(listener.Addr())
}
