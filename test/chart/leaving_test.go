// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// The stories of docs/uninstall.md.

const (
	usersCRD     = "crd/shardingusers.sharding.io"
	policiesCRD  = "crd/shardinguserpolicies.sharding.io"
	confirmation = "sharding.io/confirm-deletion=true"

	// otherRelease is the name of a release that follows another one.
	otherRelease = "orders"
)

// A leaving is an installation that is about to be removed.
type leaving struct {
	*gomega.WithT
	t   *testing.T
	dsn string
	db  *pgx.Conn
}

func newLeaving(t *testing.T) *leaving {
	t.Helper()
	uninstalled(t)
	l := &leaving{WithT: gomega.NewWithT(t), t: t, dsn: testenv.Database(t)}
	var err error
	l.db, err = pgx.Connect(t.Context(), l.dsn)
	l.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() { _ = l.db.Close(context.WithoutCancel(t.Context())) })
	return l
}

// A pageBlock is a block of docs/uninstall.md.
type pageBlock struct{ language, text string }

// blocks returns the blocks below a heading that can be run, without those of its subsections.
func (l *leaving) blocks(heading string) (blocks []pageBlock) {
	l.t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", "uninstall.md"))
	l.Expect(err).NotTo(gomega.HaveOccurred())
	_, section, isFound := strings.Cut(string(content), "\n"+heading+"\n")
	l.Expect(isFound).To(gomega.BeTrue(), heading)
	section, _, _ = strings.Cut(section, "\n#")
	section = regexp.MustCompile("(?s)<!-- not run: [^\n]+ -->\n *```sh\n.*?```").ReplaceAllString(section, "")
	for _, block := range regexp.MustCompile("(?s)```(sh|sql)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, pageBlock{language: block[1], text: strings.TrimSpace(block[2])})
	}
	l.Expect(blocks).NotTo(gomega.BeEmpty(), heading)
	return blocks
}

// follow runs blocks of the page.
func (l *leaving) follow(blocks ...pageBlock) {
	l.t.Helper()
	for _, block := range blocks {
		if block.language == "sql" {
			_, err := l.db.Exec(l.t.Context(), block.text)
			l.Expect(err).NotTo(gomega.HaveOccurred(), block.text)
			continue
		}
		for line := range strings.Lines(block.text) {
			command(l.t, line)
		}
	}
}

// install installs the chart, and starts its manager.
func (l *leaving) install(args ...string) *testenv.Manager {
	l.t.Helper()
	helm(l.t, append([]string{"install", release, chartFolder, "--namespace=" + system, "--create-namespace"}, args...)...)
	kubectl(l.t, "wait", "--for=condition=Established", "--timeout=60s", usersCRD, policiesCRD)
	return l.manager(system, managerName)
}

// manager starts the manager of a Deployment, with its database.
func (l *leaving) manager(namespace, deployment string) *testenv.Manager {
	l.t.Helper()
	secret(l.t, namespace, "shardinguser-database", map[string]string{"dsn": l.dsn})
	m := runsIn(l.t, namespace, deployment)
	l.Expect(m.Ready(l.t.Context())).To(gomega.Succeed())
	return m
}

// stop ends a manager, as the deletion of its Deployment does.
func (l *leaving) stop(m *testenv.Manager) {
	l.t.Helper()
	l.Expect(m.Stop(25 * time.Second)).To(gomega.Succeed())
}

// users creates users in a namespace, and waits until they are Ready.
func (l *leaving) users(namespace string, policies map[string]v1alpha1.DeletionPolicy) map[string]*v1alpha1.ShardingUser {
	l.t.Helper()
	err := kube.Create(l.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	l.Expect(client.IgnoreAlreadyExists(err)).To(gomega.Succeed())
	users := map[string]*v1alpha1.ShardingUser{}
	for name, policy := range policies {
		users[name] = &v1alpha1.ShardingUser{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.ShardingUserSpec{DeletionPolicy: policy},
		}
		l.Expect(kube.Create(l.t.Context(), users[name])).To(gomega.Succeed())
	}
	for _, u := range users {
		becomesReady(l.t, u)
	}
	return users
}

// accounts returns the rows of the table, and whether each is active.
func (l *leaving) accounts() map[string]bool {
	l.t.Helper()
	rows, err := l.db.Query(l.t.Context(), "SELECT username, active FROM users")
	l.Expect(err).NotTo(gomega.HaveOccurred())
	accounts := map[string]bool{}
	var username string
	var active bool
	_, err = pgx.ForEachRow(rows, []any{&username, &active}, func() error { accounts[username] = active; return nil })
	l.Expect(err).NotTo(gomega.HaveOccurred())
	return accounts
}

func (l *leaving) eventually(check func(g gomega.Gomega)) {
	l.t.Helper()
	l.Eventually(check).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())
}

// release removes the finalizer of a user by force.
func (l *leaving) release(u *v1alpha1.ShardingUser) {
	l.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))
	l.Expect(kube.Patch(l.t.Context(), u, patch)).To(gomega.Succeed())
}

// gone waits until an object is gone.
func (l *leaving) gone(o client.Object) {
	l.t.Helper()
	l.eventually(func(g gomega.Gomega) {
		err := kube.Get(l.t.Context(), client.ObjectKeyFromObject(o), o)
		g.Expect(apierrors.IsNotFound(err) || meta.IsNoMatchError(err)).To(gomega.BeTrue(), "%s is still there: %v", o.GetName(), err)
	})
}

// isProtected waits until the API server rejects the deletion of the CRDs: it needs a moment for a new policy.
func (l *leaving) isProtected() {
	l.t.Helper()
	for _, crd := range []string{usersCRD, policiesCRD} {
		l.eventually(func(g gomega.Gomega) {
			_, err := plane.Kubectl(l.t.Context(), "delete", "--dry-run=server", crd)
			g.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("kubectl annotate crd " + strings.TrimPrefix(crd, "crd/") + " " + confirmation)))
		})
	}
}

func TestNothingIsLeftWhereTheUsersGoFirst(t *testing.T) {
	l := newLeaving(t)
	m := l.install()
	l.users("team-a", map[string]v1alpha1.DeletionPolicy{
		"alice": v1alpha1.DeletionDelete, "bob": v1alpha1.DeletionDeactivate, "carol": v1alpha1.DeletionRetain,
	})
	steps := l.blocks("## Remove everything")
	l.follow(steps[0])
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"bob": false, "carol": true}), "as their deletion policies say")
	l.stop(m)
	l.follow(steps[1:]...)
	for _, kinds := range []string{
		"crds", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
	} {
		l.Expect(kubectl(t, "get", kinds, "-o", "name")).NotTo(gomega.ContainSubstring("sharding"), kinds)
	}
	var left []string
	l.Expect(l.db.QueryRow(t.Context(), `SELECT array_agg(relname::text) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`).
		Scan(&left)).To(gomega.Succeed())
	l.Expect(left).To(gomega.Equal([]string{"users"}))
	_, err := l.db.Exec(t.Context(), `INSERT INTO users (username, password_hash) VALUES ('dave', '!')`)
	l.Expect(err).NotTo(gomega.HaveOccurred(), "no trigger is left")
}

func TestWhatWaitsForARemovedOperatorGoesOnUnderAnotherRelease(t *testing.T) {
	l := newLeaving(t)
	m := l.install()
	users := l.users("team-a", map[string]v1alpha1.DeletionPolicy{"alice": v1alpha1.DeletionDelete, "bob": v1alpha1.DeletionDelete})
	l.users("team-b", map[string]v1alpha1.DeletionPolicy{"carol": v1alpha1.DeletionDeactivate})
	l.stop(m)
	l.follow(l.blocks("### Helm")...)
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true, "bob": true, "carol": true}))

	// Without an operator, deletions wait: nothing is lost, and the account stays until it is handled.
	bob, team := users["bob"], &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-b"}}
	l.Expect(kube.Delete(t.Context(), bob)).To(gomega.Succeed())
	l.Expect(kube.Delete(t.Context(), team)).To(gomega.Succeed())
	l.eventually(func(g gomega.Gomega) {
		g.Expect(kubectl(t, "get", "namespace", "team-b", "-o", "jsonpath={.status.conditions[*].message}")).To(gomega.ContainSubstring(v1alpha1.Finalizer))
	})
	l.Expect(l.accounts()).To(gomega.HaveLen(3))

	said := helmRefuses(t, "install", otherRelease, chartFolder, "--namespace="+system)
	l.Expect(said).To(gomega.ContainSubstring("invalid ownership metadata"), "the CRDs are the former release's")
	l.follow(l.blocks("### Install again")...)
	m = l.manager(system, otherRelease+"-shardinguser-controller-manager")
	l.gone(bob)
	l.gone(team)
	becomesReady(t, users["alice"])
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true, "carol": false}))
	alice := users["alice"]
	alice.Spec.Roles = []v1alpha1.Role{"viewer"}
	l.Expect(kube.Update(t.Context(), alice)).To(gomega.Succeed())
	becomesReady(t, alice)
	l.isProtected()
	l.stop(m)
}

func TestAnOperatorThatIsGoneForGoodLeavesNoAccountByAccident(t *testing.T) {
	l := newLeaving(t)
	m := l.install()
	l.users("team-a", map[string]v1alpha1.DeletionPolicy{"alice": v1alpha1.DeletionDelete})
	dave := l.users("team-b", map[string]v1alpha1.DeletionPolicy{"carol": v1alpha1.DeletionDelete, "dave": v1alpha1.DeletionDeactivate})["dave"]
	l.stop(m)
	l.follow(l.blocks("### Helm")...)
	team := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-b"}}
	l.Expect(kube.Delete(t.Context(), team)).To(gomega.Succeed())
	l.follow(l.blocks("### Without any operator")...)
	l.release(dave) // as the page does with carol
	l.gone(team)
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true, "dave": false}))

	l.install()
	l.eventually(func(g gomega.Gomega) { g.Expect(l.published(g).Orphans).To(gomega.BeEmpty()) })
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true, "dave": false}))
}

// The namespace of the operator is deleted while users are in it, such as the default users. No new release can be installed there.
func TestTheOperatorsNamespaceWaitsForAnOperatorElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("TestWhatWaitsForARemovedOperatorGoesOnUnderAnotherRelease waits in another namespace")
	}
	const next = "shardinguser-next"
	l := newLeaving(t)
	t.Cleanup(func() {
		_, err := testenv.Helm(context.WithoutCancel(t.Context()), plane.Kubeconfig(), "uninstall", next, "--namespace="+next, "--ignore-not-found")
		l.Expect(err).NotTo(gomega.HaveOccurred())
	})
	m := l.install()
	l.users(system, map[string]v1alpha1.DeletionPolicy{"first": v1alpha1.DeletionDelete})
	alice := l.users("team-a", map[string]v1alpha1.DeletionPolicy{"alice": v1alpha1.DeletionDelete})["alice"]
	l.stop(m)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}
	l.Expect(kube.Delete(t.Context(), namespace)).To(gomega.Succeed())
	l.eventually(func(g gomega.Gomega) {
		g.Expect(kubectl(t, "get", "namespace", system, "-o", "jsonpath={.status.conditions[*].message}")).To(gomega.ContainSubstring(v1alpha1.Finalizer))
	})

	steps := l.blocks("### The operator's own namespace")
	l.follow(steps[0])
	m = l.manager(next, next+"-controller-manager")
	l.gone(namespace)
	becomesReady(t, alice)
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true}))
	l.follow(steps[1:]...)
	l.Expect(kubectl(t, "get", "clusterroles,clusterrolebindings", "--selector=app.kubernetes.io/instance="+release, "-o", "name")).To(gomega.BeEmpty())
	l.isProtected()
	l.stop(m)
}

// By kustomize, kubectl deletes the CRDs first, and the operator with them.
func TestKustomizeDeletesNoUserByAccident(t *testing.T) {
	l := newLeaving(t)
	folder := filepath.Join(root, "config", "default")
	t.Cleanup(func() { // where the test fails halfway
		_, _ = plane.Kubectl(context.WithoutCancel(t.Context()), "delete", "--ignore-not-found", "--timeout=60s", "-k", folder)
	})
	kubectl(t, "apply", "-k", folder)
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", usersCRD, policiesCRD)
	m := l.manager(system, managerName)
	users := l.users("team-a", map[string]v1alpha1.DeletionPolicy{"alice": v1alpha1.DeletionDelete})
	l.isProtected()
	l.stop(m)
	_, err := plane.Kubectl(t.Context(), "delete", "--timeout=60s", "-k", folder)
	l.Expect(err).To(gomega.MatchError(gomega.ContainSubstring(confirmation)), "it deletes the rest, and keeps the CRDs")
	l.Expect(kubectl(t, "get", "clusterroles", "-o", "name")).NotTo(gomega.ContainSubstring("shardinguser"))
	l.gone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}})
	alice := users["alice"]
	becomesReady(t, alice)
	l.Expect(alice.DeletionTimestamp).To(gomega.BeNil())
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"alice": true}))

	kubectl(t, "apply", "-k", folder)
	m = l.manager(system, managerName)
	alice.Spec.Roles = []v1alpha1.Role{"viewer"}
	l.Expect(kube.Update(t.Context(), alice)).To(gomega.Succeed())
	becomesReady(t, alice)
	kubectl(t, "delete", "shardingusers", "--all", "--all-namespaces", "--timeout=60s")
	l.stop(m)
	kubectl(t, "annotate", usersCRD, policiesCRD, confirmation)
	kubectl(t, "delete", "--timeout=60s", "-k", folder)
	l.Expect(kubectl(t, "get", "crds", "-o", "name")).NotTo(gomega.ContainSubstring("sharding"))
	l.Expect(l.accounts()).To(gomega.BeEmpty())
}

func TestAConfirmedDeletionOfTheCRDsCarriesOutTheDeletionPolicies(t *testing.T) {
	if testing.Short() {
		t.Skip("TestACRDThatWasDeletedAndCreatedAgainDeactivatesNobody confirms the deletion of one CRD")
	}
	l := newLeaving(t)
	l.install()
	users := l.users("team-a", map[string]v1alpha1.DeletionPolicy{"alice": v1alpha1.DeletionDelete, "bob": v1alpha1.DeletionRetain})
	l.isProtected()
	kubectl(t, "annotate", usersCRD, policiesCRD, confirmation)
	kubectl(t, "delete", "--timeout=60s", usersCRD, policiesCRD)
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"bob": true}))

	// The operator keeps running, and serves the CRDs when they are back.
	helm(t, "upgrade", release, chartFolder, "--namespace="+system)
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", usersCRD, policiesCRD)
	bob := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "bob"}, Spec: users["bob"].Spec}
	l.eventually(func(g gomega.Gomega) {
		g.Expect(client.IgnoreAlreadyExists(kube.Create(t.Context(), bob))).To(gomega.Succeed())
	})
	becomesReady(t, bob)
	l.Expect(l.accounts()).To(gomega.Equal(map[string]bool{"bob": true}))
}

// A CRD is deleted by force while no operator runs, and created again. No account loses its owner for good, and none is deactivated.
func TestACRDThatWasDeletedAndCreatedAgainDeactivatesNobody(t *testing.T) {
	l := newLeaving(t)
	m := l.install("--set=orphans=deactivate")
	policies := map[string]v1alpha1.DeletionPolicy{}
	for _, name := range []string{"alice", "bob", "carol", "dave", "erin"} {
		policies[name] = v1alpha1.DeletionDelete
	}
	users := l.users("team-a", policies)
	l.stop(m)
	for _, u := range users {
		l.release(u)
	}
	kubectl(t, "annotate", usersCRD, policiesCRD, confirmation)
	kubectl(t, "delete", "--timeout=60s", usersCRD, policiesCRD)
	helm(t, "upgrade", release, chartFolder, "--namespace="+system, "--reuse-values")
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", usersCRD, policiesCRD)

	l.manager(system, managerName)
	l.eventually(func(g gomega.Gomega) {
		report := l.published(g)
		g.Expect(report.Orphans).To(gomega.HaveLen(len(users)))
		g.Expect(report.HeldOrphans).To(gomega.HaveField("Count", len(users)))
	})
	l.users("team-a", policies)
	l.Expect(l.accounts()).To(gomega.HaveLen(len(users)))
	for username, isActive := range l.accounts() {
		l.Expect(isActive).To(gomega.BeTrue(), username)
	}
}

// published returns the operator's report on the database.
func (l *leaving) published(g gomega.Gomega) (report store.Report) {
	var there corev1.ConfigMap
	g.Expect(kube.Get(l.t.Context(), client.ObjectKey{Namespace: system, Name: store.ReportName}, &there)).To(gomega.Succeed())
	g.Expect(json.Unmarshal([]byte(there.Data[store.ReportKey]), &report)).To(gomega.Succeed())
	return report
}
