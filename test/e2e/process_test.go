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

// A process is the built manager, running or ended.
type process struct {
	*testenv.Manager
	site    *site
	t       *testing.T
	secrets []string
}

// A launch configures how a manager is started.
type launch struct {
	site    *site  // nil for the site that all stories share
	dsn     string // empty for none
	login   string // of a role for logins only; empty for none
	args    []string
	env     []string
	secrets []string // secrets that must not be in the output, besides all passwords and hashes
}

// begin starts a manager with the rights of config/rbac, without waiting.
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

// finish stops a process that a story left running, and checks its output.
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
		p.t.Logf("the last output of the manager:\n%s", p.Tail())
	}
}

// aHashIsIn reports whether a text contains the prefix of a bcrypt hash, or of a stand-in hash.
var aHashIsIn = regexp.MustCompile(`[$!]2[abxy]?\$\d\d\$|[$!]hmac\$`).MatchString

// exit waits for the end of the process and returns its exit code, or -1 if a signal ended it.
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

// said returns the output of the process so far.
func (p *process) said() string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		p.t.Error(err)
	}
	return string(content)
}

// probe returns the status code of a probe, or 0 without a response.
func (p *process) probe(path string) int {
	// A test may call this while it ends.
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

// scrape requests the metrics with this token.
func (p *process) scrape(token string) (status int, body string) {
	p.t.Helper()
	return p.Scrape(p.t.Context(), token)
}

// metric returns the sum of the metrics of this name that have at least these labels (as printed).
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
