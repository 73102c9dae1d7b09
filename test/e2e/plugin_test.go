// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A shell runs commands of a user: kubectl and the plugin are on its PATH, and the story's namespace is the current one.
type shell struct {
	s      *story
	folder string   // the working directory, with a file dsn.txt
	env    []string // of the commands
}

// newShell returns the shell of a user of the cluster, by default an administrator.
func (s *story) newShell(as ...*rest.Config) *shell {
	s.t.Helper()
	config := plane.Config()
	if len(as) > 0 {
		config = as[0]
	}
	kubeconfig := s.kubeconfig(config)
	sh := &shell{s: s, folder: s.t.TempDir()}
	sh.env = []string{
		"PATH=" + plugins + ":" + filepath.Dir(plane.KubectlPath()) + ":" + os.Getenv("PATH"),
		"HOME=" + sh.folder, "KUBECONFIG=" + kubeconfig,
		"SHARDINGUSER_OPERATOR_NAMESPACE=" + s.namespace, // all stories share the lease in the default namespace
	}
	sh.write("dsn.txt", s.dsn)
	return sh
}

// kubeconfig returns the path of a kubeconfig that connects as config does, with the story's namespace as the current one.
func (s *story) kubeconfig(config *rest.Config) string {
	s.t.Helper()
	path, err := plane.KubeconfigFor(config)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	content, err := clientcmd.LoadFromFile(path)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	content.Contexts[content.CurrentContext].Namespace = s.namespace
	s.Expect(clientcmd.WriteToFile(*content, path)).To(gomega.Succeed())
	return path
}

func (sh *shell) write(name, content string) {
	sh.s.t.Helper()
	sh.s.Expect(os.WriteFile(filepath.Join(sh.folder, name), []byte(content), 0o600)).To(gomega.Succeed())
}

// A result is the exit code and the output of a command.
type result struct {
	code        int
	out, errOut string
}

// run runs a program with this standard input.
func (sh *shell) run(input, name string, args ...string) result {
	sh.s.t.Helper()
	path := name
	for _, variable := range sh.env { // PATH is the shell's, not the test's
		if folders, ok := strings.CutPrefix(variable, "PATH="); ok {
			for _, folder := range filepath.SplitList(folders) {
				if _, err := os.Stat(filepath.Join(folder, name)); err == nil && path == name {
					path = filepath.Join(folder, name)
				}
			}
		}
	}
	cmd := exec.CommandContext(sh.s.t.Context(), path, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = sh.folder, sh.env, strings.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		sh.s.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// plugin runs the program behind `kubectl shardinguser`, and expects no secret in its output. (Commands of pages use kubectl.)
func (sh *shell) plugin(args ...string) result {
	sh.s.t.Helper()
	return sh.discreet(sh.run("", "kubectl-shardinguser", args...))
}

func (sh *shell) discreet(got result) result {
	sh.s.t.Helper()
	all := got.out + got.errOut
	if strings.Contains(all, canary) || aHashIsIn(all) || strings.Contains(all, "password=") {
		sh.s.t.Errorf("the plugin printed a secret:\n%s", all)
	}
	return got
}

// done returns the output of a command that has to succeed.
func (sh *shell) done(args ...string) string {
	sh.s.t.Helper()
	got := sh.plugin(args...)
	sh.s.Expect(got.code).To(gomega.BeZero(), "%v: %s%s", args, got.out, got.errOut)
	return got.out
}

// lines returns the lines of a table, split into columns.
func lines(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

func TestPluginListsAndUnlocksLockedUsers(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p, sh := s.start(), s.newShell()
	s.secret("alice", canary+" alice")
	alice := s.readyUser("alice", secret("alice"), roles("operator", "viewer"))
	s.readyUser("bob", username("bob@example.com"), roles("viewer"))
	s.Expect(lines(sh.done("list"))).To(gomega.Equal([][]string{
		{"NAME", "USERNAME", "STATE", "ROLES", "FAILED", "LAST-LOGIN"},
		{"alice", "alice", "Ready", "operator,viewer", "0"},
		{"bob", "bob@example.com", "Ready", "viewer", "0"},
	}))

	s.locks(p, alice)
	s.Expect(sh.done("list")).To(gomega.MatchRegexp(`alice +alice +Locked until \d{4}-\S+Z`))
	s.Expect(sh.done("list", "--locked", "-o", "name")).To(gomega.Equal("shardinguser.sharding.io/alice\n"))
	s.Expect(sh.done("list", "-A", "--locked", "-o", "name")).To(gomega.ContainSubstring("shardinguser.sharding.io/alice\n"))
	var list v1alpha1.ShardingUserList
	s.Expect(json.Unmarshal([]byte(sh.done("list", "-o", "json")), &list)).To(gomega.Succeed())
	s.Expect(list.Items).To(gomega.HaveLen(2))
	s.Expect(list.Items[0].Status.Locked).To(gomega.BeTrue())
	s.Expect(sh.done("list", "-o", "yaml")).To(gomega.ContainSubstring("locked: true"))
	s.Expect(sh.done("list", "-o", "wide")).To(gomega.MatchRegexp(`SECRET +PERMITTED-BY +WARNINGS +AGE`))

	s.Expect(sh.done("unlock", "alice")).To(gomega.Equal("shardinguser.sharding.io/alice unlocked\n"))
	s.Expect(s.row("alice").Failed).To(gomega.BeZero())
	s.Expect(sh.done("list", "--locked")).To(gomega.BeEmpty())
	status, _ := p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))

	s.locks(p, alice)
	s.Expect(sh.done("unlock", "--all-locked", "-o", "name")).To(gomega.Equal("shardinguser.sharding.io/alice\n"))
	s.isLocked(alice, false)
	s.Expect(sh.plugin("unlock", "alice", "nobody").code).To(gomega.Equal(2), "all named users have to exist")

	s.logins(sh)
	s.completes(sh)
}

// logins checks the audit trail of the story above.
func (s *story) logins(sh *shell) {
	s.t.Helper()
	rows := lines(sh.done("logins", "alice", "--dsn-file", "dsn.txt"))
	s.Expect(rows).To(gomega.HaveLen(12))
	s.Expect(rows[0]).To(gomega.Equal([]string{"TIME", "OUTCOME", "SOURCE", "USER-AGENT"}))
	s.Expect(rows[1][1:3]).To(gomega.Equal([]string{"failed", "127.0.0.1"}))
	var trail struct {
		Username string
		Attempts []struct {
			Time                       time.Time
			Outcome, Source, UserAgent string
		}
	}
	out := sh.done("logins", "alice", "--dsn-file", "dsn.txt", "--outcome", "success", "--since", "1h", "-o", "json")
	s.Expect(json.Unmarshal([]byte(out), &trail)).To(gomega.Succeed())
	s.Expect(trail.Attempts).To(gomega.HaveLen(1))
	s.Expect(trail.Attempts[0].Time).To(gomega.BeTemporally("~", time.Now(), time.Minute))
	sh.env = append(sh.env, "USER_DATABASE_DSN="+s.dsn)
	s.Expect(lines(sh.done("logins", "--username", "alice", "--limit", "3"))).To(gomega.HaveLen(4))
	s.Expect(sh.plugin("logins", "bob").errOut).To(gomega.ContainSubstring("bob@example.com"), "by its username")
}

// completes checks the suggestions when a user presses the tab key.
func (s *story) completes(sh *shell) {
	s.t.Helper()
	// kubectl calls a program of this name with the typed words.
	script, err := os.ReadFile(filepath.Join(root, "config/krew/kubectl_complete-shardinguser"))
	s.Expect(err).NotTo(gomega.HaveOccurred())
	folder := filepath.Join(sh.folder, "bin")
	s.Expect(os.Mkdir(folder, 0o700)).To(gomega.Succeed())
	sh.write("bin/kubectl_complete-shardinguser", string(script))
	s.Expect(os.Chmod(filepath.Join(folder, "kubectl_complete-shardinguser"), 0o700)).To(gomega.Succeed())
	sh.env[0] = strings.Replace(sh.env[0], "PATH=", "PATH="+folder+":", 1)
	complete := func(typed ...string) []string {
		got := sh.run("", "kubectl", append([]string{"__complete", "shardinguser"}, typed...)...)
		s.Expect(got.code).To(gomega.BeZero(), got.errOut)
		return strings.Split(got.out, "\n")
	}
	s.Expect(complete("un")).To(gomega.ContainElement(gomega.HavePrefix("unlock")))
	s.Expect(complete("unlock", "")).To(gomega.ContainElements("alice", "bob"))
	s.Expect(complete("unlock", "alice", "")).To(gomega.And(gomega.ContainElement("bob"), gomega.Not(gomega.ContainElement("alice"))))
	s.Expect(complete("list", "-n", "story-")).To(gomega.ContainElement(s.namespace))
	s.Expect(complete("logins", "alice", "--outcome", "")).To(gomega.ContainElement("success"))
}

func TestPluginLocksAndReadmitsUsers(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	p, sh := s.start(), s.newShell()
	s.secret("alice", canary+" alice")
	s.readyUser("alice", secret("alice"))
	s.Expect(sh.done("lock", "alice", "--until", "24h", "--reason", "a stolen laptop")).To(gomega.ContainSubstring("locked"))
	s.Expect(s.row("alice").Active).To(gomega.BeFalse(), "the command waits for the row")
	status, _ := p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusUnauthorized))
	s.Expect(sh.done("list")).To(gomega.MatchRegexp(`alice +alice +Locked until `))
	s.Expect(sh.done("unlock", "alice", "--reason", "found again")).To(gomega.ContainSubstring("unlocked"))
	s.Expect(s.row("alice").Active).To(gomega.BeTrue())
	s.done(sh, "lock", "alice")
	s.Expect(sh.done("lock", "alice", "--undo", "-o", "yaml")).To(gomega.ContainSubstring("active: true"))
	status, _ = p.logIn("alice", canary+" alice")
	s.Expect(status).To(gomega.Equal(http.StatusOK))

	// The command fails if the operator rejects the change.
	s.readyUser("root", roles("admin"))
	got := sh.plugin("lock", "root")
	s.Expect(got.code).To(gomega.Equal(1))
	s.Expect(got.errOut).To(gomega.ContainSubstring("LastAdministrator"))
	s.Expect(s.row("root").Active).To(gomega.BeTrue())
	s.done(sh, "lock", "root", "--undo")

	// No tool reverts a field that Git does not have, so the plugin names none.
	s.user("carol", func(u *v1alpha1.ShardingUser) {
		u.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "app:sharding.io/ShardingUser:x/carol"}
	})
	got = sh.plugin("lock", "carol")
	s.Expect(got.code).To(gomega.BeZero())
	s.Expect(got.errOut).NotTo(gomega.ContainSubstring("Argo CD"))

	// A paused user would wait in vain.
	s.user("dave", func(u *v1alpha1.ShardingUser) { u.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} })
	s.Expect(sh.plugin("lock", "dave").code).To(gomega.Equal(2))
	s.Expect(sh.plugin("unlock", "dave").errOut).To(gomega.ContainSubstring(v1alpha1.AnnotationPaused + "-"))
}

// done runs a command that has to succeed, and ignores its output.
func (s *story) done(sh *shell, args ...string) { s.t.Helper(); _ = sh.done(args...) }

func TestPluginReportsAMissingOperator(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.user("alice")
	got := s.newShell().plugin("unlock", "alice", "--timeout=1s")
	s.Expect(got.code).To(gomega.Equal(1))
	s.Expect(got.errOut).To(gomega.ContainSubstring("doctor alice"))
}

func TestDoctorReportsProblemsAndRemedies(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.sql(`CREATE TABLE users (username VARCHAR(255) PRIMARY KEY, password_hash VARCHAR(255), roles JSONB NOT NULL DEFAULT '[]',
		active BOOLEAN NOT NULL DEFAULT true, created_at TIMESTAMP DEFAULT now(), updated_at TIMESTAMP DEFAULT now(),
		last_login_at TIMESTAMP, failed_login_attempts INTEGER NOT NULL DEFAULT 0, locked_until TIMESTAMP)`)
	s.sql(`INSERT INTO users (username) VALUES ('theirs')`)
	s.sql(`ALTER TABLE users OWNER TO ` + s.role)
	s.start()
	sh := s.newShell()
	s.readyUser("fine")
	s.Expect(sh.plugin("doctor", "fine").code).To(gomega.BeZero())
	healthy := sh.plugin("doctor")
	s.Expect(healthy.code).To(gomega.BeZero(), healthy.out)
	s.Expect(healthy.out).To(gomega.ContainSubstring("0 of 1 users"))

	s.secret("empty", "")
	for name, tt := range map[string]struct {
		edits []edit
		says  string
	}{
		v1alpha1.ReasonSecretNotFound:  {[]edit{secret("none")}, `(?s)"none" does not exist.*set-password`},
		v1alpha1.ReasonPasswordInvalid: {[]edit{secret("empty")}, `(?s)empty.*set-password`},
		v1alpha1.ReasonRowExists:       {[]edit{username("theirs")}, `IfUnowned`},
		v1alpha1.ReasonUsernameTaken:   {[]edit{username("fine")}, s.namespace + `/fine`},
	} {
		u := s.user(strings.ToLower(name), tt.edits...)
		s.reports(soon, u, name)
		s.eventually(soon, func(g gomega.Gomega) { // an Event follows the status
			got := sh.plugin("doctor", u.Name)
			g.Expect(got.code).To(gomega.Equal(1))
			g.Expect(got.out).To(gomega.MatchRegexp("WRONG +Ready +"+name), u.Name)
			g.Expect(got.out).To(gomega.MatchRegexp(tt.says), u.Name)
			g.Expect(got.out).To(gomega.MatchRegexp("note +Event .* ago, "+name+":"), u.Name)
		})
	}
	all := sh.plugin("doctor", "-o", "json")
	s.Expect(all.code).To(gomega.Equal(1))
	var x struct {
		Healthy  bool
		LookedAt int
		Users    []struct{ Name string }
	}
	s.Expect(json.Unmarshal([]byte(all.out), &x)).To(gomega.Succeed())
	s.Expect(x.LookedAt).To(gomega.Equal(5))
	s.Expect(x.Users).To(gomega.HaveLen(4))
	s.Expect(sh.plugin("doctor", "nobody").code).To(gomega.Equal(2))
}

// For a user that may only read ShardingUsers of one namespace, doctor reports which checks it skipped, and nothing else.
func TestDoctorWorksWithFewRights(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	s.readyUser("fine", secret("none"), func(u *v1alpha1.ShardingUser) { u.Spec.Password = nil })
	s.reports(soon, s.user("wrong", secret("none")), v1alpha1.ReasonSecretNotFound)
	reader := "reader-" + s.namespace
	config, err := plane.User(reader)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(s.kube.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "shardinguser-viewer-role"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: reader}},
	})).To(gomega.Succeed())
	sh := s.newShell(config)
	got := sh.plugin("doctor", "fine")
	s.Expect(got.code).To(gomega.BeZero(), got.out+got.errOut)
	s.Expect(got.out).To(gomega.MatchRegexp(`unknown +Policies `))
	s.Expect(got.out).To(gomega.MatchRegexp(`unknown +Operator `))
	s.Expect(got.out).To(gomega.ContainSubstring("the only one that could be read"))
	got = sh.plugin("doctor", "wrong")
	s.Expect(got.code).To(gomega.Equal(1))
	s.Expect(got.out).To(gomega.MatchRegexp(`unknown +Password .*"none"`))
	s.Expect(sh.plugin("unlock", "fine").code).To(gomega.Equal(2), "unlock needs the right to patch")
	s.Expect(sh.plugin("list", "-A").code).To(gomega.Equal(2))
}
