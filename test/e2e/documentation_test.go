// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A block is the text between fences on a page. The test runs `sh`, and runs `sql` as an administrator. It writes `yaml` to the
// file that its first comment names. It ignores `console` and `text`.
type block struct {
	line     int
	language string
	text     string
	excuse   string // why it cannot run here: the page's comment "not run:" just before the block
}

// blocks returns the blocks of a page, in their order.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("^ *```")
	excuse := regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
	var all []block
	var current *block
	excused, indent := "", ""
	for i, line := range strings.Split(string(content), "\n") {
		switch {
		case current == nil && fence.MatchString(line):
			current = &block{line: i + 1, language: strings.TrimLeft(line, " `"), excuse: excused}
			excused, indent = "", line[:strings.Index(line, "`")]
		case current != nil && fence.MatchString(line):
			all = append(all, *current)
			current = nil
		case current != nil:
			current.text += strings.TrimPrefix(line, indent) + "\n" // a block may be part of a list
		case strings.TrimSpace(line) == "": // between the comment and its block
		case excuse.MatchString(line):
			excused = excuse.FindStringSubmatch(line)[1]
		default:
			excused = ""
		}
	}
	if current != nil {
		t.Errorf("%s:%d: the block is not closed", page, current.line)
	}
	return all
}

// A reader follows a page as a cluster administrator whose current namespace is the story's. Its working directory looks
// like the root of the repository.
type reader struct {
	*story
	page string
	dir  string
	env  []string
}

// read begins a story for a page. Its manager serves logins in place of the manifests' Service.
func (s *story) read(page string, p *process) *reader {
	s.t.Helper()
	r := &reader{story: s, page: page, dir: s.t.TempDir()}
	entries, err := os.ReadDir(root)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			s.Expect(os.Symlink(filepath.Join(root, entry.Name()), filepath.Join(r.dir, entry.Name()))).To(gomega.Succeed())
		}
	}
	kubeconfig := s.kubeconfig(plane.Config())
	home := s.t.TempDir()
	// The Service's name resolves to this manager.
	service := fmt.Sprintf("%s-login.%s", account, systemNamespace)
	s.Expect(os.WriteFile(filepath.Join(home, ".curlrc"), fmt.Appendf(nil, "connect-to = %s:443:%s\nsilent\nshow-error\n", service, p.Login), 0o600)).
		To(gomega.Succeed())
	r.env = []string{
		"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + plugins + ":" + filepath.Dir(plane.KubectlPath()) + ":" + os.Getenv("PATH"),
		"ADMIN_DSN=" + s.db.Config().ConnString(), "LC_ALL=C",
	}
	return r
}

// all runs all blocks of the page, in order.
func (r *reader) all() {
	r.t.Helper()
	run := 0
	for _, b := range blocks(r.t, r.page) {
		if done, _ := r.do(b); done {
			run++
		}
	}
	r.Expect(run).To(gomega.BeNumerically(">", 0), "%s says nothing that could be done", r.page)
}

// do runs one block and returns its output.
func (r *reader) do(b block) (done bool, printed string) {
	r.t.Helper()
	file := regexp.MustCompile(`^# ([a-z0-9.-]+\.yaml)\n`)
	at := fmt.Sprintf("%s:%d", r.page, b.line)
	switch name := file.FindStringSubmatch(b.text); {
	case b.excuse != "":
	case b.language == "sh":
		return true, r.shell(at, b.text)
	case b.language == "sql":
		_, err := r.db.Exec(r.t.Context(), b.text)
		r.Expect(err).NotTo(gomega.HaveOccurred(), at)
		return true, ""
	case b.language == "yaml" && name != nil:
		r.Expect(os.WriteFile(filepath.Join(r.dir, name[1]), []byte(b.text), 0o600)).To(gomega.Succeed())
	}
	return false, ""
}

// shell runs a block. Exported variables are kept for the next block.
func (r *reader) shell(at, script string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	state := filepath.Join(r.dir, ".exported")
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c",
		"if [[ -f "+state+" ]]; then source "+state+"; fi\n"+script+"\nexport -p >"+state)
	cmd.Dir, cmd.Env = r.dir, r.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s: %v\n%s\n%s", at, err, script, out.String())
	}
	return out.String()
}

// pages are the pages whose commands run here, each with the setup that it requires.
var pages = map[string]func(*reader){
	"README.md": func(r *reader) {
		r.Expect(os.WriteFile(filepath.Join(r.dir, "dsn.txt"), []byte("postgres://nobody@db.example.com/sharding\n"), 0o600)).To(gomega.Succeed())
		r.createsDatabaseSecret()
	},
	"docs/gitops.md":            func(*reader) {},
	"docs/high-availability.md": func(*reader) {},
	"docs/lockouts.md": func(r *reader) {
		alice := r.readyUser("alice")
		r.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '15 minutes'`)
		r.eventually(soon, func(g gomega.Gomega) {
			g.Expect(r.kube.Get(r.t.Context(), key(alice), alice)).To(gomega.Succeed())
			g.Expect(alice.Status.Locked).To(gomega.BeTrue())
		})
	},
	"docs/monitoring.md": func(*reader) {},
	"docs/operations.md": func(r *reader) {
		r.readyUser("alice")
		r.kubectl("-n", systemNamespace, "create", "secret", "generic", "admin-password", "--from-literal=password="+canary)
		r.t.Cleanup(func() {
			_, _ = plane.Kubectl(context.WithoutCancel(r.t.Context()), "-n", systemNamespace, "delete", "secret", "admin-password")
		})
	},
	"docs/rotate.md": func(r *reader) {
		r.allowGeneration(r.namespace) // the page requires config/generated-passwords
		r.user("alice", secret("alice-password"))
		r.secret("old", aHash)
		u := r.readyUser("old", secret("old"), hashed, maxAge(time.Hour))
		r.sql(`UPDATE shardinguser_ownership SET password_changed_at = now() - interval '2 hours' WHERE username = 'old'`)
		r.edit(u, roles("viewer"))
		r.eventually(soon, func(g gomega.Gomega) {
			g.Expect(r.kube.Get(r.t.Context(), key(u), u)).To(gomega.Succeed())
			g.Expect(u.Status.Conditions).To(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionPasswordExpired)))
		})
	},
	"docs/tokens.md": func(r *reader) {
		r.readyUser("alice")
		r.t.Cleanup(func() {
			_, _ = plane.Kubectl(context.WithoutCancel(r.t.Context()), "-n", systemNamespace, "delete", "secret", "shardinguser-jwt")
		})
	},
	"docs/troubleshooting.md": func(r *reader) { r.readyUser("alice") },
	"docs/upgrade.md":         func(*reader) {},
}

// elsewhere lists pages whose commands or SQL run in other packages.
var elsewhere = map[string]string{
	"docs/argocd.md":                      "test/gitops",
	"docs/backup-and-restore.md":          "internal/controller",
	"docs/beside-the-sharding-manager.md": "test/e2e",
	"docs/audit.md":                       "internal/store/postgres",
	"docs/database.md":                    "internal/store/postgres",
	"docs/import.md":                      "test/e2e",
	"docs/install.md":                     "test/chart",
	"docs/moves.md":                       "test/e2e",
	"docs/plugin.md":                      "test/e2e",
	"docs/security.md":                    "internal/store/postgres",
	"docs/systems.md":                     "test/chart",
	"docs/uninstall.md":                   "test/chart",
}

func TestDocumentedCommandsWork(t *testing.T) {
	t.Parallel()
	for page, given := range pages {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			r := s.read(page, s.start())
			given(r)
			r.all()
		})
	}
}

// A new command on a page has to run in a test, or the page says why not.
func TestEveryPageWithCommandsIsTested(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(found, filepath.Join(root, "README.md")) {
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks(t, page) {
			_, here := pages[page]
			_, there := elsewhere[page]
			switch {
			case b.language == "":
				t.Errorf("%s:%d: a block without a language; sh is run, console and text are shown", page, b.line)
			case (b.language == "sh" || b.language == "sql") && b.excuse == "" && !here && !there:
				t.Errorf("%s:%d: no test runs this block; add the page to pages", page, b.line)
			}
		}
	}
}
