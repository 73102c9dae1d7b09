// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A typed command is a command on a page, with the output that the page shows: "" for none, and "..." for lines that
// the page omits.
type typed struct{ command, prints string }

// section returns the commands under a heading of a page of the documentation, or on the whole page without a heading.
func (s *story) section(page, heading string) (commands []typed) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", page))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	text := string(content)
	if heading != "" {
		_, after, found := strings.Cut(text, "\n## "+heading+"\n")
		s.Expect(found).To(gomega.BeTrue(), "%s has no heading %q", page, heading)
		text, _, _ = strings.Cut(after, "\n## ")
	}
	for _, block := range regexp.MustCompile("(?ms)^( *)```console\n(.*?)^ *```$").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[2]) {
			line = strings.TrimPrefix(line, block[1]) // a block may be part of a list
			last := len(commands) - 1
			switch command, isCommand := strings.CutPrefix(line, "$ "); {
			case isCommand:
				commands = append(commands, typed{command: command})
			case commands[last].prints == "" && strings.HasSuffix(commands[last].command, "\\\n"):
				commands[last].command += line
			default:
				commands[last].prints += line
			}
		}
	}
	s.Expect(commands).NotTo(gomega.BeEmpty(), "%s has no commands: is it still read right?", page)
	return commands
}

// same normalizes output for comparison: it replaces times, random characters, column widths, and the
// namespace.
func (s *story) same(text string) string {
	for _, replace := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`, "UID"},
		{`\b(\d+[dhms])+\b`, "AGO"},
		{`(?m)^[A-Za-z0-9]{24}$`, "RANDOM"},
		{regexp.QuoteMeta(s.namespace), "team-a"},
		{` +`, " "},
		{`(?m) $`, ""},
	} {
		text = regexp.MustCompile(replace.pattern).ReplaceAllString(text, replace.with)
	}
	return text
}

// follow runs the commands one after another, and compares their output with the page.
func (sh *shell) follow(commands []typed) {
	sh.s.t.Helper()
	code := 0
	for i, c := range commands {
		// Each command has a shell of its own, which begins with the exit code of the previous command.
		got := sh.run("", "bash", "-c", "exec 2>&1; (exit "+strconv.Itoa(code)+"); "+c.command)
		code = got.code
		asked := i+1 < len(commands) && strings.HasPrefix(commands[i+1].command, "echo $?")
		sh.s.Expect(code == 0 || asked).To(gomega.BeTrue(), "%s ends with %d:\n%s", c.command, code, got.out)
		if c.prints == "" {
			continue
		}
		want := "^" + regexp.QuoteMeta(sh.s.same(c.prints)) + "$"
		want = strings.ReplaceAll(want, regexp.QuoteMeta("...\n"), "(?s:.*)")
		sh.s.Expect(sh.s.same(got.out)).To(gomega.MatchRegexp(want), c.command)
	}
}

// sqlOf returns the SQL statements of a page.
func (s *story) sqlOf(page string) (statements []string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", page))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for statement := range strings.Lines(block[1]) {
			statements = append(statements, statement)
		}
	}
	s.Expect(statements).NotTo(gomega.BeEmpty())
	return statements
}

func TestMovingInAndOutFollowsTheGuide(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.theirs(0)
	s.sql(`INSERT INTO users (username, password_hash, roles, active, failed_login_attempts, locked_until, last_login_at) VALUES
		('alice', $1, '["operator", "viewer"]', true, 5, now() + interval '1 day', now()),
		('Bob@example.com', $2, '["viewer"]', false, 2, NULL, NULL), ('carol', 'md5 of something', '[]', true, 0, NULL, NULL)`,
		aHash, strings.Replace(aHash, "$10$", "$12$", 1))
	before := s.state()
	s.start()
	sh := s.newShell()
	sh.follow(s.section("import.md", "Moving in"))
	s.Expect(s.users()).To(gomega.HaveLen(3))
	s.Expect(s.state()).To(gomega.Equal(before))

	// By now the operator owns the accounts.
	s.sql(`UPDATE users SET active = true WHERE username = 'Bob@example.com'`)
	s.eventually(soon, func(g gomega.Gomega) { g.Expect(s.row("Bob@example.com").Active).To(gomega.BeFalse()) })

	for _, u := range s.users() { // as for users that were not imported
		s.edit(&u, deletion(v1alpha1.DeletionDelete))
	}
	sh.follow(s.section("import.md", "Leaving"))
	s.Expect(s.users()).To(gomega.BeEmpty())
	s.Expect(s.state()).To(gomega.Equal(before))

	for _, statement := range s.sqlOf("import.md") {
		s.sql(statement)
	}
	var left int
	s.Expect(s.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND
		relkind = 'r' AND relname <> 'users') + (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass) +
		(SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace)`).Scan(&left)).To(gomega.Succeed())
	s.Expect(left).To(gomega.BeZero(), "no object of the operator is left")
	s.Expect(s.state()).To(gomega.Equal(before))
}

// databaseSecret is held by the test of a page that creates the Secret of the DSN, since its name and namespace are those of the page.
var databaseSecret sync.Mutex

// createsDatabaseSecret waits until no other test has that Secret, and deletes it when the test ends.
func (s *story) createsDatabaseSecret() {
	s.t.Helper()
	databaseSecret.Lock()
	s.t.Cleanup(func() {
		defer databaseSecret.Unlock()
		if _, err := plane.Kubectl(context.WithoutCancel(s.t.Context()), "-n", systemNamespace, "delete", "secret", "shardinguser-database"); err != nil {
			s.t.Error(err)
		}
	})
}

func TestMigrationFromMemoryFollowsTheGuide(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	memory := s.serving(s.startInMemory())
	sh := s.newShell()
	s.secret("alice-password", canary+" alice")
	alice := s.readyUser("alice", secret("alice-password"), roles("operator"))
	s.readyUser("bob", roles("viewer"))
	s.locks(memory, alice)
	s.Expect(os.Symlink(filepath.Join(root, "config"), filepath.Join(sh.folder, "config"))).To(gomega.Succeed())
	s.createsDatabaseSecret()

	steps := s.section("import.md", "From the in-memory store")
	apply := slices.IndexFunc(steps, func(c typed) bool { return strings.HasPrefix(c.command, "kubectl apply") })
	s.Expect(apply).To(gomega.BeNumerically(">", 0))
	sh.follow(steps[:apply+1])
	// The Deployment would do this by now.
	memory.Signal(syscall.SIGTERM)
	s.Expect(memory.exit(20 * time.Second)).To(gomega.BeZero())
	p := s.start()
	s.eventually(soon, func(g gomega.Gomega) { // the statuses may still be those of before
		g.Expect(s.row("alice")).NotTo(gomega.BeNil()) // the table may not exist yet
		g.Expect(s.row("bob")).NotTo(gomega.BeNil())
		g.Expect(s.kube.Get(t.Context(), key(alice), alice)).To(gomega.Succeed())
		var isLocked bool
		g.Expect(s.db.QueryRow(t.Context(), "SELECT locked_until IS NOT NULL FROM users WHERE username = 'alice'").Scan(&isLocked)).To(gomega.Succeed())
		g.Expect(isLocked).To(gomega.BeFalse(), "the lock of failed attempts is not migrated")
	})
	sh.follow(steps[apply+1:])
	value, found := p.metric("shardinguser_in_memory_store")
	s.Expect(found && value != 0).To(gomega.BeFalse(), "the metric reports the memory mode")

	made, err := os.ReadFile(filepath.Join(sh.folder, "bob.txt"))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	for username, password := range map[string]string{"alice": canary + " alice", "bob": strings.TrimSuffix(string(made), "\n")} {
		status, _ := p.logIn(username, password)
		s.Expect(status).To(gomega.Equal(http.StatusOK), username)
	}
}

func TestPluginOutputMatchesItsPage(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p, sh := s.start(), s.newShell()
	sh.env = append(sh.env, "NEW_PASSWORD="+canary+" for alice from now on")
	s.secret("alice-password", canary+" alice")
	alice := s.readyUser("alice", secret("alice-password"), roles("operator"))
	s.readyUser("bob", username("bob@example.com"), roles("viewer"), func(u *v1alpha1.ShardingUser) { u.Spec.Active = new(false) })
	s.reports(soon, s.user("carol", secret("carol-password"), roles("viewer")), v1alpha1.ReasonSecretNotFound)
	p.logIn("alice", canary+" alice")
	s.locks(p, alice)
	s.eventually(soon, func(g gomega.Gomega) { // the last login is reported with a delay
		g.Expect(s.kube.Get(t.Context(), key(alice), alice)).To(gomega.Succeed())
		g.Expect(alice.Status.LastLoginTime).NotTo(gomega.BeNil())
	})
	commands := s.section("plugin.md", "")
	sh.follow(commands)
	s.isPassword("alice", canary+" for alice from now on")

	// The page has each command.
	var all strings.Builder
	for _, c := range commands {
		all.WriteString(c.command)
	}
	for _, name := range []string{"list", "doctor", "logins", "unlock", "lock", "set-password", "import", "completion"} {
		s.Expect(all.String()).To(gomega.MatchRegexp(`shardinguser `+name+`\b`), "the page omits it")
	}
}
