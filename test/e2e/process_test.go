// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// A process is the built manager as it runs, or ran.
type process struct {
	*testenv.Manager
	site    *site
	t       *testing.T
	secrets []string
}

// A launch says how a manager is started.
type launch struct {
	site    *site  // nil for the one of all stories
	dsn     string // empty for none
	login   string // of a role for log-ins alone; empty for none
	args    []string
	env     []string
	secrets []string // what it must never print, beside all passwords and hashes
}

// begin starts a manager under the rights of config/rbac and does not wait for anything.
func (l launch) begin(t *testing.T) *process {
	t.Helper()
	if l.site == nil {
		l.site = plane
	}
	m, err := l.site.StartManager(testenv.ManagerOptions{
		Program: program, Rights: l.site.rights, DSN: l.dsn, LoginDSN: l.login,
		Args: append([]string{"--leader-election-namespace=" + systemNamespace}, l.args...),
		Env:  append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, l.env...),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Manager: m, site: l.site, t: t, secrets: l.secrets}
	t.Cleanup(p.finish)
	return p
}

// finish ends a process that a story left running, and reads what it printed.
func (p *process) finish() {
	p.Signal(syscall.SIGCONT)
	if err := p.Stop(25 * time.Second); err != nil {
		p.t.Error(err)
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
		p.t.Logf("the manager said last:\n%s", p.Tail())
	}
}

// aHashIsIn tells whether a text holds what every bcrypt hash begins with, or every print that stands for one.
var aHashIsIn = regexp.MustCompile(`[$!]2[abxy]?\$\d\d\$|[$!]hmac\$`).MatchString

// exit waits for the end of the process and returns its exit code, or -1 where a signal ended it.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Ended():
		return p.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("the manager still runs after %v", within)
		return 0
	}
}

// said is all that the process printed so far.
func (p *process) said() string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		p.t.Error(err)
	}
	return string(content)
}

// probe is the status code of a probe, 0 where nobody answers.
func (p *process) probe(path string) int {
	// It may be asked for while the test ends.
	return p.Probe(context.WithoutCancel(p.t.Context()), path)
}

// ready waits until the process is ready.
func (p *process) ready() *process {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// scrape asks for the metrics with this token.
func (p *process) scrape(token string) (status int, body string) {
	p.t.Helper()
	return p.Scrape(p.t.Context(), token)
}

// metric is the sum over the metrics of this name, with at least these labels (as they are printed).
func (p *process) metric(name string, labels ...string) (sum float64, found bool) {
	p.t.Helper()
	token, err := p.site.scraper()
	if err != nil {
		p.t.Fatal(err)
	}
	_, body := p.scrape(token)
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
