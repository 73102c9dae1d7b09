// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

const (
	second      = "orders" // a release of its own system
	secondName  = "orders-shardinguser-controller-manager"
	instance    = "app.kubernetes.io/instance"
	atNamespace = "--namespace=" + system
)

// The tests of this file are not parallel: they share the CRDs.
func TestTwoReleasesInOneNamespaceServeTheirSystems(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	secondUninstalled(t)
	secret(t, system, "shardinguser-database", map[string]string{"dsn": testenv.Database(t)})
	secret(t, system, "orders-database", map[string]string{"dsn": testenv.Database(t)})
	everything := "--set=replicas=2,podDisruptionBudget.enabled=true,networkPolicy.enabled=true,admission.enabled=true,defaultUsers.passwords=generated"
	helm(t, "install", release, chartFolder, atNamespace, "--create-namespace", everything)
	said := helmRefuses(t, "install", second, chartFolder, atNamespace, "--set=database.existingSecret=orders-database")
	g.Expect(said).To(gomega.ContainSubstring("the Deployment " + managerName + " in the namespace " + system + " serves the default system already; set system to another name"))
	notes := helm(t, "install", second, chartFolder, atNamespace, everything+",system=orders,database.existingSecret=orders-database")
	g.Expect(notes).To(gomega.ContainSubstring("The CustomResourceDefinitions belong to the release " + system + "/" + release))
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/shardingusers.sharding.io", "crd/shardinguserpolicies.sharding.io")

	// Services and budgets select the pods of their own release only.
	first, other := podsOf(t, managerName), podsOf(t, secondName)
	for name, selector := range selectors(t) {
		ours, theirs := first, other
		if strings.HasPrefix(name, second) {
			ours, theirs = other, first
		}
		g.Expect(selector.Matches(ours)).To(gomega.BeTrue(), name)
		g.Expect(selector.Matches(theirs)).To(gomega.BeFalse(), name)
	}

	runs(t, managerName)
	ofOrders := runs(t, secondName)
	for name, of := range map[string]string{"admin": "", "orders-admin": "orders"} { // the default users of both
		u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
		becomesReady(t, u)
		g.Expect(u.Spec.System).To(gomega.Equal(of))
		g.Expect(u.Status.Username).To(gomega.Equal("admin"))
	}

	// Each upgrades by itself, and the one that has the CRDs upgrades them.
	helm(t, "upgrade", second, nextVersion(t), atNamespace, "--reuse-values", "--set=lockout.attempts=3")
	g.Expect(kubectl(t, "get", "crd", "shardingusers.sharding.io", "-o", "yaml")).NotTo(gomega.ContainSubstring("Brand-New"))
	helm(t, "upgrade", release, nextVersion(t), atNamespace, "--reuse-values")
	hasNewColumn(t)
	g.Expect(ofOrders.Stop(25 * time.Second)).To(gomega.Succeed()) // as its pod would
	helm(t, "uninstall", second, atNamespace)
	g.Expect(kubectl(t, "get", "clusterroles", "-o", "name")).To(gomega.ContainSubstring("/shardinguser-manager-role\n"))
	g.Expect(podsOf(t, managerName)).To(gomega.HaveKeyWithValue(instance, release))
}

func TestTheReleaseThatRemainsTakesOverTheCRDs(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	secondUninstalled(t)
	helm(t, "install", release, chartFolder, atNamespace, "--create-namespace")
	helm(t, "install", second, chartFolder, atNamespace, "--set=system=orders")
	helm(t, "uninstall", release, atNamespace)
	said := helmRefuses(t, "upgrade", second, nextVersion(t), atNamespace, "--reuse-values")
	g.Expect(said).To(gomega.ContainSubstring("invalid ownership metadata"))
	helm(t, "upgrade", second, nextVersion(t), atNamespace, "--reuse-values", "--take-ownership")
	hasNewColumn(t)
	helm(t, "upgrade", second, chartFolder, atNamespace, "--reuse-values")
	notes := helm(t, "install", release, chartFolder, atNamespace)
	g.Expect(notes).To(gomega.ContainSubstring("The CustomResourceDefinitions belong to the release " + system + "/" + second))
}

func TestTheCommandsOfTheGuideToSystemsInstallASecondRelease(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	secondUninstalled(t)
	helm(t, "install", release, chartFolder, atNamespace, "--create-namespace") // as README.md says
	g.Expect(follow(t, "systems.md")).To(gomega.Equal(5))
	runs(t, secondName)
	alice := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orders-alice"}}
	becomesReady(t, alice)
	g.Expect(alice.Spec.System).To(gomega.Equal("orders"))
}

func TestAReleaseWithTheOldLabelsGetsTheNewOnes(t *testing.T) {
	g := gomega.NewWithT(t)
	uninstalled(t)
	secondUninstalled(t)
	old := oldVersion(t)
	helm(t, "install", release, old, atNamespace, "--create-namespace", "--set=replicas=2,podDisruptionBudget.enabled=true")
	g.Expect(podsOf(t, managerName)).NotTo(gomega.HaveKey(instance))
	g.Eventually(func() string { return oldPods(t) }).WithTimeout(soon).WithPolling(poll).ShouldNot(gomega.BeEmpty())
	uid := deploymentUID(t)

	// The first upgrade labels the pods, which Services find all the while.
	notes := helm(t, "upgrade", release, chartFolder, atNamespace, "--reset-then-reuse-values")
	g.Expect(notes).To(gomega.ContainSubstring("helm upgrade once more"))
	g.Expect(podsOf(t, managerName)).To(gomega.HaveKeyWithValue(instance, release))
	for name, selector := range selectors(t) {
		g.Expect(selector.String()).NotTo(gomega.ContainSubstring(instance), name)
	}
	said := helmRefuses(t, "install", second, chartFolder, atNamespace, "--set=system=orders")
	g.Expect(said).To(gomega.ContainSubstring("would lead to the pods of this release too"))

	// The roll-out is stuck: the new pods are not ready, and the old ones stay. Nothing may select by the new label yet.
	notes = helm(t, "upgrade", release, chartFolder, atNamespace, "--reset-then-reuse-values")
	g.Expect(notes).To(gomega.ContainSubstring("helm upgrade once more"))
	for name, selector := range selectors(t) {
		g.Expect(selector.String()).NotTo(gomega.ContainSubstring(instance), name)
	}
	g.Eventually(func(g gomega.Gomega) {
		becomeReady(t, g)
		g.Expect(oldPods(t)).To(gomega.BeEmpty())
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.Succeed())

	// Without old pods it selects by the new label.
	notes = helm(t, "upgrade", release, chartFolder, atNamespace, "--reset-then-reuse-values")
	g.Expect(notes).NotTo(gomega.ContainSubstring("once more"))
	all := selectors(t)
	g.Expect(all).To(gomega.HaveLen(3))
	for name, selector := range all {
		g.Expect(selector.String()).To(gomega.ContainSubstring(instance+"="+release), name)
	}
	g.Expect(deploymentUID(t)).To(gomega.Equal(uid))
	helm(t, "install", second, chartFolder, atNamespace, "--set=system=orders")

	// Without a cluster to look at, as in Argo CD, the selector is the new one: the API server rejects it for the old Deployment.
	g.Expect(kubectl(t, "-n", system, "get", "deployment", managerName, "-o", "jsonpath={.spec.selector}")).NotTo(gomega.ContainSubstring(instance))
	manifests := filepath.Join(t.TempDir(), "manifests.yaml")
	g.Expect(os.WriteFile(manifests, []byte(helm(t, "template", release, chartFolder, atNamespace)), 0o600)).To(gomega.Succeed())
	_, err := plane.Kubectl(t.Context(), "apply", "-f", manifests)
	g.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("field is immutable")))
	kubectl(t, "-n", system, "delete", "deployment", managerName, "--cascade=orphan")
	kubectl(t, "apply", "-f", manifests)
	g.Expect(kubectl(t, "-n", system, "get", "deployment", managerName, "-o", "jsonpath={.spec.selector}")).To(gomega.ContainSubstring(instance))
}

// oldPods returns the names of the pods without the label of the release.
func oldPods(t *testing.T) string {
	t.Helper()
	return kubectl(t, "-n", system, "get", "pods", "-l", "control-plane=controller-manager,!"+instance, "-o", "name")
}

// becomeReady does what a kubelet does for the new pods.
func becomeReady(t *testing.T, g gomega.Gomega) {
	t.Helper()
	var pods corev1.PodList
	g.Expect(kube.List(t.Context(), &pods, client.InNamespace(system), client.MatchingLabels{instance: release})).To(gomega.Succeed())
	for _, pod := range pods.Items {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		g.Expect(client.IgnoreNotFound(kube.Status().Update(t.Context(), &pod))).To(gomega.Succeed())
	}
}

// oldVersion is a chart that labels and selects pods as it did before it knew systems.
func oldVersion(t *testing.T) (path string) {
	t.Helper()
	g := gomega.NewWithT(t)
	path = t.TempDir()
	g.Expect(os.CopyFS(path, os.DirFS(filepath.Join(root, chartFolder)))).To(gomega.Succeed())
	helpers := filepath.Join(path, "templates", "_helpers.tpl")
	content, err := os.ReadFile(helpers)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	const labelled = "app.kubernetes.io/name: shardinguser-operator\n" + instance + ": {{ .Release.Name }}\ncontrol-plane: controller-manager\n"
	g.Expect(string(content)).To(gomega.ContainSubstring(labelled))
	g.Expect(os.WriteFile(helpers, []byte(strings.Replace(string(content), labelled,
		"app.kubernetes.io/name: shardinguser-operator\ncontrol-plane: controller-manager\n", 1)), 0o600)).To(gomega.Succeed())
	return path
}

// podsOf returns the labels of the pods of a Deployment.
func podsOf(t *testing.T, deployment string) labels.Set {
	t.Helper()
	var d appsv1.Deployment
	gomega.NewWithT(t).Expect(kube.Get(t.Context(), client.ObjectKey{Namespace: system, Name: deployment}, &d)).To(gomega.Succeed())
	return d.Spec.Template.Labels
}

// selectors returns what selects pods in the namespace, except for Deployments.
func selectors(t *testing.T) map[string]labels.Selector {
	t.Helper()
	g := gomega.NewWithT(t)
	found := map[string]labels.Selector{}
	var services corev1.ServiceList
	g.Expect(kube.List(t.Context(), &services, client.InNamespace(system))).To(gomega.Succeed())
	for _, s := range services.Items {
		found[s.Name] = labels.SelectorFromSet(s.Spec.Selector)
	}
	var budgets policyv1.PodDisruptionBudgetList
	g.Expect(kube.List(t.Context(), &budgets, client.InNamespace(system))).To(gomega.Succeed())
	for _, b := range budgets.Items {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		found[b.Name+" (PodDisruptionBudget)"] = selector
	}
	return found
}

// secondUninstalled uninstalls the second release at the end of the test, before the first one.
func secondUninstalled(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		_, err := testenv.Helm(context.WithoutCancel(t.Context()), plane.Kubeconfig(), "uninstall", second, atNamespace, "--ignore-not-found")
		gomega.NewWithT(t).Expect(err).NotTo(gomega.HaveOccurred())
		_, err = plane.Kubectl(context.WithoutCancel(t.Context()), "-n", system, "delete", "secret", "orders-database", "--ignore-not-found")
		gomega.NewWithT(t).Expect(err).NotTo(gomega.HaveOccurred())
	})
}
