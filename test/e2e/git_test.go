// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// A committer keeps manifests in Git and applies them with kubectl, in the story's namespace.
type committer struct {
	*story
}

// in returns the committer for a subtest.
func (c *committer) in(t *testing.T) *committer {
	t.Helper()
	s := *c.story
	s.t, s.WithT = t, gomega.NewWithT(t)
	return &committer{&s}
}

// manifest returns a ShardingUser with these lines in its spec and optional annotations. Its label groups the manifests of a commit.
func (c *committer) manifest(label, name, annotations string, spec ...string) string {
	return "---\napiVersion: sharding.io/v1alpha1\nkind: ShardingUser\nmetadata:\n  name: " + name + "\n  labels: {app: " + label + "}\n  annotations: {" +
		annotations + "}\nspec:\n  " + strings.Join(spec, "\n  ") + "\n"
}

// try runs kubectl with manifests as its standard input, and returns its output.
func (c *committer) try(manifests string, args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), plane.KubectlPath(), append([]string{"--namespace=" + c.namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+plane.Kubeconfig(), "KUBECTL_APPLYSET=true", "KUBECACHEDIR="+c.t.TempDir())
	cmd.Stdin = strings.NewReader(manifests)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// run is try for commands that have to succeed.
func (c *committer) run(manifests string, args ...string) string {
	c.t.Helper()
	out, err := c.try(manifests, args...)
	c.Expect(err).NotTo(gomega.HaveOccurred(), out)
	return out
}

func (c *committer) apply(manifests string, args ...string) string {
	c.t.Helper()
	return c.run(manifests, append([]string{"apply", "--filename=-"}, args...)...)
}

// prune applies the manifests with the label, and prunes resources with the label that are no longer in Git.
func (c *committer) prune(label, manifests string) string {
	c.t.Helper()
	return c.apply(manifests, "--prune", "--selector=app="+label, "--prune-allowlist=sharding.io/v1alpha1/ShardingUser")
}

func (c *committer) synced(name string) *v1alpha1.ShardingUser {
	c.t.Helper()
	u := c.resource(name)
	c.reports(soon, u, v1alpha1.ReasonSynced)
	return u
}

// hasRoles waits until the row has these roles.
func (c *committer) hasRoles(username string, roles ...string) {
	c.t.Helper()
	c.eventually(soon, func(g gomega.Gomega) {
		var live []string
		g.Expect(json.Unmarshal([]byte(c.row(username).Roles), &live)).To(gomega.Succeed())
		g.Expect(live).To(gomega.ConsistOf(roles))
	})
}

// used gives the account a history of logins, and returns its row.
func (c *committer) used(username string) *row {
	c.t.Helper()
	c.sql(`UPDATE users SET failed_login_attempts = 3, last_login_at = '2026-01-31 12:00:00' WHERE username = $1`, username)
	return c.row(username)
}

// keeps expects that the account is unchanged, with its password and its history.
func (c *committer) keeps(username string, before *row) {
	c.t.Helper()
	after := c.row(username)
	c.Expect(after.Hash).To(gomega.Equal(before.Hash))
	c.Expect(after.Created).To(gomega.Equal(before.Created))
	c.Expect(after.Failed).To(gomega.Equal(before.Failed))
	var logins int
	c.Expect(c.db.QueryRow(c.t.Context(), `SELECT count(*) FROM users WHERE username = $1 AND last_login_at = '2026-01-31 12:00:00'`, username).
		Scan(&logins)).To(gomega.Succeed())
	c.Expect(logins).To(gomega.Equal(1), "the history of the account")
}

// isNew expects that the account was deleted and created again.
func (c *committer) isNew(username string, before *row) {
	c.t.Helper()
	after := c.row(username)
	c.Expect(after.Created).To(gomega.BeTemporally(">", before.Created))
	c.Expect(after.Failed).To(gomega.BeZero())
}

func TestGitWorkflows(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	other := s.newNamespace()
	s.allowGeneration(s.namespace)
	p := s.start("--watch-namespaces="+s.namespace+","+other, "--protected-roles=admin,owner")
	s.readyUser("root", roles("admin")) // another administrator, so that no story deletes the last one
	c := &committer{s}
	for name, story := range map[string]func(*committer){
		"the next apply removes a role that was added by hand":      twoManagers,
		"replace loses annotations, but no finalizer or unlock":     replaced,
		"replace --force creates a new account, except with Retain": replacedByForce,
		"apply --prune deletes the account":                         pruned,
		"a rename in one commit creates a new account":              renamed,
		"a rename with Retain and IfUnowned keeps the account":      renamedWithItsAccount,
		"a rename generates a new password":                         renamedWithAGeneratedPassword,
		"a resource that waits for a name reports how to keep it":   waitsForTheName,
		"a deleted namespace deletes its accounts": func(c *committer) {
			c.namespace = other
			namespaceEnds(c)
		},
	} {
		t.Run(name, func(t *testing.T) { story(c.in(t)) })
	}
	for line := range strings.Lines(p.said()) {
		if strings.Contains(line, `"level":"error"`) {
			t.Errorf("the manager logged an error: %s", line)
		}
	}
}

func twoManagers(c *committer) {
	alice := c.manifest("two", "two-managers", "", "roles: [viewer]")
	c.apply(alice, "--server-side", "--field-manager=git")
	u := c.synced("two-managers")
	c.Expect(u.ManagedFields).To(gomega.ContainElements( // as docs/api-reference.md names the operator
		gomega.And(gomega.HaveField("Manager", "manager"), gomega.HaveField("Subresource", "status")),
		gomega.And(gomega.HaveField("Manager", "manager"), gomega.HaveField("FieldsV1.Raw", gomega.ContainSubstring(v1alpha1.Finalizer))),
	))
	c.run("", "patch", "shardinguser", "two-managers", "--type=json", `--patch=[{"op": "add", "path": "/spec/roles/-", "value": "admin"}]`)
	c.hasRoles("two-managers", "admin", "viewer")

	out, err := c.try(alice, "apply", "--filename=-", "--server-side", "--field-manager=git")
	c.Expect(err).To(gomega.HaveOccurred(), "another manager's value is not overwritten by accident")
	c.Expect(out).To(gomega.And(gomega.ContainSubstring(`conflict with "kubectl-patch"`), gomega.ContainSubstring(".spec.roles"),
		gomega.ContainSubstring("--force-conflicts")))
	c.apply(alice, "--server-side", "--field-manager=git", "--force-conflicts")
	c.hasRoles("two-managers", "viewer")
	c.synced("two-managers")

	// A manager that applies a list owns the whole list, and Git owns it after the next apply.
	byHand := c.manifest("two", "two-managers", "", "roles: [operator]")
	c.apply(byHand, "--server-side", "--field-manager=by-hand", "--force-conflicts")
	c.hasRoles("two-managers", "operator")
	c.apply(alice, "--server-side", "--field-manager=git", "--force-conflicts")
	c.hasRoles("two-managers", "viewer")

	// Client-side apply has the same result.
	plain := c.manifest("two", "one-manager", "", "roles: [viewer]")
	c.apply(plain)
	c.synced("one-manager")
	c.run("", "patch", "shardinguser", "one-manager", "--type=json", `--patch=[{"op": "add", "path": "/spec/roles/-", "value": "admin"}]`)
	c.hasRoles("one-manager", "admin", "viewer")
	c.apply(plain)
	c.hasRoles("one-manager", "viewer")
}

func replaced(c *committer) {
	inGit := c.manifest("replace", "replaced", "", "roles: [viewer]")
	c.apply(inGit)
	u := c.synced("replaced")
	unlock := "sharding.io/unlock-requested-at="
	c.run("", "annotate", "shardinguser", "replaced", unlock+"monday")
	c.eventually(soon, func(g gomega.Gomega) {
		g.Expect(c.kube.Get(c.t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.LastHandledUnlock).To(gomega.Equal("monday"))
	})
	locked := func(g gomega.Gomega) {
		g.Expect(c.kube.Get(c.t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.Locked).To(gomega.BeTrue())
	}
	c.sql(`UPDATE users SET failed_login_attempts = 5, locked_until = (now() AT TIME ZONE 'UTC') + interval '15 minutes' WHERE username = 'replaced'`)
	c.eventually(soon, locked)

	c.run(strings.Replace(inGit, "viewer", "operator", 1), "replace", "--filename=-")
	c.hasRoles("replaced", "operator")
	after := c.synced("replaced")
	c.Expect(after.UID).To(gomega.Equal(u.UID))
	c.Expect(after.Annotations).NotTo(gomega.HaveKey(v1alpha1.AnnotationUnlockRequestedAt))
	c.eventually(soon, func(g gomega.Gomega) {
		g.Expect(c.kube.Get(c.t.Context(), key(after), after)).To(gomega.Succeed())
		g.Expect(after.Finalizers).To(gomega.ContainElement(v1alpha1.Finalizer), "the operator restores its finalizer")
	})
	c.Expect(after.Status.LastHandledUnlock).To(gomega.Equal("monday"), "the lost annotation is no new request")
	c.run("", "annotate", "shardinguser", "replaced", unlock+"monday")
	c.run("", "patch", "shardinguser", "replaced", "--type=merge", `--patch={"spec": {"roles": ["viewer"]}}`)
	c.hasRoles("replaced", "viewer")
	c.synced("replaced")
	locked(c) // the same value is no new request
	c.run("", "annotate", "shardinguser", "replaced", "--overwrite", unlock+"tuesday")
	c.eventually(soon, func(g gomega.Gomega) { g.Expect(c.row("replaced").Failed).To(gomega.BeZero()) })

	// A pause that is not in Git ends with the replace.
	c.run("", "annotate", "shardinguser", "replaced", "sharding.io/paused=true")
	c.reports(soon, u, v1alpha1.ReasonPaused)
	c.run(inGit, "replace", "--filename=-")
	c.synced("replaced")
}

func replacedByForce(c *committer) {
	inGit := c.manifest("force", "forced", "", "roles: [viewer]")
	c.apply(inGit)
	u, before := c.synced("forced"), c.used("forced")
	c.run(inGit, "replace", "--force", "--filename=-")
	after := c.synced("forced")
	c.Expect(after.UID).NotTo(gomega.Equal(u.UID))
	c.isNew("forced", before)

	c.apply(c.manifest("force", "forced", "", "roles: [viewer]", "deletionPolicy: Retain"))
	c.synced("forced")
	before = c.used("forced")
	c.run(inGit, "replace", "--force", "--filename=-")
	c.synced("forced")
	c.keeps("forced", before) // a resource of the same namespace and name adopts the row again
}

func pruned(c *committer) {
	stays, goes := c.manifest("prune", "stays", "", "roles: [viewer]"), c.manifest("prune", "goes", "", "roles: [viewer]")
	c.prune("prune", stays+goes)
	c.synced("stays")
	u := c.synced("goes")
	c.apply(stays, "--prune", "--selector=app=prune") // kubectl prunes custom resources only if they are named
	c.synced("goes")
	c.Expect(c.prune("prune", stays)).To(gomega.ContainSubstring("goes pruned"))
	c.gone(soon, u)
	c.Expect(c.row("goes")).To(gomega.BeNil())
	c.synced("stays")

	// An ApplySet records the kinds itself.
	first, second := c.manifest("set", "set-first", "", "roles: [viewer]"), c.manifest("set", "set-second", "", "roles: [viewer]")
	c.apply(first+second, "--server-side", "--prune", "--applyset=accounts")
	c.synced("set-first")
	u = c.synced("set-second")
	c.apply(first, "--server-side", "--prune", "--applyset=accounts")
	c.gone(soon, u)
	c.Expect(c.row("set-second")).To(gomega.BeNil())
	c.synced("set-first")
}

func renamed(c *committer) {
	c.prune("rename", c.manifest("rename", "old-name", "", "username: carol", "roles: [viewer]"))
	old, before := c.synced("old-name"), c.used("carol")
	c.prune("rename", c.manifest("rename", "new-name", "", "username: carol", "roles: [viewer]"))
	c.synced("new-name") // it gets the name once the old resource is deleted
	c.gone(soon, old)
	c.isNew("carol", before)
}

func renamedWithItsAccount(c *committer) {
	for username, password := range map[string]string{
		"dave": "password: {secretRef: {name: dave}, format: Bcrypt}",
		"erin": "active: true", // another program sets the password
	} {
		if username == "dave" {
			c.secret("dave", aHash)
		}
		first := []string{"username: " + username, "roles: [viewer]", password}
		c.prune(username, c.manifest(username, username+"-1", "", first...))
		old := c.synced(username + "-1")
		if username == "erin" {
			c.sql(`UPDATE users SET password_hash = 'of another program' WHERE username = 'erin'`)
		}
		c.prune(username, c.manifest(username, username+"-1", "", append(first, "deletionPolicy: Retain")...))
		c.synced(username + "-1")
		before := c.used(username)
		c.prune(username, c.manifest(username, username+"-2", "", append(first, "adoptionPolicy: IfUnowned")...))
		u := c.synced(username + "-2")
		c.gone(soon, old)
		c.keeps(username, before)
		c.Expect(u.Status.PasswordSecretVersion != "").To(gomega.Equal(username == "dave"))
		c.Expect(c.events(c, username+"-2")).NotTo(gomega.HaveKey(v1alpha1.EventPasswordChanged))
	}
}

func renamedWithAGeneratedPassword(c *committer) {
	spec := []string{"username: grace", "password: {secretRef: {name: grace}, generate: {}}"}
	inGit := func(name, more string) string { return c.manifest("generated", name, "", append(spec, more)...) }
	c.prune("generated", inGit("grace-1", "deletionPolicy: Retain"))
	c.synced("grace-1")
	before := c.used("grace")
	former, latter := &corev1.Secret{}, &corev1.Secret{}
	secret := types.NamespacedName{Namespace: c.namespace, Name: "grace"}
	c.Expect(c.kube.Get(c.t.Context(), secret, former)).To(gomega.Succeed())

	c.prune("generated", inGit("grace-2", "adoptionPolicy: IfUnowned"))
	c.eventually(time.Minute, func(g gomega.Gomega) { // the former Secret is deleted with its owner
		g.Expect(c.kube.Get(c.t.Context(), secret, latter)).To(gomega.Succeed())
		g.Expect(latter.UID).NotTo(gomega.Equal(former.UID))
		u := c.resource("grace-2")
		g.Expect(c.kube.Get(c.t.Context(), key(u), u)).To(gomega.Succeed())
		g.Expect(u.Status.PasswordSecretVersion).To(gomega.Equal(latter.ResourceVersion))
	})
	c.synced("grace-2")
	after := c.row("grace")
	c.Expect(after.Created).To(gomega.Equal(before.Created))
	c.Expect(bcrypt.CompareHashAndPassword([]byte(after.Hash), latter.Data["password"])).To(gomega.Succeed())
}

func waitsForTheName(c *committer) {
	c.apply(c.manifest("wait", "frank-1", "", "username: frank", "roles: [viewer]"))
	old, before := c.synced("frank-1"), c.used("frank")
	c.apply(c.manifest("wait", "frank-2", "", "username: frank", "roles: [viewer]", "adoptionPolicy: IfUnowned"))
	waits := c.resource("frank-2")
	message := c.reports(soon, waits, v1alpha1.ReasonUsernameTaken)
	c.Expect(message).To(gomega.And(gomega.ContainSubstring(c.namespace+"/frank-1"), gomega.ContainSubstring("spec.deletionPolicy"),
		gomega.ContainSubstring("Retain"), gomega.ContainSubstring("IfUnowned")))
	c.run("", "patch", "shardinguser", "frank-1", "--type=merge", `--patch={"spec": {"deletionPolicy": "Retain"}}`)
	c.run("", "delete", "shardinguser", "frank-1")
	c.gone(soon, old)
	c.synced("frank-2")
	c.keeps("frank", before)
}

func namespaceEnds(c *committer) {
	others := ""
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		others += c.manifest("ends", "ends-"+name, "", "roles: [viewer]")
	}
	c.apply(others + c.manifest("ends", "last", "", "roles: [owner]"))
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		c.synced("ends-" + name)
	}
	last := c.synced("last")
	c.run("", "delete", "namespace", c.namespace, "--wait=false")
	message := c.reports(soon, last, v1alpha1.ReasonLastAdministrator)
	c.Expect(message).To(gomega.ContainSubstring(v1alpha1.AnnotationAllowLastAdministrator))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}
	c.eventually(time.Minute, func(g gomega.Gomega) {
		g.Expect(c.kube.Get(c.t.Context(), types.NamespacedName{Name: c.namespace}, namespace)).To(gomega.Succeed())
		g.Expect(namespace.Status.Conditions).To(gomega.ContainElement(gomega.And(
			gomega.HaveField("Type", corev1.NamespaceFinalizersRemaining), gomega.HaveField("Status", corev1.ConditionTrue),
			gomega.HaveField("Message", gomega.ContainSubstring(v1alpha1.Finalizer+" in 1 resource")))))
	})
	c.run("", "annotate", "shardinguser", "last", v1alpha1.AnnotationAllowLastAdministrator+"=true")
	c.gone(time.Minute, namespace)
	c.Expect(c.row("last")).To(gomega.BeNil())
}
